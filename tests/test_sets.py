"""Processes and timers without a server: the Procfile, deploy.toml, the units, and the plans of a set."""

import json
import re
from pathlib import Path

import pytest
from test_plans import ENTRIES, FACTS, NEW, OLD, SHOP, SITE

from deploy.agent import layout
from deploy.agent.dataclass import replace
from deploy.agent.resources.files import Absent, File, Link
from deploy.agent.resources.processes.running import OnlyProcessesOf, Running
from deploy.agent.resources.processes.timers import Schedules, TimersRunning
from deploy.agent.resources.processes.units import is_job, release_of
from deploy.agent.resources.serving.health import Healthy
from deploy.agent.resources.serving.retired import Retired
from deploy.agent.resources.serving.services import Service, UnitFile
from deploy.agent.resources.serving.traffic import Watched
from deploy.ci import inputs, limits
from deploy.config.commands import NO_PROCFILE, parsed
from deploy.config.processes import Process, Timer, target_of
from deploy.config.reader import App, load
from deploy.errors import ConfigError, HostError
from deploy.plan import scale
from deploy.plan.activate import activate
from deploy.plan.facts import Facts, Release
from deploy.plan.record import as_recorded, digest, recorded, settings
from deploy.screen.tables import failure, timer_rows
from deploy.stack.processes import unit_texts
from deploy.stack.processes.base import memory_share, quoted
from deploy.stack.runners import runner_of
from deploy.verbs.logs import instances

WORKER = Process("worker", "celery -A shop worker", count=2)
CLOCK = Process("clock", "celery -A shop beat", singleton=True, stop_seconds=5)
NIGHTLY = Timer("nightly", "flask cleanup", "03:00 Europe/Berlin")
QUEUE = replace(SHOP, processes=(CLOCK, WORKER), timers=(NIGHTLY,))
RELEASE = Release(NEW, SITE, {"digest": "e" * 16, "venv": "k" * 12, "python": "3.11.2", "app": recorded(QUEUE)})


def configured(tmp_path: Path, toml: str = "", procfile: str | None = None, app: str = 'wsgi = "shop:app"') -> App:
    (tmp_path / "deploy.toml").write_text(f'[app]\nname = "shop"\n{app}\n{toml}')
    if procfile is not None:
        (tmp_path / "Procfile").write_bytes(procfile.encode())
    return load(tmp_path).app


def test_a_procfile_says_what_runs_beside_the_web_server(tmp_path: Path):
    text = "# all of it\r\n\r\nweb: gunicorn other:app\r\nworker: rq worker # high\r\nrelease: flask db upgrade\r\n"
    app = configured(tmp_path, procfile=text)
    assert app.processes == (Process("worker", "rq worker # high"),) and app.release_command == "flask db upgrade"
    assert app.wsgi == "shop:app" and not app.web
    assert load(tmp_path).notes == ("Procfile: its web command is not used: deploy.toml has wsgi",)


def test_an_app_with_a_procfile_needs_no_more_than_a_name(tmp_path: Path):
    app = configured(tmp_path, procfile="web: gunicorn shop:app\nrelease: echo\n", app="")
    assert app.web == "gunicorn shop:app" and app.target == "shop:app" and runner_of(app).has_port
    assert [process.name for process in app.processes] == [], "a release command is no process"


def test_deploy_toml_comes_before_the_procfile_and_completes_it(tmp_path: Path):
    toml = "[processes.worker]\ncount = 3\n[processes.mail]\ncommand = 'python mail.py'\n"
    app = configured(tmp_path, f'release_command = "mine"\n{toml}', "worker: rq worker\nrelease: theirs\n")
    assert [(each.name, each.command, each.count) for each in app.processes] == [
        ("mail", "python mail.py", 1),
        ("worker", "rq worker", 3),
    ]
    assert app.release_command == "mine"
    assert load(tmp_path).notes == ("Procfile: its release command is not used: deploy.toml has a release_command",)


def test_names_of_a_procfile_are_corrected_with_a_word_and_the_last_of_two_counts():
    found = parsed("Mail_1: a\nmail-1: b\n  worker : c", "Procfile")
    assert dict(found.commands) == {"mail-1": "b", "worker": "c"}
    assert found.notes == (
        "Procfile: the process Mail_1 is called mail-1",
        "Procfile: mail-1 is there twice; its last line counts",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("worker rq worker", "line 1"),
        ("web: a\n1worker: a", "'1worker' cannot be the name of a process"),
        ("worker-: a", "'worker-' cannot be the name"),
        (f"{'w' * 40}: a", "cannot be the name of a process"),
        ("worker:", "the process worker has no command"),
        ("worker: a\0b", "has the character '\\x00'"),
        ("wörker: a", "cannot be the name of a process"),
        ("../x: a", "is not NAME: COMMAND"),
    ],
)
def test_a_procfile_that_cannot_be_read_is_an_error_with_its_line(text: str, said: str):
    with pytest.raises(ConfigError) as raised:
        parsed(text, "Procfile")
    assert said in f"{raised.value.what} {raised.value.where}" and "Procfile, line" in raised.value.where
    assert raised.value.state == "nothing was changed"


