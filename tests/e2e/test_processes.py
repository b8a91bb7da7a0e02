"""Processes and timers beside the web server, on Debian 12 and 13: one set with each release, whatever happens."""

import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from breaking import kill, resume
from queued import Queue
from standing import machine, quiet
from visiting import wait_for

from deploy import sandbox

SINGLE = "[processes.clock]\ncommand = 'python worker.py'\nsingleton = true\nstop_seconds = 5\n"
TIMER = "[timers.tick]\ncommand = 'python job.py 1.5'\nschedule = '*:*:*'\n"
DIES = "python -c 'raise SystemExit(7)'"


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def debian(request: pytest.FixtureRequest) -> Iterator[sandbox.Machine]:
    with machine(f"pr-{request.param}", release=request.param) as made:
        yield made


@pytest.fixture
def queue(debian: sandbox.Machine, tmp_path: Path) -> Queue:
    """The app with one worker, deployed; what earlier tests have left of it is of the past."""
    made = Queue(tmp_path / "queue", debian)
    made.server.script("rm -f /srv/queue/scale.json")
    if "queue" not in made.server.run("ls", "/srv"):
        made.fab("provision")
    made.number = time.time_ns()
    made.change()
    made.fab("deploy")
    made.server.script("rm -f /var/lib/queue/notes")
    return made


def test_a_release_is_a_set_of_processes_that_come_and_go_with_it(queue: Queue):
    first = queue.current
    assert queue.units() == [f"{first}.worker.1.service"]
    queue.change(
        procfile="worker: python worker.py\nclock: python worker.py\n", tables="[processes.worker]\ncount = 2\n"
    )
    said = queue.fab("deploy").out
    second = queue.current
    assert "processes: clock, worker × 2 running" in said and "; and clock, worker × 2" in " ".join(said.split())
    assert queue.serves == second and queue.is_one_set()
    assert queue.units() == [f"{second}.{name}.service" for name in ("clock.1", "worker.1", "worker.2")]
    ended = [row for row in queue.notes("worker") if row[0] == "ends"]
    assert [row[2] for row in ended] == [first], "it was asked to stop, and was not killed"
    assert "nothing new: 0 changed" in queue.fab("deploy").out
    queue.fab("rollback")
    assert queue.current == first and queue.units() == [f"{first}.worker.1.service"] and queue.is_one_set()
    lines = queue.fab("logs", "--process", "worker", "-n", "500").out
    assert "at work" in lines and ".clock." not in lines
    assert "did you mean worker?" in queue.fab("logs", "--process", "workers", status=1).err


def test_a_process_that_ends_at_once_fails_the_deploy_and_harms_nothing(queue: Queue):
    before = queue.current
    for command, how in ((DIES, "exit status 7"), ("true", "exit status 0"), ("no-such-program", "exit status 127")):
        queue.change(procfile=f"worker: {command}\n")
        said = queue.fab("deploy", status=1).err
        assert f"the process worker.1 ended right after its start ({how})" in said, said
        assert f"traffic stays on {before}" in said and "fab logs --process worker" in said
        assert queue.serves == before and queue.is_one_set()
    assert queue.server.run("ls", "/srv/queue/releases").split().count(before) == 1
    assert not [row for row in queue.notes("worker") if row[0] == "ends"], "the old worker went on all the time"


@pytest.mark.debian("bookworm")
def test_a_process_that_fails_after_the_switch_is_seen_by_the_watch(queue: Queue):
    before = queue.current
    late = "python -c \"import time; time.sleep(4); raise OSError('no queue')\""
    queue.change(procfile=f"worker: {late}\n", app="watch_seconds = 30")
    queue.write_config()
    said = queue.fab("deploy", status=1).err
    assert "after the switch, the process worker.1 ended with an error" in said and "OSError: no queue" in said
    assert queue.serves == queue.current == before and queue.is_one_set()


def lives(rows: list[list[str]]) -> list[tuple[float, float]]:
    """When each process began and ended, in order; one that goes on has no end."""
    ends = {row[3]: float(row[4]) for row in rows if row[0] == "ends"}
    return sorted((float(row[4]), ends.get(row[3], float("inf"))) for row in rows if row[0] == "begins")


def require_apart(rows: list[list[str]]) -> None:
    found = lives(rows)
    for (_, end), (begin, _) in pairwise(found):
        assert end <= begin, rows


