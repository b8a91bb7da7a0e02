"""Carrying out a plan: the order of things, and what a failure leaves."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.agent.engine import blame, carry_out
from deploy.agent.resources.files import File, seal
from deploy.agent.system import System
from deploy.agent.wire import Drift, Failed, Plan, Refused, Resource, Stopped


@dataclass
class Step(Resource):
    """A resource that writes down what is done with it."""

    name: str
    log: list[str]
    right: bool = False
    works: bool = True
    refuses: bool = False
    raises: type[Exception] | None = None
    after: Callable[[], Any] = field(default=lambda: None)

    @property
    def title(self) -> str:
        return self.name

    def check(self, system: System) -> list[Drift]:
        if self.refuses:
            raise Refused(f"{self.name} is refused", "do this", "because")
        return [] if self.right else [Drift("state", "wrong", "right")]

    def apply(self, system: System) -> None:
        self.log.append(self.name)
        if self.raises:
            raise self.raises(f"{self.name} broke")
        self.right = self.works
        self.after()


def run(plan: Plan, *, check: bool = False, cancelled: Callable[[], Any] = lambda: None) -> tuple[dict, list[dict]]:
    events: list[dict] = []
    end = carry_out(plan, System((), events.append, cancelled), check=check, before=lambda: None)
    return end, [event for event in events if event["event"] == "step"]


def test_only_what_drifts_is_applied_in_the_order_of_the_plan():
    log: list[str] = []
    end, steps = run(Plan("x", (Step("a", log), Step("b", log, right=True), Step("c", log))))
    assert log == ["a", "c"]
    assert [step["state"] for step in steps] == ["changed", "ok", "changed"]
    assert (end["state"], end["changed"]) == ("ok", 2)


def test_a_dry_run_applies_nothing():
    log: list[str] = []
    end, steps = run(Plan("x", (Step("a", log), Step("b", log, right=True))), check=True)
    assert log == [] and end["changed"] == 1
    assert [step["state"] for step in steps] == ["would change", "ok"]


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "check the server's disk"),
        (errno.EIO, "check the server's disk"),
        (errno.EMFILE, "find out what uses so much"),
        (errno.ENOENT, "run the same command again"),
    ],
)
def test_an_error_of_the_machine_says_what_to_do_about_it(number: int, advice: str):
    told = blame(OSError(number, os.strerror(number), "/srv/shop"))
    assert told["state"] == "failed" and told["hint"].startswith(advice)
    assert told["hint"].endswith("run the same command again")


def test_what_must_be_refused_is_refused_before_anything_is_changed():
    log: list[str] = []
    end, _ = run(Plan("x", (Step("a", log), Step("b", log, refuses=True))))
    assert log == []
    assert (end["state"], end["applied"], end["what"]) == ("refused", False, "b is refused")


def test_a_step_that_still_drifts_after_applying_is_a_failure():
    end, _ = run(Plan("x", (Step("a", [], works=False),)))
    assert end["state"] == "failed" and "not in effect after" in end["what"]


def test_a_failure_undoes_and_does_not_go_on():
    log: list[str] = []
    end, steps = run(Plan("x", (Step("a", log, raises=Failed), Step("b", log)), undo=(Step("back", log),)))
    assert log == ["a", "back"]
    assert steps[-1]["state"] == "undone" and end["undo_errors"] == []


def test_an_undo_ends_where_it_fails_and_takes_nothing_more_away():
    log: list[str] = []
    undo = (Step("back", log, raises=Failed), Step("stop the new one", log))
    end, _ = run(Plan("x", (Step("a", log, raises=Failed),), undo=undo))
    assert log == ["a", "back"]
    assert end["undo_errors"] == ["back: back broke"]


def test_an_undo_goes_on_where_a_step_has_failed_but_did_what_it_is_for():
    log: list[str] = []
    back = Step("back", log)

    def fsync() -> None:
        raise OSError(5, "Input/output error", "/srv/shop")

    back.after = fsync
    end, _ = run(Plan("x", (Step("a", log, raises=Failed),), undo=(back, Step("stop the new one", log))))
    assert log == ["a", "back", "stop the new one"]
    assert end["undo_errors"] == ["back: Input/output error: /srv/shop"]


def test_a_bug_of_ours_in_an_undo_ends_it_and_is_told():
    log: list[str] = []
    undo = (Step("back", log, raises=KeyError), Step("stop the new one", log))
    end, _ = run(Plan("x", (Step("a", log, raises=Failed),), undo=undo))
    assert end["state"] == "failed" and len(end["undo_errors"]) == 1 and log == ["a", "back"]


def test_a_failure_after_the_switch_undoes_nothing():
    log: list[str] = []
    plan = Plan("x", (Step("switch", log),), undo=(Step("back", log),), finish=(Step("stop old", log, raises=Failed),))
    end, _ = run(plan)
    assert log == ["switch", "stop old"] and end["switched"]


def test_ctrl_c_stops_between_steps_and_undoes():
    log: list[str] = []
    pressed: list[bool] = []
    plan = Plan("x", (Step("a", log, after=lambda: pressed.append(True)), Step("b", log)), undo=(Step("back", log),))
    end, _ = run(plan, cancelled=lambda: Stopped() if pressed else None)
    assert log == ["a", "back"] and end["state"] == "cancelled" and end["by_operator"]


def test_ctrl_c_after_the_switch_lets_it_finish():
    log: list[str] = []
    pressed: list[bool] = []
    plan = Plan("x", (Step("switch", log, after=lambda: pressed.append(True)),), finish=(Step("stop old", log),))
    end, _ = run(plan, cancelled=lambda: Stopped() if pressed else None)
    assert log == ["switch", "stop old"] and end["state"] == "ok"


def test_an_earlier_step_s_effect_is_seen_by_a_later_one():
    log: list[str] = []
    later = Step("later", log)
    run(Plan("x", (Step("a", log, after=lambda: setattr(later, "right", True)), later)))
    assert log == ["a"]


def test_a_failed_plan_puts_changed_files_back(tmp_path: Path):
    path = tmp_path / "unit"
    path.write_text(seal("# ours\nbefore\n"))
    plan = Plan("x", (File(str(path), seal("# ours\nafter\n")), Step("a", [], raises=Failed)), restore=True)
    end, _ = run(plan)
    assert end["state"] == "failed"
    assert path.read_text() == seal("# ours\nbefore\n")


def test_a_full_disk_is_told_in_words(tmp_path: Path):
    def full() -> None:
        raise OSError(28, "No space left on device", "/srv/shop/x")

    end, _ = run(Plan("x", (Step("a", [], after=full),)))
    assert end["what"] == "the server's disk is full" and "/srv/shop/x" in end["detail"]
    assert "free some space" in end["hint"]


def test_a_bug_of_ours_is_told_as_one_and_still_undone():
    log: list[str] = []
    end, _ = run(Plan("x", (Step("a", log, raises=ZeroDivisionError),), undo=(Step("back", log),)))
    assert "this is a bug" in end["what"] and "ZeroDivisionError" in end["detail"]
    assert log == ["a", "back"]
