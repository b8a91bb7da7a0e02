"""Whatever fails in a change of the release, and in undoing it: a release that can answer has the traffic."""

import errno
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from test_plans import NEW, OLD, OLDER, deployed, rolled_back

from deploy.agent.dataclass import replace
from deploy.agent.engine import carry_out
from deploy.agent.resources.files import Absent, Link
from deploy.agent.resources.release.releases import Source
from deploy.agent.resources.serving.retired import Retired
from deploy.agent.resources.serving.services import Service
from deploy.agent.resources.serving.way_back import TrafficBack, WayBack, back_of
from deploy.agent.system import System
from deploy.agent.wire import Drift, Plan, Refused, Resource
from deploy.session.execute import Count, left_as

KINDS_OF_FAILURE = {"ENOSPC": errno.ENOSPC, "EROFS": errno.EROFS, "EIO": errno.EIO, "EMFILE": errno.EMFILE}
Failure = Callable[[], Exception]  # a fresh one each time: each raising adds to an exception's frames
FAILURES: dict[str, Failure] = {
    **{name: partial(OSError, number, os.strerror(number), "/srv/shop") for name, number in KINDS_OF_FAILURE.items()},
    "this is a bug": partial(IndexError, "list index out of range"),
}


@dataclass
class World:
    """What matters of a server: which releases are there and run, and which one has the traffic."""

    there: set[str] = field(default_factory=lambda: {OLDER, OLD})
    running: set[str] = field(default_factory=lambda: {OLD})
    current: str = OLD

    @property
    def answers(self) -> bool:
        return self.current in self.running & self.there


@dataclass
class Broken:
    """Which step fails, and where: before it has done anything, after that, or in looking at what it has done."""

    number: int = -1
    at: str = "before"


PLACES = ("before", "after", "look")


@dataclass
class Modelled(Resource):
    """A step of a real plan that does to the World what the real one does to a server, and fails if it is to."""

    step: Resource
    world: World
    error: Failure | None = None
    at: str = ""
    first_look: bool = True  # the engine's, at all steps before the first is applied
    done: bool = False

    @property
    def title(self) -> str:
        return self.step.title

    def wanted(self) -> tuple[str, Any]:
        """What of the world it is about, and how that is to be; ("", None) for what has no part in who answers."""
        match self.step:
            case Source(release=release):
                return "there", self.world.there | {release}
            case Service(unit=unit, active=active) if "@" in unit:
                name = unit.partition("@")[2].removesuffix(".service")
                return "running", self.world.running | {name} if active else self.world.running - {name}
            case Link(path="/srv/shop/current", target=target):
                return "current", os.path.basename(target)
            case TrafficBack(release=release):
                return "current", release
            case Retired(keep=keep):
                return "running", self.world.running & {keep}
            case Absent(path=path) if path.startswith("/srv/shop/releases/"):
                return "there", self.world.there - {os.path.basename(path)}
        return "", None

    def check(self, system: System) -> list[Drift]:
        first, self.first_look = self.first_look, False
        if self.error and self.at == "look" and not first:
            raise self.error()
        name, value = self.wanted()
        right = getattr(self.world, name) == value if name else self.done
        return [] if right else [Drift("state", "wrong", "right")]

    def apply(self, system: System) -> None:
        if self.error and self.at == "before":
            raise self.error()
        name, value = self.wanted()
        if name:
            setattr(self.world, name, value)
        self.done = True
        if self.error and self.at == "after":
            raise self.error()


def after(
    plan: Plan, step: Broken, undo: Callable[[int], Broken | None], error: Failure
) -> tuple[World, dict[str, Any]]:
    """The world after a plan of which one step fails, and steps of its undo, too; and how the run ended."""
    world = World()
    steps = tuple(
        Modelled(part, world, error if number == step.number else None, step.at)
        for number, part in enumerate(plan.steps)
    )
    back = []
    for number, part in enumerate(plan.undo):
        broken = undo(number)
        back.append(Modelled(part, world, error if broken else None, broken.at if broken else "", first_look=False))
    finish = tuple(Modelled(part, world) for part in plan.finish)
    modelled = replace(plan, steps=steps, undo=tuple(back), finish=finish, current="")
    end = carry_out(modelled, System(), check=False, before=lambda: None)
    return world, end


