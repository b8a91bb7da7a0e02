"""Locks and history: who is at work, and what was done."""

import json
import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from deploy.agent import history
from deploy.agent.locks import Locks
from deploy.agent.wire import Cancelled, Refused

ME, HER = {"verb": "deploy", "who": "me@here"}, {"verb": "rollback", "who": "her@there"}


def taken(directory: Path, app: str = "shop", who: dict = HER, whole_host: bool = False) -> Locks:
    locks = Locks(str(directory))
    locks.take(app, who, whole_host=whole_host, wait=None)
    return locks


def test_the_second_is_told_who_holds_the_app_since_when_and_doing_what(tmp_path: Path):
    held = taken(tmp_path)
    with pytest.raises(Refused, match=r"^her@there is at work on shop: `rollback`, since \d\d:\d\d:\d\d UTC$"):
        taken(tmp_path, who=ME)
    held.release()
    taken(tmp_path, who=ME).release()


def test_apps_are_worked_on_side_by_side_also_while_one_is_provisioned(tmp_path: Path):
    mine = {"verb": "provision", "who": "me@here"}
    all_of_them = [taken(tmp_path, "shop"), taken(tmp_path, "wiki", mine, whole_host=True), taken(tmp_path, "blog")]
    with pytest.raises(Refused, match="me@here is at work on wiki: `provision`"):
        taken(tmp_path, "other", whole_host=True)  # one provision at a time
    with pytest.raises(Refused, match="me@here is at work on wiki"):
        taken(tmp_path, "wiki")
    for locks in all_of_them:
        locks.release()
    assert Locks(str(tmp_path)).busy() == ""


def test_what_apps_share_is_changed_by_one_after_the_other(tmp_path: Path):
    order: list[str] = []
    with Locks(str(tmp_path)).alone("nginx"):
        other = threading.Thread(target=lambda: hold(tmp_path, order))
        other.start()
        assert Locks(str(tmp_path)).busy() == ""  # nobody's work: too short to be told of
        order.append("first")
    other.join(20)
    assert order == ["first", "second"]


def hold(directory: Path, order: list[str]) -> None:
    with Locks(str(directory)).alone("nginx"):
        order.append("second")


def test_waiting_for_what_apps_share_can_be_given_up(tmp_path: Path):
    def stop() -> None:
        raise Cancelled("stopped by the operator")

    locks = Locks(str(tmp_path))
    with locks.alone("nginx"), pytest.raises(Cancelled), Locks(str(tmp_path)).alone("nginx", stop):
        raise AssertionError


def test_a_holder_that_an_operator_outranks_is_ended_not_waited_for(tmp_path: Path):
    held, ended = taken(tmp_path, who={"verb": "deploy", "who": "ci-shop 1a2b", "ci": "1a2b"}), []

    def outrank(holder: dict) -> bool:
        ended.append((holder["ci"], holder["pid"]))
        held.release()
        return True

    locks = Locks(str(tmp_path))
    locks.take("shop", ME, whole_host=False, wait=None, outrank=outrank)
    assert ended == [("1a2b", os.getpid())]
    locks.release()


def test_a_refused_lock_holds_nothing_back(tmp_path: Path):
    held = taken(tmp_path, "shop")
    with pytest.raises(Refused):
        taken(tmp_path, "shop", ME)
    held.release()
    taken(tmp_path, "wiki", ME, whole_host=True).release()


def test_waiting_goes_on_once_it_is_free_and_can_be_given_up(tmp_path: Path):
    held, told = taken(tmp_path), []

    def wait(holder: str) -> bool:
        told.append(holder)
        held.release()
        return False

    locks = Locks(str(tmp_path))
    locks.take("shop", ME, whole_host=False, wait=wait)
    assert len(told) == 1 and "her@there" in told[0]
    with pytest.raises(Cancelled):
        Locks(str(tmp_path)).take("shop", HER, whole_host=False, wait=lambda holder: True)
    locks.release()


def die_holding(directory: Path) -> None:
    taken(directory)
    os._exit(9)


def test_a_lock_dies_with_its_owner(tmp_path: Path):
    owner = multiprocessing.get_context("fork").Process(target=die_holding, args=(tmp_path,))
    owner.start()
    owner.join()
    assert Locks(str(tmp_path)).busy("shop") == ""
    taken(tmp_path, who=ME).release()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(history, "DIRECTORY", str(tmp_path))
    return tmp_path


def test_history_reads_what_was_written_and_leaves_out_torn_lines(home: Path):
    history.write("shop", {"verb": "deploy", "n": 1})
    with (home / "shop" / "history.jsonl").open("a") as file:
        file.write('{"verb": "dep')
    history.write("shop", {"verb": "deploy", "n": 2})
    assert [run["n"] for run in history.read("shop")] == [1, 2]
    assert [run["n"] for run in history.read("shop", 1)] == [2]
    assert history.read("blog") == []


def test_a_run_is_noted_until_its_end_was_heard(home: Path):
    history.note("shop", {"state": "running"})
    assert history.unheard("shop") == {"state": "running"}
    history.heard("shop")
    assert history.unheard("shop") is None
    history.heard("shop")


def test_a_line_says_how_it_ended_and_what_the_probe_found():
    run = {"verb": "deploy", "who": "me@here", "started": 5, "commit": "", "state": "running"}
    probe = {"requests": 212, "failed": 0, "slowest_ms": 8, "first_failure": ""}
    line = history.line(run, {"state": "ok", "seconds": 1.234, "probe": probe})
    assert line["outcome"] == "ok" and line["seconds"] == 1.2 and (line["requests"], line["failed"]) == (212, 0)
    assert "commit" not in line and "state" not in line
    line = history.line(run, {"state": "failed", "what": "no tide", "step": "x", "switched": False})
    assert (line["outcome"], line["why"], line["step"], line["undone"]) == ("failed", "no tide", "x", True)
    assert json.loads(json.dumps(history.cut_off(run)))["outcome"] == "cut off"
