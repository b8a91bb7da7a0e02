"""No lock-out: whatever is wrong with a change of SSH access, and whatever dies in the middle, the old one works again.

The wrong settings are real: a copy of the kit with one template or one line changed.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from breaking import Relay, kit_with
from standing import REPO, SNAPSHOT, Project, Ran, Running, Server, quiet, serving, wait_for

from deploy import sandbox

SSHD, RULES = "templates/ssh/sshd.conf.j2", "templates/nftables/firewall.nft.j2"
SSH_PROOF, FIREWALL_PROOF = "proof: SSH: login by key only", "proof: firewall: only"
LOCKED_OUT = (SSHD, "LoginGraceTime 30", "LoginGraceTime 30\nAllowUsers nobody-at-all")
HARMLESS = (SSHD, "LoginGraceTime 30", "LoginGraceTime 31")
SHUT = ("deploy/stack/hardening.py", "ct state new jump ssh", "ct state new drop")
QUICK = (("deploy/connection/ssh.py", "PROOF_SECONDS = 12", "PROOF_SECONDS = 2"),)
DEAD_MAN_SECONDS = 12  # enough for what a test does while the door is shut
SOON = (("deploy/stack/hardening.py", "UNDO_SECONDS = 40", f"UNDO_SECONDS = {DEAD_MAN_SECONDS}"),)


BOTH = pytest.mark.parametrize(
    ("wrong", "proof"), [(LOCKED_OUT, SSH_PROOF), (SHUT, FIREWALL_PROOF)], ids=["sshd", "firewall"]
)


@pytest.fixture(scope="module")
def door(snapshot: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A closed server whose doors these tests try to shut."""
    with serving("door", snapshot, tmp_path_factory) as made:
        yield Server(made)


@pytest.fixture
def project(tmp_path: Path, door: Server) -> Project:
    return Project(tmp_path / "project", door.machine)


def way_in(door: Server) -> str:
    """What decides who gets in, on disk and in the kernel."""
    return door.script(
        "cat /etc/ssh/sshd_config.d/* /etc/ashore/firewall.nft /etc/ashore/firewall.d/*; cat /home/admin/.ssh/*;"
        " nft -s -t list table inet ashore; stat -c '%n %U %a' /home/admin/.ssh/* /etc/ssh/sshd_config.d/*"
    )


def gets_in(door: Server) -> bool:
    """Whether a new login works, and within a second."""
    ssh = ["ssh", "-q", "-i", door.machine.key_file, "-o", "ConnectTimeout=1", "-o", "BatchMode=yes"]
    ssh += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    return subprocess.run([*ssh, f"admin@{door.machine.address}", "true"], capture_output=True).returncode == 0


def undone(door: Server, project: Project, before: str) -> None:
    """All is as it was, nothing is left behind, and the right kit finds nothing to do."""
    assert way_in(door) == before
    assert "0 changed" in project.fab("provision").out
    assert door.leftovers() == []


def refused(project: Project, kit: Path) -> Ran:
    project.kit = kit
    try:
        return project.fab("provision", status=1)
    finally:
        project.kit = REPO


def halted(project: Project, kit: Path, at: str) -> tuple[Running, dict]:
    project.kit = kit
    process, event = project.halted(at, "provision")
    project.kit = REPO
    assert event is not None, process.communicate()
    return process, event


