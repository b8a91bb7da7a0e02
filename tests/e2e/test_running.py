"""`fab run` and `fab shell`: a command beside the app, as its user, with its environment, in its sandbox."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

from breaking import Relay, interrupt
from standing import REPO, Project, Server, wait_for


def units(server: Server) -> str:
    return server.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "visitors-run*")


def test_the_exit_status_and_both_outputs_are_passed_on(live: Server, project: Project):
    ran = project.fab("run", "echo out; echo err >&2; exit 7", status=7)
    assert (ran.out, ran.err) == ("out\n", "err\n")
    assert "not found" in project.fab("run", "no-such-command", status=127).err


def test_a_command_is_the_app_s_user_in_the_release_with_its_environment(live: Server, project: Project):
    current = project.deployed()
    said = project.fab(
        "run", 'id -un; pwd; echo $RELEASE_ID; test -n "$SECRET_KEY" && command -v flask; flask --help'
    ).out
    assert said.splitlines()[:3] == ["visitors", f"/srv/visitors/releases/{current}/source", current]
    assert f"/srv/visitors/releases/{current}/venv/bin/flask" in said and "Usage: flask" in said


def test_a_command_is_confined_as_the_app_is_and_leaves_its_socket_alone(live: Server, project: Project):
    project.fab("deploy")
    script = "touch /srv/visitors/x || touch /etc/x || ls /home /root || touch $DATA_DIR/written && echo written"
    assert project.fab("run", script).out == "written\n"
    process = project.start("run", "echo ready; sleep 60")
    assert process.stdout.readline() == "ready\n"
    transient = units(live).split()[0]
    secret = live.script("grep -o '[0-9a-f]\\{64\\}' /srv/visitors/secrets.env").strip()
    assert secret not in live.script("ps axww -o args; systemctl show " + transient)
    names = (
        "ProtectSystem SystemCallFilter CapabilityBoundingSet NoNewPrivileges PrivateUsers RestrictAddressFamilies User"
    )
    wanted = ["-p", ",".join(names.split()), "--value"]
    both = [live.run("systemctl", "show", *wanted, unit) for unit in (transient, f"visitors@{live.current}.service")]
    assert both[0] == both[1]
    interrupt(process)
    process.ended()
    assert process.returncode == 130
    assert units(live) == ""
    assert live.get("/healthz")[0] == 200


def test_what_is_piped_through_a_command_comes_back_byte_for_byte(live: Server, project: Project):
    data = os.urandom(20_000_000)
    (project.directory / "data").write_bytes(data)
    process = subprocess.run(
        [project.fab_path, "-r", str(REPO), "run", "cat"],
        cwd=project.directory,
        env=project.environment,
        input=data,
        capture_output=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == data


def test_a_command_that_reads_nothing_ends_though_much_is_piped_in(live: Server, project: Project):
    process = subprocess.run(
        [project.fab_path, "-r", str(REPO), "run", "echo enough"],
        cwd=project.directory,
        env=project.environment,
        input=bytes(50_000_000),
        capture_output=True,
        timeout=300,
    )
    assert (process.returncode, process.stdout) == (0, b"enough\n")


def test_a_cut_link_ends_the_command(live: Server, project: Project):
    relay = Relay(live.machine.address)
    project.through(relay.port)
    process = project.start("run", "echo ready; sleep 60")
    assert process.stdout.readline() == "ready\n"
    assert units(live)
    relay.cut()
    process.ended()
    assert process.returncode == 1
    wait_for(lambda: units(live) == "", "the command to be ended")


class AtTerminal:
    """`fab` at a pseudo-terminal of 33 rows and 77 columns."""

    def __init__(self, project: Project, *words: str) -> None:
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(project.directory)
            os.execve(
                project.fab_path, [project.fab_path, "-r", str(REPO), *words], {**project.environment, "TERM": "xterm"}
            )
        self.resize(33, 77)
        self.said = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.kill(self.pid, signal.SIGWINCH)

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def until(self, wanted: str) -> str:
        """What it has said since the last call, up to and with a text."""
        deadline = time.monotonic() + 120
        while wanted.encode() not in self.said:
            assert time.monotonic() < deadline, f"no {wanted!r} in {self.said!r}"
            if select.select([self.terminal], [], [], 0.1)[0]:
                self.said += os.read(self.terminal, 4096)
        head, _, self.said = self.said.partition(wanted.encode())
        return head.decode() + wanted

    def status(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_a_shell_is_interactive_with_the_terminal_s_size_and_ctrl_c(live: Server, project: Project):
    project.fab("deploy")
    shell = AtTerminal(project, "shell")
    shell.until("$ ")
    shell.type("stty size; echo $TERM is $(id -un)\n")
    assert "33 77" in shell.until("xterm is visitors")
    shell.resize(20, 40)
    shell.type("stty size; echo sle''eping; sleep 60\n")
    assert "20 40" in shell.until("sleeping")
    # A Ctrl-C between the two commands would be bash's to lose.
    wait_for(lambda: live.run("pgrep", "-fx", "sleep 60", check=False), "the second command")
    shell.type("\x03")
    shell.until("$ ")
    shell.type("exit 5\n")
    assert shell.status() == 5
    assert units(live) == ""


def test_a_shell_without_a_terminal_says_so(live: Server, project: Project):
    ran = project.fab("shell", status=1)
    assert "a shell needs a terminal" in ran.err and "fab run" in ran.err
