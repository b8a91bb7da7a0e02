"""One command line: what Ctrl-C leaves of it, and of the terminal."""

import io
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asking import CTRL_D, answered
from fabric import Config, Connection

from deploy.config.reader import Stage
from deploy.connection.ssh import address, connection
from deploy.errors import DeployError, Interrupted
from deploy.screen.screen import Screen
from deploy.session import interrupts
from deploy.session.session import Host, Session

ROOT = Path(__file__).resolve().parents[1]
ASKS = """
import threading
from deploy.session.session import Session
threading.Thread(target=Session()._password, args=("me@web1",), daemon=True).start()
threading.Event().wait()
"""


def reach(session: Session, hosts: list[Host], job: Callable[[Host], Any], before: Callable[[], None] = bool) -> None:
    """Run a job on the hosts, having done something while they are being connected to."""
    with session.reaching(hosts, Screen(out=io.StringIO()), may_install=False) as run:
        before()
        run(job)


def echoes(terminal: int) -> bool:
    return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)


def test_ctrl_c_at_the_question_for_a_password_leaves_a_terminal_that_shows_what_is_typed():
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.execve(sys.executable, [sys.executable, "-c", ASKS], {**os.environ, "PYTHONPATH": str(ROOT)})
    said = b""
    while b"sudo password of" not in said:
        said += os.read(terminal, 1 << 16)
    assert not echoes(terminal)
    os.write(terminal, b"\x03")
    os.waitpid(child, 0)
    assert echoes(terminal)
    os.close(terminal)


TELLS = """
from deploy.session.session import Session
try:
    Session()._password("me@web1")
except Exception as error:
    print(error)
"""


def test_ctrl_d_at_the_question_for_a_password_changes_nothing(tmp_path: Path):
    words = [sys.executable, "-c", TELLS]
    _, said = answered(words, tmp_path, "me@web1: ", CTRL_D, PYTHONPATH=str(ROOT))
    assert "error: no password was typed for sudo\r\nwhere: me@web1\r\nstate: nothing was changed\r\nhint:" in said


def test_a_host_of_deploy_toml_is_reached_as_it_is_written():
    made = connection("root@[fd00::1]:2222", Stage("production", ()), Config(), None)
    assert (made.user, made.host, made.port, address(made)) == ("root", "fd00::1", 2222, "root@[fd00::1]:2222")


def test_a_pipe_that_breaks_elsewhere_than_on_the_screen_is_no_success(monkeypatch: pytest.MonkeyPatch):
    agent = SimpleNamespace(open=lambda: None, close=lambda: None)
    monkeypatch.setattr(Session, "_agent", lambda *_: agent)
    host = Host("web1", Connection("web1"), Stage("production", ()))

    def job(host: Host) -> None:
        raise BrokenPipeError

    with pytest.raises(DeployError, match="Ashore failed"):
        reach(Session(), [host], job)


def test_what_follows_an_interrupted_task_on_the_command_line_is_not_begun():
    session, begun = Session(), []
    session.interrupted.set()
    host = Host("web1", Connection("web1"), Stage("production", ()))
    with pytest.raises(Interrupted, match="interrupted") as told:
        reach(session, [host], begun.append)
    assert "nothing else was started" in told.value.state and begun == []


def test_a_host_that_was_still_being_connected_to_when_ctrl_c_came_is_told_of(monkeypatch: pytest.MonkeyPatch):
    session, slow = Session(), threading.Event()
    quick, late = (Host(name, Connection(name), Stage("production", ())) for name in ("web1", "web2"))

    class Link:
        asked = True

        def open(self) -> None:
            pass

        def cancel(self) -> None:
            pass

    def connect(host: Host, may_install: bool) -> Link:
        if host is late:
            slow.wait(30)
        return Link()

    monkeypatch.setattr(session, "_agent", connect)

    def prepare() -> None:
        """Ctrl-C comes once the first is done, and is acted upon before the other is connected to."""
        threading.Thread(target=interrupt, daemon=True).start()

    def interrupt() -> None:
        quick.done.wait(30)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(Interrupted) as told:
            reach(session, [quick, late], lambda host: None, prepare)
    finally:
        signal.signal(signal.SIGINT, before)
    slow.set()
    assert told.value.where == "web2" and late.done.wait(30)


def test_ctrl_c_while_a_command_is_prepared_asks_no_server_for_anything():
    session, begun = Session(), threading.Event()
    host = Host("web1", Connection("127.0.0.1", port=1), Stage("production", ()))

    def prepare() -> None:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as told:
        reach(session, [host], lambda host: begun.set(), prepare)
    assert told.value.state == "nothing was changed"
    assert host.done.wait(30) and not begun.is_set()


def test_a_second_ctrl_c_while_the_first_is_being_told_of_says_what_becomes_of_the_servers():
    class Stuck:
        connection = None

        @property
        def asked(self) -> bool:
            raise KeyboardInterrupt  # it waits for a first request on a dead link

    host = Host("web1", Connection("web1"), Stage("production", ()), agent=Stuck())
    with pytest.raises(Interrupted, match="interrupted twice"):
        Session()._stop([host], Screen(out=io.StringIO()))


def test_ctrl_c_behind_the_work_of_a_task_does_not_say_that_it_was_interrupted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Session, "_agent", lambda *_: SimpleNamespace(open=lambda: None, close=lambda: None))
    host = Host("web1", Connection("web1"), Stage("production", ()))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupts.take_over()
        with interrupts.raised():
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
            reach(Session(), [host], lambda host: None)
            with pytest.raises(SystemExit, match="130"):
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


ENDS = """
import os, signal, threading
from deploy.session import interrupts
from deploy.cli.options import ending
from deploy.session.session import Session
from fabric import Config, task
from fabric.main import Fab
from invoke import Collection

@task
def ended(c):
    with interrupts.raised():
        print("done", flush=True)

signal.signal(signal.SIGINT, signal.default_int_handler)
interrupts.take_over()
wait = threading._shutdown

def python_ends():
    os.kill(os.getpid(), signal.SIGINT)
    wait()

threading._shutdown = python_ends
Fab(executor_class=ending(Session()), config_class=Config, namespace=Collection(ended)).run(["fab", "ended"])
"""


def test_ctrl_c_while_python_ends_behind_the_last_task_is_no_traceback():
    ran = subprocess.run([sys.executable, "-c", ENDS], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "done\n", "")


def test_ctrl_c_while_python_takes_an_object_away_is_not_lost():
    class Taken:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        interrupts.take_over()
        with interrupts.raised(), pytest.raises(KeyboardInterrupt):
            taken = Taken()
            del taken
            threading.Event().wait(30)
    finally:
        signal.signal(signal.SIGINT, before)