def signal_agent(door: Server, event: dict, number: int) -> None:
    """A signal to the agent from outside of its machine, whose door is shut."""
    root = os.stat(door.machine.root)
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            pids = next(line for line in (directory / "status").read_text().splitlines() if line.startswith("NSpid:"))
            there = os.stat(directory / "root")
            if pids.split()[-1] == str(event["pid"]) and (there.st_dev, there.st_ino) == (root.st_dev, root.st_ino):
                os.kill(int(directory.name), number)
                return
    raise AssertionError(f"there is no agent {event['pid']}")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (LOCKED_OUT, "accepts none of the offered keys"),
        ((SSHD, "LoginGraceTime 30", "LoginGraceTime 30\nAuthorizedKeysFile none"), "accepts none of the offered keys"),
        ((SSHD, "HostKeyAlgorithms -", "HostKeyAlgorithms ssh-dss\n#"), "no SSH session with"),
        ((SSHD, "LoginGraceTime 30", "NoSuchWord 30"), "Bad configuration option: NoSuchWord"),
        (
            (SSHD, "PasswordAuthentication no", "PasswordAuthentication yes"),
            "would use passwordauthentication yes",
        ),
        (SHUT, "did not answer within 2 s"),
        ((RULES, "tcp dport { 80, 443 }", "tcp dport { 80, http-or-so }"), "http-or-so"),
    ],
    ids=["nobody may", "no keys", "no host key", "unknown word", "passwords stay", "firewall shut", "broken rule"],
)
def test_a_wrong_setting_is_undone_at_once_and_the_reason_told(
    door: Server, project: Project, tmp_path: Path, wrong: tuple[str, str, str], said: str
):
    before = way_in(door)
    ran = refused(project, kit_with(tmp_path, wrong, *(QUICK if wrong == SHUT else ())))
    assert said in ran.text, ran.text
    assert "hint:" in ran.err
    wait_for(lambda: gets_in(door), "a login as before")
    undone(door, project, before)


def test_a_firewall_that_cuts_the_operator_s_own_link_is_undone_and_the_link_goes_on(
    door: Server, project: Project, tmp_path: Path
):
    before = way_in(door)
    deaf = (RULES, "ct state established,related accept", "iifname host0 drop")
    soon = ("deploy/stack/hardening.py", "PROVE_SECONDS = 20", "PROVE_SECONDS = 2")
    ran = refused(project, kit_with(tmp_path, deaf, soon))
    assert "no new login was reported within 2 s" in ran.err
    undone(door, project, before)


def test_a_key_that_goes_in_the_middle_comes_back(door: Server, project: Project, tmp_path: Path):
    before = way_in(door)
    process, event = halted(project, kit_with(tmp_path, HARMLESS), SSH_PROOF)
    door.script("rm /home/admin/.ssh/authorized_keys")
    assert not gets_in(door)
    signal_agent(door, event, signal.SIGUSR1)
    out, err = process.ended()
    assert process.returncode == 1 and "accepts none of the offered keys" in out + err
    wait_for(lambda: gets_in(door), "a login as before")
    undone(door, project, before)


def test_a_link_that_is_cut_before_the_proof_undoes_it_and_the_next_run_tells(
    door: Server, project: Project, tmp_path: Path
):
    before = way_in(door)
    relay = Relay(door.machine.address)
    project.through(relay.port)
    process, event = halted(project, kit_with(tmp_path, LOCKED_OUT), SSH_PROOF)
    assert not gets_in(door)
    relay.cut()
    process.ended()
    signal_agent(door, event, signal.SIGUSR1)
    wait_for(lambda: gets_in(door), "a login as before")
    project.through(None)
    wait_for(door.idle, "the server to finish by itself")
    ran = project.fab("provision")
    assert "failed at: SSH: login by key only: after this change, a new login failed" in ran.out
    assert "0 changed" in ran.out
    undone(door, project, before)


@BOTH
def test_a_door_that_a_killed_agent_left_shut_opens_by_itself(
    door: Server, project: Project, tmp_path: Path, wrong: tuple[str, str, str], proof: str
):
    before = way_in(door)
    process, event = halted(project, kit_with(tmp_path, wrong, *SOON), proof)
    assert not gets_in(door)
    signal_agent(door, event, signal.SIGKILL)
    process.ended()
    wait_for(lambda: gets_in(door), "a login as before", 300)
    wait_for(lambda: gets_in(door) and way_in(door) == before, "all that was undone")
    ran = project.fab("provision")
    assert "was cut off; this run finishes it" in ran.out
    undone(door, project, before)


