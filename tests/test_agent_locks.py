"""Locks and history: who is at work, and what was done."""

import json
import multiprocessing
import os
import re
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from queue import Empty

import pytest

from deploy.agent import history
from deploy.agent.locks import Locks, acquired
from deploy.agent.wire import Cancelled, Refused, Stopped

ME, HER = {"verb": "deploy", "who": "me@here"}, {"verb": "rollback", "who": "her@there"}


def taken(directory: Path, app: str = "shop", who: dict = HER, whole_host: bool = False) -> Locks:
    locks = Locks(str(directory))
    locks.take(app, who, whole_host=whole_host, wait=None)
    return locks


def test_the_second_is_told_who_holds_the_app_since_when_and_doing_what(tmp_path: Path):
    held = taken(tmp_path)
    with pytest.raises(Refused, match=r"^her@there is running `rollback` on shop since \d\d:\d\d:\d\d UTC$"):
        taken(tmp_path, who=ME)
    held.release()
    taken(tmp_path, who=ME).release()


def take_slowly(directory: Path, taken: "Connection") -> None:
    """Somebody who holds the lock, and is not yet written down in it."""
    lock = Locks(str(directory))._open("app-shop")
    assert acquired(lock)
    taken.send("taken")
    taken.recv()
    threading.Event().wait(0.3)
    lock.truncate()
    lock.write(json.dumps({**ME, "app": "shop", "since": 1, "pid": os.getpid()}))
    lock.flush()
    taken.recv()


@pytest.mark.parametrize("before", ["", json.dumps({**HER, "app": "shop", "since": 1, "pid": 1})])
def test_in_the_moment_before_a_holder_has_written_who_it_is_others_wait_for_that(tmp_path: Path, before: str):
    (tmp_path / "app-shop.lock").write_text(before)
    ours, theirs = multiprocessing.Pipe()
    owner = multiprocessing.get_context("fork").Process(target=take_slowly, args=(tmp_path, theirs))
    owner.start()
    assert ours.recv() == "taken"
    ours.send("write it")
    with pytest.raises(Refused, match=r"^me@here is running `deploy` on shop"):
        taken(tmp_path, who=HER)
    ours.send("end")
    owner.join()


def deploy_again_and_again(directory: Path, number: int, enough: "Event", said: "Queue[str]") -> None:
    while not enough.is_set():
        try:
            taken(directory, who={"verb": "deploy", "who": f"operator {number}"}).release()
        except Refused as refused:
            said.put(refused.what)


def test_of_six_operators_at_once_each_who_has_to_wait_is_told_a_name(tmp_path: Path):
    context = multiprocessing.get_context("fork")
    enough, said = context.Event(), context.Queue()
    six = [context.Process(target=deploy_again_and_again, args=(tmp_path, number, enough, said)) for number in range(6)]
    for one in six:
        one.start()
    told = [said.get(timeout=60) for _ in range(100)]
    enough.set()
    while any(one.is_alive() for one in six):
        with suppress(Empty):
            told.append(said.get(timeout=0.05))
    assert {re.sub(r"\d", "N", text) for text in told} == {"operator N is running `deploy` on shop since NN:NN:NN UTC"}


def test_a_holder_is_told_alone_and_not_with_those_who_work_on_other_apps(tmp_path: Path):
    held = [taken(tmp_path, "shop"), taken(tmp_path, "wiki", ME)]
    with pytest.raises(Refused) as refused:
        taken(tmp_path, "shop", ME)
    assert "wiki" not in refused.value.what
    for locks in held:
        locks.release()


def test_apps_are_worked_on_side_by_side_also_while_one_is_provisioned(tmp_path: Path):
    mine = {"verb": "provision", "who": "me@here"}
    all_of_them = [taken(tmp_path, "shop"), taken(tmp_path, "wiki", mine, whole_host=True), taken(tmp_path, "blog")]
    with pytest.raises(Refused, match="me@here is running `provision` on wiki"):
        taken(tmp_path, "other", whole_host=True)  # one provision at a time
    with pytest.raises(Refused, match="me@here is running `provision` on wiki"):
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
        raise Stopped

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


def test_a_lock_that_was_released_is_free_also_while_a_process_of_ours_has_it_open(tmp_path: Path):
    first, second = Locks(str(tmp_path)), Locks(str(tmp_path))
    first.take("shop", {"verb": "deploy", "who": "ann"}, whole_host=False, wait=None)
    copy = os.dup(first.held[0].fileno())  # as a fork has it
    first.release()
    try:
        second.take("shop", {"verb": "deploy", "who": "bob"}, whole_host=False, wait=None)
    finally:
        os.close(copy)
    assert second.holder["who"] == "bob"
