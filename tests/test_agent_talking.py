"""The agent's conversation, over pipes: an operator who is silent, who does not read, who presses Ctrl-C."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.agent import history, loop, outgoing, overrule
from deploy.agent.locks import Locks
from deploy.agent.resources.files import File
from deploy.agent.resources.release.uploads import Discarded, Uploaded
from deploy.agent.system import System
from deploy.agent.wire import Cancelled, Entry, Failed, Plan, Stopped, frame

HER = {"verb": "deploy", "who": "her@there"}


def until(condition: Any, what: str) -> Any:
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
    return found


class Operator:
    """Who talks to an agent that runs in this process."""

    def __init__(self, directory: Path, conversation: type[loop.Conversation] = loop.Conversation) -> None:
        stdin, self.up = os.pipe()
        self.down, stdout = os.pipe()
        self.agent = conversation(os.fdopen(stdin, "rb"), os.fdopen(stdout, "wb"))
        self.agent.locks = Locks(str(directory / "locks"))
        self.events = os.fdopen(self.down, "rb")
        self.talking, self.left = threading.Lock(), False
        threading.Thread(target=self.agent.listen, daemon=True).start()
        self.serving = threading.Thread(target=self.agent.serve, daemon=True)
        self.serving.start()

    def says(self, message: dict[str, Any]) -> None:
        with self.talking:
            if self.left:  # what has its number now is another's
                raise OSError("the link is gone")
            os.write(self.up, frame(message))

    def leaves(self) -> None:
        with self.talking:
            self.left = True
            os.close(self.up)

    def hears(self, kind: str) -> dict[str, Any]:
        while True:
            event: dict[str, Any] = json.loads(self.events.readline())
            if event["event"] == kind:
                return event

    def surveys(self, wait: bool = False, **lock: Any) -> None:
        self.says(
            {"request": "survey", "app": "shop", "app_directory": "/no/such", "lock": {**HER, **lock}, "wait": wait}
            | {"manifest": None, "compare": False}
        )


def planned(path: Path) -> dict[str, Any]:
    plan = Plan("deploy", (File(str(path), "text"),))
    message = {"request": "plan", "plan": plan, "units": [], "asks": [], "check": False, "wait": False, "halt": ""}
    return message | {"run": {"app": "shop", **HER}}


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    monkeypatch.setattr(history, "DIRECTORY", str(tmp_path / "history"))
    monkeypatch.setattr(overrule, "DIRECTORY", str(tmp_path / "locks"))
    made = Operator(tmp_path)
    yield made
    made.leaves()


def obeys(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal that ends it reaches this agent, of the two in this process."""
    monkeypatch.setattr(os, "kill", lambda pid, number: operator.agent.give_way())


def busy(directory: Path) -> str:
    return Locks(str(directory / "locks")).busy("shop")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "DOUBT_SECONDS", 0.3)
    monkeypatch.setattr(loop, "SILENT_SECONDS", 3)


def test_a_run_whose_operator_is_silent_releases_the_lock_and_says_so_in_the_history(
    operator: Operator, tmp_path: Path, impatient: None
):
    operator.surveys()
    operator.hears("reply")
    assert "her@there is running `deploy` on shop" in busy(tmp_path)
    until(lambda: "it has heard nothing from its operator since" in busy(tmp_path), "others to be told of the silence")
    end = operator.hears("end")
    assert end["state"] == "cancelled" and "nothing was heard from the operator for " in end["what"]
    assert busy(tmp_path) == ""
    operator.serving.join(30)
    assert not operator.serving.is_alive()
    [line] = history.read("shop")
    assert (line["verb"], line["who"], line["outcome"]) == ("deploy", "her@there", "cancelled")
    assert "nothing was heard" in line["why"]


def test_an_operator_who_takes_their_time_is_waited_for_as_long_as_their_side_says_that_it_is_there(
    operator: Operator, tmp_path: Path, impatient: None
):
    operator.surveys()
    operator.hears("reply")
    began = time.monotonic()
    while time.monotonic() < began + 5:
        operator.says({"request": "alive"})
        time.sleep(0.02)
    operator.says(planned(tmp_path / "file"))
    assert operator.hears("end")["state"] == "ok"
    assert (tmp_path / "file").read_text() == "text"


