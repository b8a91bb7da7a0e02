"""The agent as it travels: its payload, in a child process, spoken to over pipes."""

import ast
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fabric import Connection
from paramiko import SSHException

from deploy.agent.resources import KINDS
from deploy.agent.resources.files import File, Link
from deploy.agent.resources.serving.services import Service
from deploy.agent.wire import Plan, Secret, frame, pack, unpack
from deploy.connection import payload
from deploy.connection.agent import Agent
from deploy.connection.channel import Channel, ChildLink
from deploy.connection.imports import source
from deploy.connection.ssh import quick

PLAN_MODULES = payload.modules_for({"request": "plan", "plan": Plan("x", (File("/x", ""),))})


class Child:
    """The agent under this machine's Python, as BOOT starts it on a server."""

    def __init__(self, modules: set[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-ISc", payload.BOOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.send_bytes(payload.payload(frozenset(modules)))

    def send_bytes(self, data: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send(self, message: Any) -> None:
        self.send_bytes(frame(message))

    def event(self) -> dict[str, Any]:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def until(self, kind: str) -> list[dict[str, Any]]:
        found = [self.event()]
        while found[-1]["event"] != kind:
            found.append(self.event())
        return found

    def end(self) -> int:
        self.process.communicate()
        return self.process.returncode


@pytest.fixture
def child():
    made = Child(PLAN_MODULES)
    assert made.event()["event"] == "hello"
    yield made
    made.process.kill()
    made.end()


def check(plan: Plan) -> dict[str, Any]:
    run = {"app": "x", "verb": "x", "who": "test@here"}
    asked = {"request": "plan", "plan": plan, "units": [], "asks": []}
    return asked | {"check": True, "run": run, "wait": False, "halt": ""}


def test_a_plan_goes_out_and_events_come_back(child: Child, tmp_path: Path):
    child.send(check(Plan("x", (File(str(tmp_path / "a"), "text"), Link(str(tmp_path / "l"), "a")))))
    *steps, end = child.until("end")
    assert [step["state"] for step in steps] == ["would change", "would change"]
    assert (end["state"], end["changed"]) == ("ok", 2)
    assert list(tmp_path.iterdir()) == []


def test_modules_that_a_later_plan_needs_are_sent_later(child: Child):
    plan = Plan("x", (Service("no-such.service", active=False),))
    sources = payload.sources(payload.modules_for({"request": "plan", "plan": plan}))
    child.send({"request": "modules", "sources": sources})
    child.send(check(plan))
    assert child.until("end")[-1]["state"] in ("ok", "failed")


def test_a_secret_does_not_come_back(child: Child, tmp_path: Path):
    child.send(check(Plan("x", (File(str(tmp_path / "a"), Secret("tide")),))))
    assert "tide" not in json.dumps(child.until("end"))


def test_goodbye_and_a_lost_link_both_end_it(tmp_path: Path):
    for parting in ({"request": "bye"}, None):
        child = Child(PLAN_MODULES)
        child.event()
        if parting:
            child.send(parting)
        assert child.end() == 0


def test_leaving_does_not_wait_for_a_thread_that_is_stuck_in_sending(monkeypatch: pytest.MonkeyPatch):
    sent: list[bytes] = []
    stuck = object.__new__(Channel)
    stuck.sending = threading.Lock()
    stuck.pipes = SimpleNamespace(settimeout=float, sendall=sent.append, shutdown_write=lambda: sent.append(b"end"))
    monkeypatch.setattr("deploy.connection.channel.LEAVE_SECONDS", 0.01)
    with stuck.sending:  # as an upload over a dead link has it
        stuck.send_last(b"bye")
    assert sent == []
    stuck.send_last(b"bye")
    assert sent == [b"bye", b"end"] and not stuck.sending.locked()


def test_a_frame_that_breaks_off_ends_it():
    child = Child(PLAN_MODULES)
    child.event()
    child.send_bytes(b"j 500\nonly this")
    assert child.end() == 0


def test_a_python_that_is_too_old_says_so():
    program = payload.LOADER.replace("(3, 10)", "(99, 0)")
    ran = subprocess.run([sys.executable, "-c", "SOURCES = {}\n" + program], capture_output=True, text=True)
    assert ran.returncode == payload.Status.OLD_PYTHON and ran.stderr.startswith("3.")


def test_the_agent_s_prose_is_not_sent_and_its_lines_keep_their_numbers():
    sources = payload.sources(payload.core())
    assert eval(payload.literal(sources)) == sources
    for module, text in sources.items():
        assert '"""' not in text and text.count("\n") == source(module).count("\n")
        sent, written = (functions(each) for each in (text, source(module)))
        assert sent == written


def functions(text: str) -> list[tuple[str, int]]:
    return [(node.name, node.lineno) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]


def test_a_plan_survives_the_wire():
    plan = Plan(
        "x", (File("/a", Secret("s"), 0o600), Link("/b", "c")), undo=(Service("u", active=False),), restore=True
    )
    assert unpack(json.loads(json.dumps(pack(plan))), KINDS) == plan


def test_every_kind_is_found_by_its_name():
    assert all(KINDS[name].__name__ == name for name in KINDS)
    with pytest.raises(KeyError):
        KINDS["NoSuch"]


def test_a_link_that_fails_while_something_is_sent_ends_no_thread_and_holds_nothing_back():
    def fails(data: bytes) -> None:
        raise SSHException("Key-exchange timed out waiting for key negotiation")

    link = object.__new__(Channel)
    link.sending = threading.Lock()
    link.pipes = SimpleNamespace(settimeout=float, sendall=fails)
    link.send(b"alive")
    link.send_last(b"bye")
    assert not link.sending.locked()


def test_a_dead_link_is_noticed_where_it_is_behind_jump_hosts_too():
    jump = Connection("jump")
    made = Connection("web1", gateway=jump)
    alive: list[str] = []
    with socket.socket() as sock:
        jump.transport = SimpleNamespace(sock=sock, set_keepalive=lambda _: alive.append("jump"))
        made.transport = SimpleNamespace(sock=object(), set_keepalive=lambda _: alive.append("web1"))
        quick(made)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
    assert sorted(alive) == ["jump", "web1"]


class Started:
    """A command with sudo before it, whose stderr comes when the test says so."""

    def __init__(self) -> None:
        self.spoke, self.errors, self.sent = threading.Condition(), b"", [b""][:0]
        self.closed = False
        self.send = self.sent.append

    def says(self, text: str) -> None:
        with self.spoke:
            self.errors += text.encode()
            self.spoke.notify_all()


@pytest.mark.parametrize(("text", "sent"), [(payload.PROMPT, [b"s3cret\n"]), (f"{payload.READY}\n", [])])
def test_the_password_is_sent_once_sudo_asks_for_it_and_never_to_the_agent_itself(text: str, sent: list[bytes]):
    started = Started()
    agent = Agent(ChildLink((), "admin@web1"), lambda where: None, threading.Event(), may_install=False)
    answering = threading.Thread(target=agent._answer_prompt, args=(started, Secret("s3cret")), daemon=True)
    answering.start()
    started.says("sudo: unable to resolve host web1\n")
    answering.join(0.05)
    assert answering.is_alive() and started.sent == []
    started.says(text)
    answering.join(60)
    assert not answering.is_alive() and started.sent == sent


def test_under_sudo_with_a_password_the_agent_says_when_sudo_reads_no_more(tmp_path: Path):
    (tmp_path / "sudo").write_text(f'#!/bin/sh\nprintf "%s" "{payload.PROMPT}" >&2; read -r word; shift 3; exec "$@"\n')
    (tmp_path / "sudo").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    first = b"s3cret\n" + payload.payload(frozenset()) + frame({"request": "bye"})
    line = payload.command(False, True)
    ran = subprocess.run(["sh", "-c", line], input=first, capture_output=True, env=environment, timeout=120)
    assert json.loads(ran.stdout) == {"event": "hello"} and ran.returncode == 0
    assert ran.stderr.decode() == f"{payload.PROMPT}{payload.READY}\n" and payload.plain(ran.stderr.decode()) == ""


def test_a_module_of_the_agent_that_is_missing_does_not_look_like_a_python_that_lacks_one():
    """For the latter, Python is installed on the server."""
    sent = payload.sources(payload.core())
    for lacking, status in (("agent.locks", 1), ("", 93)):
        sources = {name: text for name, text in sent.items() if name != lacking}
        broken = "" if lacking else "sys.modules['json'] = None\n"
        program = f"import sys\n{broken}SOURCES = {sources!r}\n{payload.LOADER.replace('MAIN', 'agent.loop')}"
        ran = subprocess.run([sys.executable, "-ISc", program], input="", capture_output=True, text=True)
        assert ran.returncode == status and (lacking or "json") in ran.stderr