def test_a_project_without_a_procfile_is_as_it_was(tmp_path: Path):
    assert configured(tmp_path).processes == () and load(tmp_path).notes == NO_PROCFILE.notes


WORKER_TABLE = "[processes.worker]\ncommand = 'rq worker'\n"
TIMER_TABLE = "[timers.cleanup]\ncommand = 'flask cleanup'\nschedule = "


@pytest.mark.parametrize(
    ("toml", "app", "said"),
    [
        ("[processes.web]\ncommand = 'a'\n", 'wsgi = "shop:app"', "a release has one web process"),
        ("[processes.web]\ncommand = 'a'\ncount = 2\n", "", "use app.workers"),
        ("[processes.web]\n", "", "processes.web.command is missing"),
        ("[processes.web]\ncommand = 'a'\n", 'runner = "uvicorn"', "runs a server of its own"),
        ("", "", "app.wsgi or app.asgi is missing"),
        ("[processes.worker]\n", 'wsgi = "shop:app"', "processes.worker.command is missing"),
        (f"{WORKER_TABLE}singleton = true\ncount = 2\n", 'wsgi = "shop:app"', "a singleton runs once"),
        (f"{WORKER_TABLE}stop_signal = 'SIGKILL'\n", 'wsgi = "shop:app"', "should be SIGTERM, SIGINT"),
        (f"{WORKER_TABLE}cuont = 2\n", 'wsgi = "shop:app"', "did you mean count?"),
        (f"{WORKER_TABLE}count = 2\nmemory_percent = 40\n", 'wsgi = "shop:app"', "claim 80 % of the memory"),
        ("[processes.Worker]\ncommand = 'a'\n", 'wsgi = "shop:app"', "'Worker' cannot be a name in processes"),
        ("[processes.release]\ncommand = 'a'\n", 'wsgi = "shop:app"', "app.release_command"),
        ("processes = 3\n", 'wsgi = "shop:app"', "unknown key app.processes"),
        (f"{TIMER_TABLE}'0 3 * * *'\n", 'wsgi = "shop:app"', "write it as systemd does: 03:00"),
        (f"{TIMER_TABLE}'*/5 * * * *'\n", 'wsgi = "shop:app"', "is written as in cron"),
        (f"{TIMER_TABLE}''\n", 'wsgi = "shop:app"', "should be a time like 03:00 or hourly"),
        (
            f"{TIMER_TABLE}'03:00\\nUnit=x'\n".replace("'03", '"03').replace("x'", 'x"'),
            'wsgi = "shop:app"',
            "a time like",
        ),
        ("[timers.cleanup]\nschedule = 'hourly'\n", 'wsgi = "shop:app"', "timers.cleanup.command is missing"),
        (
            f"{TIMER_TABLE}'hourly'\n[processes.cleanup]\ncommand = 'a'\n",
            'wsgi = "shop:app"',
            "of a process and of a timer",
        ),
    ],
)
def test_what_cannot_be_is_an_error_before_anything_is_uploaded(tmp_path: Path, toml: str, app: str, said: str):
    with pytest.raises(ConfigError) as raised:
        configured(tmp_path, toml, app=app)
    assert said in f"{raised.value.what} {raised.value.hint}", raised.value.what


@pytest.mark.parametrize(
    ("command", "target"),
    [
        ("gunicorn shop:app --workers 3", "shop:app"),
        ("gunicorn -b 0.0.0.0:$PORT shop.wsgi --log-file -", "shop.wsgi"),
        ("gunicorn -k uvicorn.workers.UvicornWorker shop:make()", "shop:make()"),
        ("uvicorn --host 0.0.0.0 --port $PORT shop:app", "shop:app"),
        ("streamlit run app.py --server.port $PORT", ""),
        ("python -m shop", ""),
    ],
)
def test_the_app_that_a_web_command_serves_is_known_by_its_code(command: str, target: str):
    assert target_of(command) == target


def test_a_command_is_one_word_for_systemd_and_the_shell_gets_it_as_it_was():
    command = r"""python -c 'print("100 %")' "$PROCESS" \\ > /dev/null"""
    word = quoted(command)
    undone = word[1:-1].replace("$$", "$").replace("%%", "%")
    assert word[0] == word[-1] == '"' and re.sub(r"\\(.)", r"\1", undone) == command