def test_a_singleton_never_runs_twice_and_is_started_again_if_the_new_one_fails(queue: Queue):
    queue.change(procfile="", tables=SINGLE)
    queue.fab("deploy")
    first = queue.current
    queue.change()
    queue.fab("deploy")
    assert queue.current > first and queue.is_one_set()
    second = queue.current
    queue.change(tables=SINGLE.replace("python worker.py", "exit 3"))
    queue.fab("deploy", status=1)
    assert queue.current == second and queue.is_one_set()
    queue.fab("rollback")
    assert queue.current == first and queue.is_one_set()
    wait_for(lambda: len(lives(queue.notes("clock"))) == 4, "the singleton of the first release, again")
    require_apart(queue.notes("clock"))


@pytest.mark.debian("bookworm")
def test_one_that_ignores_its_signal_holds_up_no_deploy_unless_it_is_a_singleton(queue: Queue):
    deaf = WORKER_THAT_IS_DEAF
    (queue.directory / "deaf.py").write_text(deaf)
    queue.change(procfile="worker: python deaf.py\n", tables="[processes.worker]\nstop_seconds = 3600\n")
    queue.fab("deploy")
    old = queue.current
    queue.change(procfile="worker: python worker.py\n")
    queue.fab("deploy")
    assert queue.units("deactivating") == [f"{old}.worker.1.service"], "it has its time"
    assert queue.units() == [f"{queue.current}.worker.1.service"]
    queue.server.script(f"systemctl kill -s KILL queue@{old}.worker.1.service")
    (queue.directory / "deaf.py").write_text(deaf)
    queue.change(procfile="", tables=SINGLE.replace("worker.py", "deaf.py").replace("= 5", "= 1"))
    queue.fab("deploy")
    queue.change()
    queue.fab("deploy")
    wait_for(queue.is_one_set, "the killed one to be gone")


WORKER_THAT_IS_DEAF = """
import signal, time

signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
while True:
    time.sleep(1)
"""


@pytest.mark.debian("bookworm")
def test_scale_changes_how_many_run_without_a_deploy_and_for_later_ones(queue: Queue):
    release = queue.current
    queue.fab("scale", "worker=3")
    assert queue.units() == [f"{release}.worker.{number}.service" for number in (1, 2, 3)]
    assert queue.current == release and queue.is_one_set()
    queue.change()
    assert "worker: 3 of it, by `fab scale` (deploy.toml: 1)" in queue.fab("deploy").text
    assert len(queue.units()) == 3 and queue.is_one_set()
    queue.fab("scale", "worker=1")
    assert queue.units() == [f"{queue.current}.worker.1.service"] and queue.is_one_set()
    assert {row["name"]: (row["count"], row["running"]) for row in queue.fab("scale", "--json").events} == {
        "worker": (1, 1)
    }
    queue.fab("scale", "worker=0")
    assert queue.units() == []
    queue.fab("scale", "worker=")
    assert queue.units() == [f"{queue.current}.worker.1.service"]
    assert "has no process wroker" in queue.fab("scale", "wroker=2", status=1).err
    assert "is not NAME=COUNT" in queue.fab("scale", "worker=many", status=1).err


def test_a_timer_never_overlaps_sees_one_release_only_and_goes_on_after_a_switch(queue: Queue):
    queue.change(procfile="", tables=TIMER)
    queue.fab("deploy")
    first = queue.current
    wait_for(lambda: len(queue.notes("tick")) > 3, "jobs of the first release")
    process, halted = queue.halted("traffic: switched", *queue_changed(queue))
    resume(queue.server, process, halted)
    second = queue.current
    wait_for(
        lambda: [row for row in queue.notes("tick") if row[0] == "ends" and row[2] == second], "a job of the second"
    )
    rows = queue.notes("tick")
    require_apart(rows)
    numbers = {row[3]: {other[5] for other in rows if other[3] == row[3]} for row in rows}
    assert all(len(found) == 1 for found in numbers.values()), (
        "a job's code is of one release, from its begin to its end"
    )
    assert {row[2] for row in rows} == {first, second} and queue.is_one_set()
    (shown,) = queue.fab("timers", "--json").events
    assert shown["name"] == "tick" and shown["last"]["result"] == "success" and shown["last"]["release"] >= first
    queue.change(tables=TIMER.replace("*:*:*", "2100-01-01"))
    queue.fab("deploy")
    assert "tick: ok" in queue.fab("timers.run", "tick").out
    queue.change(tables=TIMER.replace("*:*:*", "2100-01-01").replace("python job.py 1.5", "echo broken; exit 3"))
    queue.fab("deploy")
    ran = queue.fab("timers.run", "tick", status=1)
    assert "broken" in ran.out and "tick failed: exit status 3" in ran.err
    assert "failed (exit status 3)" in queue.fab("timers").out