def test_an_upload_that_stops_without_a_word_is_given_up(tmp_path: Path, impatient: None):
    (stdin, _), (_, stdout) = os.pipe(), os.pipe()
    agent = loop.Conversation(os.fdopen(stdin, "rb"), os.fdopen(stdout, "wb"))
    agent.locks = Locks(str(tmp_path))
    agent.locks.take("shop", HER, whole_host=False, wait=None)
    with pytest.raises(Cancelled, match="nothing was heard from the operator"):
        agent.next_blob()


@pytest.mark.parametrize(
    ("why", "kept"),
    [
        (Cancelled("nothing was heard from the operator for 30 s: it is suspended, or the connection is lost"), True),
        (Failed("the upload was interrupted"), True),
        (Stopped(" during the upload"), False),
    ],
)
def test_what_came_of_an_upload_is_kept_for_the_next_try_unless_its_operator_stopped_it(
    tmp_path: Path, why: Failed, kept: bool
):
    def next_blob() -> bytes:
        raise why

    system = System()
    system.operator.manifest, system.operator.next_blob = [Entry("app.py", "f", 1, "0" * 64)], next_blob
    with pytest.raises(type(why)):
        Uploaded(str(tmp_path), "1 file").apply(system)
    assert (Discarded(str(tmp_path)).check(system) == []) == kept


def test_bytes_of_a_slow_upload_are_a_sign_of_life(operator: Operator):
    operator.agent.heard_at = 0
    os.write(operator.up, b"b 100000\n" + bytes(10))  # the rest is still to come
    until(lambda: operator.agent.silence() < 100, "the bytes to be noticed")


