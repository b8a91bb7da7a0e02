"""What stands between an operator and a server, each told in its own words, with nothing changed."""

import json
import os
import pty
import select
import subprocess
from collections.abc import Iterator

import pytest
from standing import FAB, REPO, Project, Server, wait_for

from deploy import sandbox


def refused(project: Project, status: int = 1) -> str:
    server = Server(project.machine)
    before = server.state()
    ran = project.fab("provision", status=status)
    assert "hint:" in ran.err
    assert server.state() == before
    return ran.err


def test_a_host_that_refuses_connections(bare: sandbox.Machine, project: Project):
    project.hosts = [f"admin@{bare.address}:2"]
    project.write_config()
    assert f"{bare.address} refuses connections on port 2" in refused(project)


def test_a_host_that_does_not_answer(bare: sandbox.Machine, project: Project):
    gone = bare.address.rsplit(".", 1)[0] + ".250"
    project.hosts = [f"admin@{gone}"]
    project.write_config()
    project.write_ssh_config("Host *\n  ConnectTimeout 1\n")
    found = refused(project)
    assert f"{gone} did not answer within 1 s" in found or f"{gone} cannot be reached: No route to host" in found


def test_a_name_that_does_not_exist(bare: sandbox.Machine, project: Project):
    project.hosts = ["admin@no-such-host.invalid"]
    project.write_config()
    assert "DNS does not know the host no-such-host.invalid" in refused(project)


def test_a_wrong_key(bare: sandbox.Machine, project: Project):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", project.home / "other"], check=True)
    project.write_ssh_config(f"Host *\n  IdentityFile {project.home}/other\n")
    assert f"{bare.address} accepts none of the offered keys for admin" in refused(project)


def test_no_key_at_all_is_told_with_how_to_make_one(bare: sandbox.Machine, project: Project):
    project.write_ssh_config("")
    said = refused(project)
    assert f"there is no SSH key for {bare.address}" in said
    assert "ssh-keygen -t ed25519" in said and f"ssh-copy-id admin@{bare.address}" in said
    project.write_ssh_config("Host *\n  IdentityFile ~/.ssh/none\n")
    assert f"the SSH key {project.home}/.ssh/none does not exist" in refused(project)


def test_a_wrong_user(bare: sandbox.Machine, project: Project):
    project.hosts = [f"nobody-here@{bare.address}"]
    project.write_config()
    assert f"{bare.address} accepts none of the offered keys for nobody-here" in refused(project)


def test_an_unknown_host_key_is_refused_and_its_fingerprint_shown(bare: sandbox.Machine, project: Project):
    (project.home / ".ssh" / "known_hosts").unlink()
    found = refused(project)
    assert f"the host key of {bare.address} is not known" in found
    assert bare.host_key in found and "host_keys" in found


def test_a_host_key_from_the_config_is_enough_and_another_is_refused(bare: sandbox.Machine, project: Project):
    (project.home / ".ssh" / "known_hosts").unlink()
    project.write_config(stage=f'host_keys = ["{bare.host_key}"]')
    project.fab("provision", "--check")
    project.write_config(stage=f'host_keys = ["SHA256:{"A" * 43}"]')
    assert "has another host key than deploy.toml expects" in refused(project)


def test_a_changed_host_key_is_refused(bare: sandbox.Machine, project: Project):
    other = project.home / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    key = other.with_suffix(".pub").read_text().split()
    (project.home / ".ssh" / "known_hosts").write_text(f"{bare.address} {key[0]} {key[1]}\n")
    found = refused(project)
    assert f"the host key of {bare.address} has CHANGED" in found
    assert bare.host_key in found and "ssh-keygen -R" in found


OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("10.76.*,!10.76.0.0 {ed25519}\n", ""),
        ("{address} {other}\r\n{address} {ed25519}\r\n", ""),
        ("{address} {rsa}\n", ""),
        ("@cert-authority * {other}\n@revoked * {other}\n{address} ssh-rsa AAAA\n{address} {ed25519}\n", ""),
        ("@revoked * {ed25519}\n{address} {ed25519}\n", "is REVOKED"),
        ("@cert-authority {address} {ed25519}\n", "is not known"),
        ("10.76.*,!{address} {ed25519}\n", "is not known"),
        ("{address} {other}\n@cert-authority {address} {ed25519}\n", "has CHANGED"),
    ],
)
def test_known_hosts_means_what_it_means_to_ssh(bare: sandbox.Machine, project: Project, lines: str, said: str):
    keys = {kind: (bare.root / f"etc/ssh/ssh_host_{kind}_key.pub").read_text().split() for kind in ("ed25519", "rsa")}
    own = {kind: " ".join(words[:2]) for kind, words in keys.items()}
    file = project.home / ".ssh" / "known_hosts"
    file.write_bytes(lines.format(address=bare.address, other=OTHER, **own).encode())
    options = [f"UserKnownHostsFile={file}", "GlobalKnownHostsFile=/dev/null", "StrictHostKeyChecking=yes"]
    ssh = ["ssh", "-q", "-i", bare.key_file, *(word for option in options for word in ("-o", option))]
    accepted = subprocess.run([*ssh, f"admin@{bare.address}", "true"], stdin=subprocess.DEVNULL).returncode == 0
    ran = project.fab("provision", "--check", status=None)
    assert (ran.status == 2, accepted) == (not said, not said), ran.text
    assert said in ran.err and (not said or "nothing was sent" in ran.err)


def test_a_host_key_of_the_config_may_name_its_host_and_fits_no_other(bare: sandbox.Machine, project: Project):
    (project.home / ".ssh" / "known_hosts").unlink()
    project.hosts = [f"admin@{bare.address}", "admin@no-such-host.invalid"]
    wrong = f"SHA256:{'A' * 43}"
    named = f'"{bare.address} {bare.host_key}", "no-such-host.invalid {wrong}"'
    project.write_config(stage=f"host_keys = [{named}]")
    project.fab("-H", f"admin@{bare.address}", "provision", "--check")
    project.write_config(stage=f'host_keys = ["no-such-host.invalid {bare.host_key}"]')
    ran = project.fab("-H", f"admin@{bare.address}", "provision", "--check", status=1)
    assert f'add "{bare.address} {bare.host_key}" to host_keys' in ran.err
    project.write_config(stage=f'host_keys = ["{bare.address} {wrong}", "no-such-host.invalid {bare.host_key}"]')
    ran = project.fab("-H", f"admin@{bare.address}", "provision", "--check", status=1)
    assert "has another host key than deploy.toml expects" in ran.err


@pytest.fixture
def limited(bare: sandbox.Machine, project: Project) -> Iterator[Project]:
    """A user of the server who may log in, and whose rights the test sets; password "tide"."""
    server = Server(bare)
    server.script(
        "useradd -m -s /bin/bash limited; echo limited:tide | chpasswd; cp -r /home/admin/.ssh /home/limited/;"
        "chown -R limited: /home/limited/.ssh"
    )
    project.hosts = [f"limited@{bare.address}"]
    project.write_config()
    yield project
    server.script("rm -f /etc/sudoers.d/limited; loginctl terminate-user limited; userdel -rf limited", check=False)


def test_a_user_without_sudo_rights(limited: Project):
    found = refused(limited)
    assert "sudo on the server needs limited's password" in found


def test_a_terminal_is_asked_for_sudo_s_password_once(limited: Project):
    server = Server(limited.machine)
    server.script("echo 'limited ALL=(ALL) ALL' > /etc/sudoers.d/limited")
    status, text = at_a_terminal(limited, "provision", "--check", answers={"sudo password of": "tide"})
    assert status == 2, text  # it would change something
    assert text.count("sudo password of limited@") == 1
    assert "tide" not in text
    assert "would change" in text


def test_a_wrong_sudo_password_is_told(limited: Project):
    Server(limited.machine).script("echo 'limited ALL=(ALL) ALL' > /etc/sudoers.d/limited")
    status, text = at_a_terminal(limited, "provision", "--check", answers={"sudo password of": "ebb"})
    assert status == 1
    assert "sudo did not accept the password of limited" in text


