"""A closed server: what it lets in, judged by ssh-audit and by nmap from another machine; and who gets banned."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from standing import Project, Server, machine, serving, wait_for

from deploy import sandbox

AUDIT = Path(sys.executable).parent / "ssh-audit"
OPEN = {"22/tcp", "80/tcp", "443/tcp"}
NEIGHBOUR_TOOLS = "command -v nmap >/dev/null || { apt-get update -qq; apt-get install -qq nmap; } >/dev/null"
HAMMER = """
import socket, sys
reached = 0
for _ in range(60):
    try:
        socket.create_connection((sys.argv[1], 22), 0.1).close()
        reached += 1
    except OSError:
        pass
print(reached)
"""


@pytest.fixture(scope="module")
def closed(snapshot: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("closed", snapshot, tmp_path_factory) as made:
        yield Server(made)


@pytest.fixture(scope="module")
def neighbour() -> Iterator[Server]:
    """Another machine on the same network, from which an attacker would look."""
    with machine("neighbour") as made:
        Server(made).script(f"export DEBIAN_FRONTEND=noninteractive; {NEIGHBOUR_TOOLS}")
        yield Server(made)


@pytest.fixture
def project(tmp_path: Path, closed: Server) -> Project:
    return Project(tmp_path / "project", closed.machine)


@pytest.fixture(scope="module")
def trixie(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Project]]:
    with machine("closed13", release="trixie") as made:
        project = Project(tmp_path_factory.mktemp("closed13") / "project", made)
        know(project, made, "ecdsa")  # what an SSH client of 2020 has pinned, and sshd will not offer any more
        project.fab("provision")
        yield Server(made), project


def know(project: Project, made: sandbox.Machine, kind: str) -> None:
    """Have the operator know this one key of the machine, beside what they know."""
    key = (made.root / f"etc/ssh/ssh_host_{kind}_key.pub").read_text().split()
    known = project.home / ".ssh" / "known_hosts"
    others = [line for line in known.read_text().splitlines() if not line.startswith(f"{made.address} ")]
    known.write_text("".join(f"{line}\n" for line in [*others, f"{made.address} {key[0]} {key[1]}"]))


def audited(address: str) -> list[str]:
    """What ssh-audit calls a failure, as "kind: name"."""
    ran = subprocess.run([AUDIT, "--skip-rate-test", "-j", address], capture_output=True, text=True, timeout=60)
    found = json.loads(ran.stdout)
    kinds = [(kind, offered) for kind in ("kex", "key", "enc", "mac") for offered in found[kind]]
    assert len(kinds) > 10, ran.stdout
    return [f"{kind}: {offered['algorithm']}" for kind, offered in kinds if offered["notes"].get("fail")]


def scanned(neighbour: Server, *words: str) -> set[str]:
    """Ports like "80/tcp" that answer anything, be it that nobody is there; all others that were asked keep silent."""
    said = neighbour.run("nmap", "-n", "-Pn", "-oG", "-", *words)
    found = re.findall(r"(\d+)/([\w|]+)/(\w+)/", said)
    silent = {state for _, state, _ in found} - {"open", "closed"}
    assert silent <= {"filtered", "open|filtered"} and "Ignored State: closed" not in said, said
    return {f"{port}/{protocol}" for port, state, protocol in found if state in ("open", "closed")}


def element(closed: Server, name: str) -> str:
    return closed.run("nft", "list", "set", "inet", "ashore", name)


def reaches(server: Server, address: str) -> bool:
    test = f"import socket; print(socket.create_connection(({address!r}, 22), 5).recv(4))"
    return "SSH-" in server.run("python3", "-c", test, check=False)


def test_ssh_audit_finds_no_failure_on_debian_12(closed: Server):
    assert audited(closed.machine.address) == []


def test_ssh_audit_finds_no_failure_on_debian_13(trixie: tuple[Server, Project]):
    assert audited(trixie[0].machine.address) == []


def test_debian_13_is_closed_once_and_opens_udp_443_for_http_3(trixie: tuple[Server, Project]):
    server, project = trixie
    assert "udp dport 443 accept" in server.run("nft", "list", "chain", "inet", "ashore", "input")
    assert "0 changed" in project.fab("provision").out


def test_an_operator_who_knew_only_the_key_that_sshd_gives_up_gets_in_and_knows_the_other(
    trixie: tuple[Server, Project],
):
    server, project = trixie
    known = (project.home / ".ssh" / "known_hosts").read_text()
    assert [line.split()[1] for line in known.splitlines()] == ["ecdsa-sha2-nistp256", "ssh-ed25519"]
    offered = subprocess.run(["ssh-keyscan", "-T", "5", server.machine.address], capture_output=True, text=True).stdout
    assert offered and "ecdsa" not in offered


def test_the_proof_goes_the_way_that_the_operator_came(closed: Server, neighbour: Server, project: Project):
    know(project, neighbour.machine, "ed25519")
    jump = f"Host {closed.machine.address}\n  ProxyJump admin@{neighbour.machine.address}\n"
    project.write_ssh_config(f"{jump}Host *\n  IdentityFile {closed.machine.key_file}\n")
    closed.run("nft", "insert", "rule", "inet", "ashore", "input", "tcp", "dport", "8000", "accept")
    logins = "journalctl -u ssh -o cat | grep -c 'Accepted publickey for admin from {} '"
    before = int(closed.script(logins.format(neighbour.machine.address), check=False) or 0)
    assert "1 changed" in project.fab("provision").out
    assert int(closed.script(logins.format(neighbour.machine.address))) == before + 2


def test_debian_13_s_sshd_is_asked_about_match_blocks_too(trixie: tuple[Server, Project]):
    server, project = trixie
    others = "/etc/ssh/sshd_config.d/60-others.conf"
    block = "Match User bob Address 10.0.0.0/8\\n  PasswordAuthentication yes\\n"
    server.script(f"useradd -m bob; echo bob:tide | chpasswd; printf '{block}' > {others}; systemctl restart ssh")
    try:
        ran = project.fab("provision", status=1)
        assert f"{others}, line 2: passwordauthentication yes" in ran.err and "(users: bob)" in ran.err
        server.script(f"printf 'AllowUsers admin\\n' > {others}; systemctl restart ssh")
        ran = project.fab("ci.key", status=1)
        assert "does not let ci-visitors log in" in ran.err and f"{others}, line 1: allowusers admin" in ran.err
    finally:
        server.script(f"rm {others}; userdel -r bob 2>/dev/null; systemctl restart ssh")


def test_sshd_takes_no_password_from_anybody(closed: Server):
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "PubkeyAuthentication=no")
    ssh = ["ssh", *(word for option in options for word in ("-o", option))]
    for user in ("root", "admin", "deploy", "visitors"):
        ran = subprocess.run([*ssh, f"{user}@{closed.machine.address}", "true"], capture_output=True, text=True)
        assert "Permission denied (publickey)" in ran.stderr


def test_another_machine_finds_ssh_and_http_and_nothing_else(closed: Server, neighbour: Server):
    closed.script("systemctl start squatter || systemd-run -q --unit=squatter python3 -m http.server --bind :: 8000")
    wait_for(lambda: ":8000 " in closed.run("ss", "-Htln"), "a server on port 8000")
    try:
        local = re.findall(r"inet6 (fe80\S+)/", closed.run("ip", "-6", "address", "show", "host0"))[0]
        for target in ((closed.machine.address,), ("-6", "-e", "host0", f"{local}%host0")):
            # Fast, which may miss one of many answers; so those that matter are asked again, and patiently.
            assert scanned(neighbour, "-T5", "--min-rate", "20000", "--max-retries", "0", "-p-", *target) <= OPEN
            assert scanned(neighbour, "-p", "22,80,443,8000", *target) == OPEN
        assert scanned(neighbour, "-sU", "-p", "443,5353", closed.machine.address) == set()
    finally:
        closed.run("systemctl", "stop", "squatter")


def test_who_hammers_on_ssh_is_banned_for_a_while_and_the_operator_never_is(closed: Server, neighbour: Server):
    address = neighbour.machine.address
    forget = f"nft delete element inet ashore operators {{ {address} }}"  # whom `fab` came through in another test
    closed.script(
        f"nft flush set inet ashore knocks; ! nft list set inet ashore operators | grep -q {address} || {forget}"
    )
    held = neighbour.script(f"python3 - {closed.machine.address} <<'E'\n{HELD}\nE")
    assert "still there" in held, held
    assert address in element(closed, "banned")
    assert not reaches(neighbour, closed.machine.address)
    for _ in range(100):
        with socket.create_connection((closed.machine.address, 22), 60) as own, suppress(ConnectionResetError):
            own.recv(100)  # nothing, or a reset, where sshd itself is busy: the firewall let it in
    wait_for(
        lambda: "10.76." in closed.run("nft", "list", "set", "inet", "ashore", "operators", check=False), "a login"
    )
    assert address not in element(closed, "operators")
    closed.script(
        f"nft delete element inet ashore banned {{ {address} }};"
        f" nft add element inet ashore banned {{ {address} timeout 500ms }}; nft flush set inet ashore knocks"
    )
    wait_for(lambda: reaches(neighbour, closed.machine.address), "the end of the ban", 60)


HELD = f"""
import socket, subprocess, sys
held = socket.create_connection((sys.argv[1], 22), 5)
held.recv(100)
reached = int(subprocess.run(["python3", "-c", '''{HAMMER}''', sys.argv[1]], capture_output=True, text=True).stdout)
assert 25 <= reached <= 40, reached
held.sendall(b"SSH-2.0-held\\r\\n")
print("still there" if held.recv(100) else "gone")
"""


def test_neither_a_restart_of_nftables_nor_a_rule_at_run_time_leaves_the_server_open(closed: Server, project: Project):
    closed.run("systemctl", "start", "nftables")
    closed.run("systemctl", "reload", "nftables")
    assert "10.76." in element(closed, "operators")
    assert "0 changed" in project.fab("provision").out
    closed.run("nft", "insert", "rule", "inet", "ashore", "input", "tcp", "dport", "8000", "accept")
    assert "rules in the kernel: differ from the files" in project.fab("provision", "--check").out
    ran = project.fab("provision")
    assert "1 changed" in ran.out
    assert "8000" not in closed.run("nft", "list", "table", "inet", "ashore")
    closed.run("systemctl", "stop", "nftables")


def test_open_ports_are_open_and_the_firewall_can_be_left_to_others(closed: Server, project: Project):
    project.write_config(stage='open_ports = ["8443/tcp", "60000-60010/udp"]')
    assert "firewall: only SSH, 80, 443, 8443/tcp, 60000-60010/udp open" in project.fab("provision").out
    rules = closed.run("nft", "list", "chain", "inet", "ashore", "input")
    assert "tcp dport 8443 accept" in rules and "udp dport 60000-60010 accept" in rules
    closed.script("mkdir -p /etc/ufw; echo ENABLED=yes > /etc/ufw/ufw.conf")
    try:
        ran = project.fab("provision", status=1)
        assert "ufw is active on the server" in ran.err and "nothing was changed" in ran.err
        assert "firewall = false" in ran.err
        project.write_config(stage="firewall = false")
        project.fab("provision")
        assert "ashore" not in closed.run("nft", "list", "tables")
        assert "0 changed" in project.fab("provision").out
    finally:
        closed.script("rm -r /etc/ufw")
    project.write_config()
    project.fab("provision")
    assert "8443" not in closed.run("nft", "list", "chain", "inet", "ashore", "input")


ASKS_ABOUT_FILES = """
import apt_pkg, importlib.machinery, importlib.util
loader = importlib.machinery.SourceFileLoader("updates", "/usr/bin/unattended-upgrade")
updates = importlib.util.module_from_spec(importlib.util.spec_from_loader("updates", loader))
loader.exec_module(updates)
apt_pkg.init_config()
print(updates.dpkg_conffile_prompt())
"""


def test_security_updates_would_be_installed_by_themselves(closed: Server):
    settings = closed.run("apt-config", "dump")
    assert 'APT::Periodic::Unattended-Upgrade "1";' in settings
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in settings
    said = closed.run("unattended-upgrade", "--dry-run", "--debug")
    assert "Allowed origins are:" in said and "Debian-Security" in said
    assert closed.run("python3", "-c", ASKS_ABOUT_FILES) == "False\n", "Nginx waits for an answer about nginx.conf"
    for timer in ("apt-daily.timer", "apt-daily-upgrade.timer"):
        assert closed.run("systemctl", "is-active", timer).strip() == "active"
        assert closed.run("systemctl", "is-enabled", timer).strip() == "enabled"
    after = closed.run("systemctl", "show", "-p", "NextElapseUSecRealtime", "--value", "apt-daily-upgrade.timer")
    assert after.strip(), "the timer does not know when it fires next"


def test_a_boot_comes_up_closed_and_nothing_drifts(closed: Server, project: Project):
    sandbox.reboot(closed.machine.name)
    assert "policy drop" in closed.run("nft", "list", "chain", "inet", "ashore", "input")
    assert "10.76." in element(closed, "operators")
    assert "0 changed" in project.fab("provision").out
    assert closed.leftovers() == []