@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.parametrize("plan", [deployed(), rolled_back()], ids=["deploy", "rollback"])
def test_whatever_step_fails_and_whatever_step_of_its_undo_the_site_answers(
    plan: Plan, kind: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "traceback", None)  # on such a server, what is not loaded cannot be
    undos: list[Callable[[int], Broken | None]] = [lambda number: None]
    for at in PLACES:
        undos.append(lambda number, at=at: Broken(number, at))  # type: ignore[misc]  # all of them
        for one in range(len(plan.undo)):
            undos.append(lambda number, one=one, at=at: Broken(one, at) if number == one else None)  # type: ignore[misc]
    failed = 0
    for number in range(len(plan.steps)):
        for at in PLACES:
            for undo in undos:
                world, end = after(plan, Broken(number, at), undo, FAILURES[kind])
                assert world.answers, (plan.steps[number].title, at, end, world)
                failed += end["state"] == "failed"
    assert failed > (len(plan.steps) - 3) * len(PLACES) * len(undos)  # but where an earlier step had done it already


def test_the_model_finds_an_undo_that_takes_the_serving_release_away():
    plan = deployed()
    switch = next(number for number, step in enumerate(plan.steps) if step.title == f"traffic: switched to {NEW}")
    wrong = replace(plan, undo=plan.undo[1:])  # stops the new release without going back
    world, _ = after(wrong, Broken(switch, "after"), lambda number: None, FAILURES["EIO"])
    assert not world.answers


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """/srv/APP after a switch, the way back being ready."""
    os.symlink(f"releases/{NEW}", tmp_path / "current")
    os.symlink(f"releases/{OLD}", back_of(f"{tmp_path}/current"))
    return tmp_path


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    """One on which the release before runs."""
    found = System()
    monkeypatch.setattr(found, "unit", lambda name: {"ActiveState": "active"})
    return found


def failing(kind: str) -> Callable[..., Any]:
    def fails(*_: object, **__: object) -> None:
        raise OSError(KINDS_OF_FAILURE[kind], os.strerror(KINDS_OF_FAILURE[kind]))

    return fails


@pytest.mark.parametrize("kind", KINDS_OF_FAILURE)
def test_going_back_takes_no_new_link_no_file_and_no_process(
    home: Path, system: System, monkeypatch: pytest.MonkeyPatch, kind: str
):
    for call in ("symlink", "open", "mkdir", "link"):
        monkeypatch.setattr(os, call, failing(kind))
    monkeypatch.setattr(system, "unit", failing(kind))
    back = TrafficBack(f"{home}/current", OLD, "shop@x.service")
    end = carry_out(Plan("x", (Fails(),), (back,), current=f"{home}/current"), system, check=False, before=nothing)
    assert end["serves"] == OLD
    assert len(end["undo_errors"]) == 1  # the directory could not be synced


def test_going_back_asks_nothing_of_a_systemd_that_does_not_answer(
    home: Path, system: System, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(system, "unit", lambda name: {})
    monkeypatch.setattr(system, "run", lambda argv: pytest.fail(f"{argv} would fail, and end the undo"))
    back = TrafficBack(f"{home}/current", OLD, "shop@x.service")
    end = carry_out(Plan("x", (Fails(),), (back,), current=f"{home}/current"), system, check=False, before=nothing)
    assert end["serves"] == OLD and end["undo_errors"] == []


@pytest.mark.parametrize("kind", KINDS_OF_FAILURE)
def test_where_the_link_cannot_be_renamed_the_new_release_keeps_the_traffic_and_its_files(
    home: Path, system: System, monkeypatch: pytest.MonkeyPatch, kind: str
):
    (home / "releases" / NEW).mkdir(parents=True)
    monkeypatch.setattr(os, "replace", failing(kind))
    undo = (TrafficBack(f"{home}/current", OLD, "shop@x.service"), Absent(f"{home}/releases/{NEW}"))
    end = carry_out(Plan("x", (Fails(),), undo, current=f"{home}/current"), system, check=False, before=nothing)
    assert end["serves"] == NEW and (home / "releases" / NEW).is_dir()
    count = Count(end=end)
    said = left_as(count, NEW, OLD, is_new=True)
    assert said.startswith(f"traffic goes to {NEW}; not everything could be undone:\ntraffic: back on {OLD}: ")


def nothing() -> None:
    pass


class Fails(Resource):
    title = "one that fails"

    def check(self, system: System) -> list[Drift]:
        return [Drift("state", "wrong", "right")]

    def apply(self, system: System) -> None:
        raise OSError(errno.EIO, "Input/output error", "/srv/shop")


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Callable[[bytes], str]]:
    """Makes a release's socket that gives one answer to everybody, or none at all; returns its path."""
    sockets = []

    def serve(answer: bytes) -> str:
        listener = socket.socket(socket.AF_UNIX)
        path = f"{tmp_path}/http.sock"
        listener.bind(path)
        listener.listen()
        sockets.append(listener)

        def answer_all() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                sockets.append(connection)
                connection.recv(1000)
                if answer:
                    connection.sendall(answer)
                    connection.close()

        threading.Thread(target=answer_all, daemon=True).start()
        return path

    yield serve
    for made in sockets:
        made.close()