def test_a_change_that_a_killed_agent_left_behind_is_undone_by_the_next_run_before_the_timer(
    door: Server, project: Project, tmp_path: Path
):
    before = way_in(door)
    process, event = halted(project, kit_with(tmp_path, HARMLESS), SSH_PROOF)
    signal_agent(door, event, signal.SIGKILL)
    process.ended()
    assert "an earlier change: not confirmed" in project.fab("provision", "--check").out
    assert "SSH: login by key only" in project.fab("provision").out
    undone(door, project, before)


def test_a_first_firewall_whose_agent_is_killed_before_the_proof_is_made_by_the_next_run(
    door: Server, project: Project
):
    before = way_in(door)
    door.script(
        "systemctl disable -q --now ashore-firewall; nft delete table inet ashore;"
        " rm -r /etc/ashore /etc/systemd/system/ashore-firewall.service /var/lib/ashore/firewall.loaded;"
        " systemctl daemon-reload"
    )
    process, event = halted(project, REPO, FIREWALL_PROOF)
    signal_agent(door, event, signal.SIGKILL)
    process.ended()
    assert "changed  firewall: only SSH, 80, 443 open" in project.fab("provision").out
    undone(door, project, before)


@BOTH
def test_a_power_cut_with_the_door_shut_boots_with_the_old_way_in(
    door: Server, project: Project, tmp_path: Path, wrong: tuple[str, str, str], proof: str
):
    before = way_in(door)
    process, _ = halted(project, kit_with(tmp_path, wrong), proof)
    sandbox.cut_power(door.machine.name)
    process.kill()
    process.communicate()
    sandbox.up(door.machine.name, say=quiet, snapshot=SNAPSHOT)
    wait_for(lambda: gets_in(door), "a login after the boot")
    assert way_in(door) == before
    assert "0 changed" in project.fab("provision").out
    assert door.leftovers() == []


def test_an_undo_that_finds_the_disk_full_fails_keeps_the_backup_and_succeeds_once_there_is_room(
    door: Server, project: Project, tmp_path: Path
):
    directory = "/etc/ssh/sshd_config.d"
    small = f"mkdir /run/kept; cp -a {directory}/. /run/kept; mount -t tmpfs -o size=24k small {directory}"
    door.script(f"{small}; cp -a /run/kept/. {directory}; systemctl restart ssh")
    try:
        before = way_in(door)
        process, event = halted(project, kit_with(tmp_path, HARMLESS, *SOON), SSH_PROOF)
        door.script(f"dd if=/dev/zero of={directory}/filling 2>/dev/null || true")
        signal_agent(door, event, signal.SIGKILL)
        process.ended()
        failed = "systemctl is-failed ashore-undo.service"
        wait_for(lambda: door.run("sh", "-c", failed, check=False).strip() == "failed", "the failure of the undo")
        kept = f"cat /var/lib/ashore/undo/files{directory}/10-ashore.conf; test -e /var/lib/ashore/undo/undoing"
        assert "LoginGraceTime 30" in door.script(kept)
        assert "LoginGraceTime 31" in door.script(f"cat {directory}/10-ashore.conf")
        wait_for(lambda: gets_in(door), "a login")
        door.script(f"rm {directory}/filling")
        wait_for(lambda: way_in(door) == before, "the next try", 300)
        wait_for(lambda: "undo" not in door.run("ls", "/var/lib/ashore"), "the end of the undo")
    finally:
        door.script(f"umount {directory}; rm -r /run/kept; systemctl reset-failed; systemctl restart ssh")
    project.fab("provision")
    assert door.leftovers() == []


def test_ctrl_c_before_the_proof_undoes_it(door: Server, project: Project, tmp_path: Path):
    before = way_in(door)
    process, event = halted(project, kit_with(tmp_path, LOCKED_OUT), SSH_PROOF)
    os.killpg(process.pid, signal.SIGINT)
    signal_agent(door, event, signal.SIGUSR1)
    out, err = process.ended()
    assert process.returncode != 0 and "interrupted" in out + err
    undone(door, project, before)
