"""A change of SSH access is proved by a new login while the run goes on with steps that have nothing to do with it."""

import threading
from pathlib import Path
from typing import Any

import pytest

from deploy.agent.engine import carry_out
from deploy.agent.resources.access import guarded
from deploy.agent.resources.access.guarded import Guarded
from deploy.agent.resources.files import File
from deploy.agent.system import System
from deploy.agent.wire import Drift, Plan

GOOD = {"request": "proved", "step": "SSH", "ok": True, "why": "", "hint": ""}
BAD = {**GOOD, "ok": False, "why": "no such account", "hint": ""}


class Run:
    """A plan carried out on files of this machine; what guards it (systemd's timer, the undo) is only noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.events: list[Any] = []
        self.noted: list[str] = []
        self.logged_in = threading.Event()  # or failed to
        self.word: dict[str, Any] = GOOD
        self.system = System((), self.events.append)
        self.system.operator.answer = self.answer
        monkeypatch.setattr(guarded, "remember", lambda paths, system: self.noted.append("remembered"))
        monkeypatch.setattr(guarded, "arm", lambda system, seconds: self.noted.append("armed"))
        monkeypatch.setattr(guarded, "disarm", lambda system: self.noted.append("disarmed"))
        monkeypatch.setattr(guarded, "undo", lambda system: self.noted.append("undone"))

    def answer(self, seconds: float) -> Any:
        assert self.logged_in.wait(30)
        return self.word

    def file(self, name: str) -> File:
        return File(str(self.tmp_path / name), "text\n")

    def ended(self, *steps: Any) -> Any:
        return carry_out(Plan("x", steps), self.system, check=False, before=lambda: None)

    def told(self) -> list[str]:
        return [f"{event['state']} {event['step']}" for event in self.events if event["event"] == "step"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    return Run(monkeypatch, tmp_path)


class After(File):
    """A file that is written once the login was made: so the run did not wait for that."""

    def apply(self, system: System) -> None:
        super().apply(system)
        assert not RUNS[0].logged_in.is_set()
        RUNS[0].logged_in.set()


RUNS: list[Run] = []


def test_a_step_behind_it_is_applied_while_the_new_login_is_under_way(run: Run):
    RUNS[:] = [run]
    behind = After(str(run.tmp_path / "behind"), "text\n")
    assert run.ended(Guarded("SSH", (run.file("sshd"),)), behind)["state"] == "ok"
    assert run.noted == ["remembered", "armed", "disarmed"] and len(run.told()) == 2


def test_what_guards_access_too_waits_for_the_proof_before(run: Run):
    class Second(Guarded):
        def apply(self, system: System) -> None:
            run.noted.append("second")
            super().apply(system)

    run.logged_in.set()
    run.ended(Guarded("SSH", (run.file("sshd"),)), Second("SSH", (run.file("firewall"),)))
    assert run.noted.index("disarmed") < run.noted.index("second")


def test_a_login_that_does_not_work_undoes_the_change_and_ends_the_run(run: Run):
    run.word = BAD
    run.logged_in.set()
    end = run.ended(Guarded("SSH", (run.file("sshd"),)), run.file("behind"), Guarded("SSH", (run.file("firewall"),)))
    assert (end["state"], end["step"]) == ("failed", "SSH") and "no such account" in end["what"]
    assert run.noted[:3] == ["remembered", "armed", "undone"] and not (run.tmp_path / "firewall").exists()


@pytest.mark.parametrize("word", [BAD, {"request": "cancel"}])
def test_a_change_that_is_undone_before_it_is_looked_at_again_says_why(
    run: Run, monkeypatch: pytest.MonkeyPatch, word: dict[str, Any]
):
    class Late(Guarded):
        def check(self, system: System) -> list[Drift]:
            if system.memory.proof:
                system.memory.proof.thread.join()
            return super().check(system)

    monkeypatch.setattr(guarded, "undo", lambda system: (run.tmp_path / "sshd").unlink())
    run.word = word
    run.logged_in.set()
    end = run.ended(Late("SSH", (run.file("sshd"),)), run.file("behind"))
    assert end["step"] == "SSH" and end.get("by_operator", False) == (word is not BAD)
    assert "no such account" in end["what"] or word is not BAD


def test_a_login_that_fails_behind_the_last_step_ends_the_run_too(run: Run):
    run.word = BAD
    run.logged_in.set()
    end = run.ended(Guarded("SSH", (run.file("sshd"),)))
    assert (end["state"], end["step"]) == ("failed", "SSH") and "undone" in run.noted


def test_a_step_that_fails_meanwhile_waits_for_the_proof_and_leaves_the_change(run: Run):
    run.logged_in.set()
    broken = File(str(run.tmp_path / "none" / "file"), "text\n")
    (run.tmp_path / "none").write_text("not a directory")
    end = run.ended(Guarded("SSH", (run.file("sshd"),)), broken)
    assert end["state"] in ("failed", "refused")
    assert "undone" not in run.noted