def queue_changed(queue: Queue) -> tuple[str, ...]:
    queue.change()
    return ("deploy",)


@pytest.mark.debian("bookworm")
def test_a_job_that_takes_too_long_is_stopped_and_one_at_work_keeps_its_release(queue: Queue):
    far = TIMER.replace("*:*:*", "2100-01-01")
    queue.change(procfile="", tables=f"{far}max_seconds = 1\n".replace("1.5", "1000"))
    queue.fab("deploy")
    assert "tick failed: it took longer than max_seconds" in queue.fab("timers.run", "tick", status=1).err
    queue.change(tables=far.replace("1.5", "1000"), app="keep_releases = 1")
    queue.write_config()
    queue.fab("deploy")
    old = queue.current
    queue.server.run("systemctl", "start", "--no-block", f"queue@{old}.tick.service")
    wait_for(lambda: [row for row in queue.notes("tick") if row[2] == old], "the job")
    for _ in range(3):
        queue.change(tables=far)
        queue.fab("deploy")
    assert old in queue.server.run("ls", "/srv/queue/releases").split(), "its job is at work"
    queue.server.run("systemctl", "stop", f"queue@{old}.tick.service")
    queue.change()
    queue.fab("deploy")
    assert old not in queue.server.run("ls", "/srv/queue/releases").split()


def test_a_schedule_that_the_server_does_not_understand_changes_nothing(queue: Queue):
    before, files = queue.current, queue.server.run("ls", "/srv/queue/releases")
    queue.change(tables=TIMER.replace("*:*:*", "every day"))
    said = queue.fab("deploy", status=1).err
    assert "the server does not understand timers.tick.schedule = 'every day'" in said and "nothing was changed" in said
    assert queue.current == before and queue.server.run("ls", "/srv/queue/releases") == files


STEPS = ("unit file", "processes:", "traffic: switched", "older instances", "processes of other", "timers:")


@pytest.mark.debian("bookworm")
def test_a_deploy_that_is_killed_leaves_one_set_or_the_other(queue: Queue):
    queue.change(tables=f"{SINGLE}\n{TIMER.replace('*:*:*', '2100-01-01')}")
    queue.fab("deploy")
    for step in STEPS:
        queue.change()
        before = queue.current
        process, halted = queue.halted(step, "deploy")
        assert halted, (step, process.said[-3:])
        kill(queue.server, process, halted)
        wait_for(lambda: queue.serves == queue.current, "no connection to the other release")
        wait_for(queue.is_one_set, f"one set, after a kill before {step!r}")
        queue.fab("deploy")
        assert queue.current > before and queue.serves == queue.current and queue.is_one_set()
    require_apart(queue.notes("clock"))


@pytest.mark.debian("bookworm")
def test_a_power_cut_in_the_middle_leaves_one_set_or_the_other(queue: Queue):
    queue.change(tables=f"{SINGLE}\n{TIMER.replace('*:*:*', '2100-01-01')}")
    queue.fab("deploy")
    for step in ("traffic: switched", "older instances"):
        queue.change()
        process, _ = queue.halted(step, "deploy")
        sandbox.cut_power(queue.machine.name)
        process.ended()
        sandbox.up(queue.machine.name, say=quiet)
        wait_for(queue.is_one_set, f"one set, after a power cut before {step!r}")
        wait_for(lambda: queue.serves == queue.current, "no connection to the other release")
        queue.fab("deploy")
        assert queue.is_one_set()


def test_the_processes_are_in_the_app_s_box(queue: Queue):
    queue.change(tables=TIMER.replace("*:*:*", "2100-01-01"))
    queue.fab("deploy")
    for unit in (f"queue@{queue.current}.worker.1.service", f"queue@{queue.current}.tick.service"):
        said = queue.server.run("systemd-analyze", "security", "--no-pager", unit).splitlines()[-1]
        assert float(said.split(":")[1].split()[0]) <= 1.5, said
        shown = queue.server.run("systemctl", "show", "-p", "User,MemoryMax,TasksMax,StateDirectory", unit)
        assert "User=queue" in shown and "StateDirectory=queue" in shown and "TasksMax=512" in shown