def test_the_memory_of_a_release_is_shared_out_over_its_processes():
    assert memory_share(SHOP) == "75", "the web process has it all"
    assert memory_share(QUEUE) == "15", "it, a clock, two workers and a job"
    claimed = replace(QUEUE, processes=(replace(CLOCK, memory_percent=5), replace(WORKER, memory_percent=20)))
    assert memory_share(claimed) == "15" and memory_share(claimed, 20) == "20"
    texts = unit_texts(claimed, NEW)
    limits_set = [re.search(r"^MemoryMax=(.*)%$", text, re.M) for text in texts.values()]
    assert [found[1] for found in limits_set if found] == ["5", "20", "20", "15"]
    assert "MemoryMax=75%" in runner_of(SHOP).unit(SHOP, "x") and "MemoryMax=15%" in runner_of(QUEUE).unit(QUEUE, "x")


def test_units_are_named_after_the_release_the_process_and_its_number():
    assert [*unit_texts(QUEUE, NEW)] == [
        f"shop@{NEW}.clock.1.service",
        f"shop@{NEW}.worker.1.service",
        f"shop@{NEW}.worker.2.service",
        f"shop@{NEW}.nightly.service",
        f"shop@{NEW}.nightly.timer",
    ]
    assert release_of(f"shop@{NEW}.worker.1.service") == NEW and release_of(f"shop@{NEW}.service") == ""
    assert is_job(f"shop@{NEW}.nightly.service") and not is_job(f"shop@{NEW}.nightly.timer")
    assert not is_job(f"shop@{NEW}.worker.1.service") and not unit_texts(SHOP, NEW)


def test_a_release_without_processes_has_the_digest_that_it_had_and_one_with_them_another():
    assert digest(SHOP, SITE, ENTRIES, "k", 2) != digest(QUEUE, SITE, ENTRIES, "k", 2)
    more = replace(QUEUE, timers=(replace(NIGHTLY, schedule="04:00"),))
    assert digest(QUEUE, SITE, ENTRIES, "k", 2) != digest(more, SITE, ENTRIES, "k", 2)


def test_the_processes_of_a_release_are_recorded_and_come_back_with_it():
    record = json.loads(json.dumps({"app": recorded(QUEUE)}))
    assert as_recorded(SHOP, record) == QUEUE and as_recorded(QUEUE, {"app": recorded(SHOP)}) == SHOP
    board = replace(SHOP, wsgi="", web="python board.py $PORT")
    assert as_recorded(SHOP, {"app": recorded(board)}).web == board.web
    assert as_recorded(board, {"app": recorded(SHOP)}) == SHOP


def test_a_server_of_its_own_is_told_below_which_path_it_is():
    board = replace(SHOP, wsgi="", web="gunicorn shop:app", mount="/board")
    assert settings(board, 2)["SCRIPT_NAME"] == "/board" and settings(board, 2)["FLASK_APP"] == "shop:app"
    assert "SCRIPT_NAME" not in settings(replace(board, mount=""), 2)


def at(steps: tuple, kind: type) -> int:
    return next(number for number, step in enumerate(steps) if isinstance(step, kind))


def with_old(app: App, **more: object) -> Facts:
    records = {**FACTS.records, OLD: {**FACTS.records[OLD], "app": recorded(app)}}
    return replace(FACTS, records=records, **more)


def test_processes_start_after_the_gate_and_before_the_switch_and_the_old_ones_stop_after_it():
    plan = activate("deploy", QUEUE, RELEASE, with_old(QUEUE), (File("/x", ""),))
    steps, switched = (
        plan.steps,
        plan.steps.index(Link("/srv/shop/current", f"releases/{NEW}", f"traffic: switched to {NEW}")),
    )
    assert at(steps, Schedules) < at(steps, UnitFile) < at(steps, Service) < at(steps, Healthy) < at(steps, Running)
    assert at(steps, Running) < switched < at(steps, Watched)
    running, watched = steps[at(steps, Running)], steps[at(steps, Watched)]
    assert running.processes == tuple(f"shop@{NEW}.{name}.service" for name in ("clock.1", "worker.1", "worker.2"))
    assert running.others == ((f"shop@{OLD}.clock.1.service", 5),), "a singleton's place must be free"
    assert running.timers == (f"shop@{NEW}.nightly.timer",)
    assert watched.beside[0].processes == running.processes
    assert at(plan.finish, Retired) < at(plan.finish, OnlyProcessesOf) < at(plan.finish, TimersRunning)