def test_who_waits_takes_the_lock_of_a_run_whose_operator_is_silent(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(loop, "DOUBT_SECONDS", 0.3)
    obeys(operator, monkeypatch)
    operator.surveys()
    operator.hears("reply")
    other = Operator(tmp_path)
    threading.Thread(target=beat, args=(other,), daemon=True).start()
    other.surveys(wait=True, who="me@here")
    assert "her@there is running `deploy` on shop" in other.hears("waiting")["holder"]
    end = operator.hears("end")
    assert end["what"].startswith("me@here took the lock because nothing was heard from this run's operator")
    other.hears("reply")
    assert "me@here is running `deploy` on shop" in busy(tmp_path)
    assert "me@here took the lock" in history.read("shop")[-1]["why"]
    other.leaves()


def beat(operator: Operator) -> None:
    while operator.serving.is_alive():
        try:
            operator.says({"request": "alive"})
        except OSError:
            return
        time.sleep(0.05)


def test_a_run_that_hears_its_operator_keeps_the_lock_unless_it_is_to_be_broken(
    operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    obeys(operator, monkeypatch)
    operator.surveys()
    operator.hears("reply")
    other = Operator(tmp_path)
    other.surveys(who="me@here")
    refused = other.hears("end")
    assert refused["state"] == "refused" and "--break-lock makes any run stop and undo" in refused["hint"]
    other.surveys(who="me@here", break_lock=True)
    assert "it was asked to stop and undo" in other.hears("waiting")["holder"]
    assert operator.hears("end")["what"] == "me@here took the lock with --break-lock"
    other.hears("reply")
    other.leaves()


def test_a_plan_that_is_under_way_is_stopped_by_break_lock_and_by_nothing_less(operator: Operator, tmp_path: Path):
    operator.agent.locks.take("shop", HER, whole_host=False, wait=None)
    assert operator.agent.stopping() is None
    path = tmp_path / "locks"
    path.joinpath("app-shop.broken-by").write_text(json.dumps({"pid": os.getpid(), "why": "me@here took the lock"}))
    breaking = overrule.Breaking("me@here", lambda event: None, anyway=False)
    assert not breaking({**HER, "pid": os.getpid(), "silent": 0, "since": 1, "app": "shop"})
    operator.agent.give_way()
    assert str(operator.agent.stopping()) == "me@here took the lock"


def test_an_agent_of_before_that_knows_no_such_signal_gets_none(tmp_path: Path):
    breaking = overrule.Breaking("me@here", lambda event: None, anyway=True)
    assert not breaking({**HER, "pid": 1, "since": 1, "app": "shop"})


def test_ctrl_c_between_two_requests_is_not_forgotten(operator: Operator, tmp_path: Path):
    operator.surveys()
    operator.hears("reply")
    operator.says({"request": "cancel"})
    operator.says(planned(tmp_path / "file"))
    end = operator.hears("end")
    assert (end["state"], end["applied"]) == ("cancelled", False) and end["by_operator"]
    assert not (tmp_path / "file").exists()
    assert busy(tmp_path) == ""


def test_output_that_nobody_reads_holds_nothing_up_and_is_counted(operator: Operator):
    operator.agent.emit({"event": "start", "step": "release command"})
    for number in range(200_000):  # some 20 MB; a pipe holds 64 kB
        operator.agent.emit({"event": "said", "text": f"{number} {'x' * 70}"})
    assert operator.agent.outgoing.size < 2 * outgoing.MOST_BYTES
    operator.agent.emit({"event": "output", "argv": ["apt-get"], "text": "x" * 5_000_000})
    operator.agent.emit({"event": "step", "step": "release command"})
    operator.agent.emit({"event": "end", "state": "ok"})
    assert operator.agent.outgoing.size < 2 * outgoing.MOST_BYTES
    seen: list[dict[str, Any]] = []
    while not seen or seen[-1]["event"] != "end":
        seen.append(json.loads(operator.events.readline()))
    assert [event["event"] for event in seen if event["event"] != "said"] == ["start", "output", "step", "end"]
    said = [event["text"] for event in seen if event["event"] == "said"]
    left_out = int(said[-1].removeprefix("(").split()[0])
    assert "lines are left out" in said[-1] and len(said) - 1 + left_out == 200_000


def test_what_was_asked_for_waits_for_its_reader_and_is_whole(operator: Operator):
    def ask() -> None:
        for number in range(50_000):
            operator.agent.emit({"event": "line", "text": f"{number} {'x' * 70}"})
        operator.agent.emit({"event": "end"})

    threading.Thread(target=ask, daemon=True).start()
    until(lambda: operator.agent.outgoing.size > outgoing.MOST_BYTES, "the queue to be full")
    count = 0
    while json.loads(operator.events.readline())["event"] == "line":
        assert operator.agent.outgoing.size < 2 * outgoing.MOST_BYTES
        operator.agent.heard()
        count += 1
    assert count == 50_000


def test_what_was_asked_for_is_given_up_where_nobody_is_there_any_more(operator: Operator, impatient: None):
    began = time.monotonic()
    while operator.agent.silence() < 4:
        operator.agent.emit({"event": "data", "stream": "out", "data": "x" * 10_000})
    assert operator.agent.outgoing.size < 2 * outgoing.MOST_BYTES and time.monotonic() - began < 60


def test_an_agent_whose_operator_reads_no_more_ends_all_the_same():
    told = """
import os, sys, threading
sys.path.insert(0, sys.argv[1])
from deploy.agent import loop
loop.LEAVE_SECONDS = loop.LINGER_SECONDS = 0.2
conversation = loop.Conversation(os.fdopen(0, "rb"), os.fdopen(1, "wb"))
for _ in range(3000):
    conversation.emit({"event": "output", "argv": [], "text": "x" * 100})
loop.converse(conversation, {"event": "hello"})
"""
    root = str(Path(loop.__file__).parents[2])
    reading, writing = os.pipe()  # full after 64 kB
    agent = subprocess.Popen([sys.executable, "-c", told, root], stdin=subprocess.DEVNULL, stdout=writing)
    try:
        assert agent.wait(120) == 0
    finally:
        agent.kill()
        os.close(reading)
        os.close(writing)