@pytest.mark.parametrize(
    ("answer", "found"),
    [(b"HTTP/1.0 200 OK\r\n\r\n", ""), (b"HTTP/1.0 404 Not Found\r\n\r\n", ""), (b"HTTP/1.0 500 Oops\r\n\r\n", "500")],
)
def test_a_release_that_answers_is_one_to_go_back_to(
    tmp_path: Path, answering: Callable[[bytes], str], answer: bytes, found: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    os.symlink(f"releases/{OLD}", tmp_path / "current")
    system = System()
    way = WayBack(f"{tmp_path}/current", OLD, answering(answer), "/healthz", "shop.example.com")
    assert way.check(system) != []
    way.apply(system)
    assert way.check(system) == [] and os.readlink(back_of(f"{tmp_path}/current")) == f"releases/{OLD}"
    assert system.memory.silent.get(OLD, "") == found


def test_nobody_goes_back_to_a_release_that_hangs(
    tmp_path: Path, answering: Callable[[bytes], str], system: System, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    monkeypatch.setattr("deploy.agent.resources.serving.way_back.PATIENCE_SECONDS", 0.1)
    current = f"{tmp_path}/current"
    os.symlink(f"releases/{OLD}", current)
    WayBack(current, OLD, answering(b""), "/healthz", "shop.example.com").apply(system)
    Link(current, f"releases/{NEW}").apply(system)
    back = TrafficBack(current, OLD, f"shop@{OLD}.service")
    with pytest.raises(Refused):
        back.apply(system)
    end = carry_out(Plan("x", (Fails(),), (back,), current=current), system, check=False, before=nothing)
    assert end["serves"] == NEW
    said = left_as(Count(end=end), NEW, OLD, is_new=True)
    assert f"{OLD} did not answer before the switch (timed out), so traffic does not go back to it" in said


def test_a_way_back_that_was_not_needed_is_cleared_away(home: Path, system: System):
    Link(f"{home}/current", f"releases/{OLD}").apply(system)
    back = TrafficBack(f"{home}/current", OLD, f"shop@{OLD}.service")
    assert back.check(system) != []
    back.apply(system)
    assert back.check(system) == [] and sorted(os.listdir(home)) == ["current"]


@pytest.mark.parametrize(
    ("serves", "release", "before", "said"),
    [
        (OLD, NEW, OLD, f"traffic stays on {OLD}; {NEW} was stopped and removed"),
        (OLD, OLD, OLD, f"traffic stays on {OLD}"),  # it runs on
        ("", NEW, "", f"no release gets traffic; {NEW} was stopped and removed"),
        (NEW, NEW, OLD, f"traffic goes to {NEW}"),
    ],
)
def test_the_state_names_the_release_that_has_the_traffic_and_says_of_none_that_runs_that_it_was_stopped(
    serves: str, release: str, before: str, said: str
):
    assert left_as(Count(end={"serves": serves}), release, before, is_new=True) == said


@pytest.mark.parametrize("switched", [True, False])
def test_a_run_that_failed_says_whether_traffic_had_been_switched_whatever_its_steps_are_called(
    home: Path, system: System, switched: bool
):
    current = f"{home}/current"
    Link(current, f"releases/{OLD}").apply(system)
    switch = (Link(current, f"releases/{NEW}", "a title that means nothing"),) if switched else ()
    undo = (TrafficBack(current, OLD, f"shop@{OLD}.service"),)
    end = carry_out(Plan("x", (*switch, Fails()), undo, current=current), system, check=False, before=nothing)
    assert (end["repointed"], end["serves"]) == (switched, OLD)
    how = "is back" if switched else "stays"
    assert left_as(Count(end=end), NEW, OLD, is_new=True) == f"traffic {how} on {OLD}; {NEW} was stopped and removed"