def test_who_comes_with_a_password_is_told_to_bring_a_key_before_passwords_are_turned_off(limited: Project):
    server = Server(limited.machine)
    server.script(
        "echo 'limited ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/limited; rm -r /home/limited/.ssh;"
        " echo PasswordAuthentication yes > /etc/ssh/sshd_config.d/40-passwords.conf; systemctl restart ssh"
    )
    try:
        before = server.state()
        words = ("--prompt-for-login-password", "provision")
        status, text = at_a_terminal(limited, *words, answers={"login password": "tide"})
        assert status == 1 and "tide" not in text, text
        assert f"you are logged in to {limited.machine.address} with a password" in text
        assert f"ssh-copy-id limited@{limited.machine.address}" in text
        assert server.state() == before
        status, text = at_a_terminal(limited, *words, "--check", answers={"login password": "tide"})
        assert status == 2 and "+PasswordAuthentication no" in text
    finally:
        server.script("rm /etc/ssh/sshd_config.d/40-passwords.conf; systemctl restart ssh")


def test_a_user_who_is_no_sudoer_is_told_after_the_password(limited: Project):
    status, text = at_a_terminal(limited, "provision", "--check", answers={"sudo password of": "tide"})
    assert status == 1
    assert "limited may not use sudo on the server" in text


def test_fabric_s_own_option_for_sudo_s_password_works(limited: Project):
    Server(limited.machine).script("echo 'limited ALL=(ALL) ALL' > /etc/sudoers.d/limited")
    words = ("--prompt-for-sudo-password", "provision", "--check")
    status, text = at_a_terminal(limited, *words, answers={"'sudo.password' config value": "tide"})
    assert status == 2, text  # it would change something


def test_a_password_that_sudo_does_not_want_does_no_harm(limited: Project):
    Server(limited.machine).script("echo 'limited ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/limited")
    words = ("--prompt-for-sudo-password", "provision", "--check")
    status, text = at_a_terminal(limited, *words, answers={"'sudo.password' config value": "tide"})
    assert status == 2, text  # it would change something


def test_first_contact_at_a_terminal_asks_and_pins_the_key(bare: sandbox.Machine, project: Project):
    (project.home / ".ssh" / "known_hosts").unlink()
    status, text = at_a_terminal(project, "provision", "--check", answers={"Is it the right one?": "no"})
    assert status == 1 and "was not accepted" in text
    status, text = at_a_terminal(project, "provision", "--check", answers={"Is it the right one?": "yes"})
    assert status == 2 and bare.host_key in text
    project.fab("provision", "--check")


def test_a_host_named_there_and_then(bare: sandbox.Machine, project: Project):
    project.hosts = ["admin@no-such-host.invalid"]
    project.write_config()
    ran = project.fab("-H", f"admin@{bare.address}", "provision", "--check")
    assert "would change" in ran.out


def at_a_terminal(project: Project, *words: str, answers: dict[str, str]) -> tuple[int, str]:
    """Run `fab WORDS` at a pseudo-terminal, typing each answer when its question comes; exit status and screen."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project.directory)
        environment = {"HOME": str(project.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm"}
        os.execve(FAB, ["fab", "-r", str(REPO), *words], environment)
    text = ""
    waiting = dict(answers)
    while True:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, f"no more output: {text}"
        try:
            data = os.read(terminal, 4096)
        except OSError:  # Linux's way of saying that the other end is closed
            break
        if not data:
            break
        text += data.decode(errors="replace")
        for question in list(waiting):
            if question in text:
                os.write(terminal, waiting.pop(question).encode() + b"\n")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), text


def test_the_sandbox_lists_itself_for_other_tools(bare: sandbox.Machine, project: Project):
    found = [json.loads(line) for line in project.fab("sandbox.list", "--json").out.splitlines()]
    mine = next(one for one in found if one["name"] == bare.name)
    assert set(mine) == {"event", "host", "name", "address", "user", "key_file", "host_key", "state"}
    assert mine["state"] == "running" and mine["host_key"] == bare.host_key


def test_several_sandboxes_live_side_by_side_and_are_stopped_by_name(project: Project, bare: sandbox.Machine):
    project.fab("sandbox", "--name", "e-side")
    try:
        wait_for(lambda: "e-side" in project.fab("sandbox.list").out, "the second one")
        assert "e-side is stopped" in project.fab("sandbox.down", "--name", "e-side").out
        assert "was not running" in project.fab("sandbox.down", "--name", "e-side").out
    finally:
        sandbox.destroy("e-side")