def test_what_fails_brings_the_old_set_back_and_leaves_no_unit():
    plan = activate("deploy", QUEUE, RELEASE, with_old(QUEUE), (File("/x", ""),))
    stopped, back = plan.undo[at(plan.undo, OnlyProcessesOf)], plan.undo[at(plan.undo, Running)]
    assert stopped.release == OLD and stopped.waits == (("clock", 5),)
    assert plan.undo.index(stopped) < plan.undo.index(back) and back.release == OLD
    gone = {step.path for step in plan.undo if isinstance(step, Absent)}
    assert {f"{layout.UNITS}/{name}" for name in unit_texts(QUEUE, NEW)} <= gone


def test_the_last_process_to_be_removed_is_stopped_and_an_app_that_never_had_one_has_no_step_for_it():
    plan = activate("deploy", SHOP, RELEASE, with_old(QUEUE), (File("/x", ""),))
    assert any(isinstance(step, OnlyProcessesOf) for step in plan.finish)
    assert plan.steps[at(plan.steps, Running)].processes == ()
    plain = activate("deploy", SHOP, RELEASE, FACTS, (File("/x", ""),))
    kinds = {type(step) for step in (*plain.steps, *plain.undo, *plain.finish)}
    assert not kinds & {Running, OnlyProcessesOf, TimersRunning, Schedules}


def test_scale_is_kept_apart_from_releases_and_holds_for_each():
    plan = activate("deploy", QUEUE, RELEASE, with_old(QUEUE, scale={"worker": 3}), (File("/x", ""),))
    assert len(plan.steps[at(plan.steps, Running)].processes) == 4
    assert digest(QUEUE, SITE, ENTRIES, "k", 2) == digest(QUEUE, SITE, ENTRIES, "k", 2)


@pytest.mark.parametrize("written", ["worker", "worker=x", "worker=-1", "=3", "worker=101"])
def test_a_count_that_is_none_is_refused(written: str):
    with pytest.raises(ConfigError, match="is not NAME=COUNT"):
        scale.wanted(written)


def test_scaling_stops_what_is_too_much_and_starts_what_lacks():
    facts = with_old(QUEUE)
    assert scale.wanted("worker=3, clock=") == {"worker": 3, "clock": None}
    after = scale.scaled(SHOP, facts, {"worker": 1}, "web1")
    plan = scale.scaling(SHOP, facts, after, False)
    surplus = f"shop@{OLD}.worker.2.service"
    assert plan.steps[at(plan.steps, OnlyProcessesOf)].beyond == (surplus,)
    assert plan.steps[-1] == Absent(f"{layout.UNITS}/{surplus}")
    with pytest.raises(HostError, match="has no process mail"):
        scale.scaled(SHOP, facts, {"mail": 1}, "web1")
    with pytest.raises(HostError, match="is a singleton"):
        scale.scaled(SHOP, facts, {"clock": 2}, "web1")
    assert "together, the processes may use" in scale.memory_note(SHOP, facts, {"worker": 9})
    assert scale.memory_note(SHOP, facts, {"worker": 3}) == ""


def test_a_ci_key_sends_processes_and_may_not_have_more_of_them_than_an_operator_deployed():
    board = replace(SHOP, wsgi="", web="python board.py", processes=(WORKER,), timers=(NIGHTLY,))
    for app in (QUEUE, board, SHOP):
        assert inputs.app_of(json.loads(json.dumps(inputs.as_table(app))), "shop") == app
    allowed = limits.read(limits.recorded(QUEUE, SITE))
    assert limits.beyond(QUEUE, allowed) == []
    more = replace(QUEUE, processes=(CLOCK, replace(WORKER, count=3)))
    assert limits.beyond(more, allowed) == ["processes = 5 (allowed: 4)"]


def test_lines_of_one_process_one_release_or_the_web_server_only():
    assert instances("", "") == ["*"] and instances(NEW, "") == [NEW, f"{NEW}.*"]
    assert instances("", "web") == ["????????-??????"]
    assert instances(NEW, "worker") == [f"{NEW}.worker", f"{NEW}.worker.*"]


@pytest.mark.parametrize(
    ("result", "status", "said"),
    [
        ("exit-code", "3", "exit status 3"),
        ("exit-code", "124", "it took longer than max_seconds"),
        ("signal", "KILL", "killed by KILL"),
        ("oom-kill", "9", "out of memory"),
    ],
)
def test_how_a_job_failed_is_said_in_words(result: str, status: str, said: str):
    last = {"release": NEW, "began": 1, "ended": 3, "result": result, "status": status}
    assert failure(last) == said
    (row,) = timer_rows(
        [{"name": "x", "schedule": "hourly", "active": True, "running": False, "next": 5.0, "last": last}]
    )
    assert row["OUTCOME"] == f"failed ({said}), took 2 s" and row["style"] == "red"
