"""The agent as it travels: its payload, in a child process, spoken to over pipes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy import payload, remote
from deploy.agent.resources import KINDS
from deploy.agent.resources.files import File, Link
from deploy.agent.resources.services import Service
from deploy.agent.wire import Plan, Secret, frame, pack, unpack

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
    return {"request": "plan", "plan": plan, "units": [], "check": True, "run": run, "wait": False, "halt": ""}


def test_a_plan_goes_out_and_events_come_back(child: Child, tmp_path: Path):
    child.send(check(Plan("x", (File(str(tmp_path / "a"), "text"), Link(str(tmp_path / "l"), "a")))))
    *steps, end = child.until("end")
    assert [step["state"] for step in steps] == ["would change", "would change"]
    assert (end["state"], end["changed"]) == ("ok", 2)
    assert list(tmp_path.iterdir()) == []


def test_modules_that_a_later_plan_needs_are_sent_later(child: Child):
    plan = Plan("x", (Service("no-such.service", active=False),))
    sources = {name: payload.source(name) for name in payload.modules_for({"request": "plan", "plan": plan})}
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


def test_a_frame_that_breaks_off_ends_it():
    child = Child(PLAN_MODULES)
    child.event()
    child.send_bytes(b"j 500\nonly this")
    assert child.end() == 0


def test_a_python_that_is_too_old_says_so():
    program = payload.LOADER.replace("(3, 10)", "(99, 0)")
    ran = subprocess.run(
        [sys.executable, "-c", "SOURCES = {}; PACKAGES = ()\n" + program], capture_output=True, text=True
    )
    assert ran.returncode == remote.OLD_PYTHON and ran.stderr.startswith("3.")


def test_the_agent_s_prose_stays_at_home():
    for module in payload.CORE:
        text = payload.source(module)
        assert '"""' not in text
        compile(text, module, "exec")


def test_a_plan_survives_the_wire():
    plan = Plan(
        "x", (File("/a", Secret("s"), 0o600), Link("/b", "c")), undo=(Service("u", active=False),), restore=True
    )
    assert unpack(json.loads(json.dumps(pack(plan))), KINDS) == plan


def test_every_kind_is_found_by_its_name():
    assert all(KINDS[name].__name__ == name for name in KINDS)
    with pytest.raises(KeyError):
        KINDS["NoSuch"]
