"""Runners: which one an app gets, what it is started with, and what it tells the app of its visitors."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_plans import FACTS, NEW, OLD, OLDER, SHOP, SITE
from test_plans import record as good

from deploy.agent.constants import RUNNERS
from deploy.agent.dataclass import replace
from deploy.agent.resources.serving import background
from deploy.agent.resources.serving.retired import Retired
from deploy.agent.resources.serving.services import Service
from deploy.agent.resources.serving.traffic import Watched
from deploy.agent.system import System
from deploy.ci import inputs, limits
from deploy.config.reader import App, load
from deploy.errors import ConfigError
from deploy.plan import decide, record
from deploy.plan.activate import activate
from deploy.plan.facts import Release
from deploy.screen import noticed, tables
from deploy.source.requirements import added
from deploy.stack.render import render
from deploy.stack.runners import runner_of

BY_ASGI = replace(SHOP, wsgi="", asgi="shop:app")


def loaded(directory: Path, lines: str) -> App:
    (directory / "deploy.toml").write_text(
        f'[app]\nname = "shop"\n{lines}\n[stages.production]\nhosts = ["root@web1"]\n'
    )
    return load(directory).app


@pytest.mark.parametrize(
    ("lines", "title", "is_asgi"),
    [
        ('wsgi = "shop:app"', "Gunicorn", False),
        ('asgi = "shop:app"', "Uvicorn", True),
        ('asgi = "shop:make()"', "Uvicorn", True),
        ('asgi = "shop:app"\nrunner = "hypercorn"', "Hypercorn", True),
        ('asgi = "shop:app"\nrunner = "gunicorn"', "Gunicorn", True),
        ('asgi = "shop:app"\nworker_class = "uvicorn"', "Gunicorn", True),
        ('asgi = "shop:app"\nrunner = "granian"', "Granian", True),
        ('wsgi = "shop:app"\nrunner = "granian"', "Granian", False),
        ('wsgi = "shop:app"\nrunner = "waitress"', "Waitress", False),
        # What they can only mean.
        ('wsgi = "shop:app"\nrunner = "uvicorn"', "Uvicorn", True),
        ('wsgi = "shop:app"\nworker_class = "uvicorn"', "Gunicorn", True),
        ('wsgi = ""\nasgi = "shop:app"', "Uvicorn", True),
    ],
)
def test_the_runner_follows_from_the_app_s_interface_unless_it_is_named(
    tmp_path: Path, lines: str, title: str, is_asgi: bool
):
    app = loaded(tmp_path, lines)
    assert (runner_of(app).title, app.is_asgi) == (title, is_asgi)
    assert inputs.app_of(json.loads(json.dumps(inputs.as_table(app))), "shop") == app  # as a CI key sends it


@pytest.mark.parametrize(
    ("lines", "what", "hint", "line"),
    [
        ("", "app.wsgi or app.asgi is missing", 'asgi = "shop:app" for ASGI', 1),
        ('wsgi = ""', "app.wsgi or app.asgi is missing", "", 1),
        ('wsgi = "a:b"\nasgi = "a:b"', "app.wsgi and app.asgi are both set", "keep one", 4),
        ('asgi = "shop"', 'app.asgi should be "module:callable"', "", 3),
        ('asgi = "a:b"\nrunner = "Uvicorm"', "should be gunicorn, uvicorn, hyper", "", 4),
        ('asgi = "a:b"\nrunner = "uvicor"', "did you mean uvicorn?", "", 4),
        ('asgi = "a:b"\nrunner = 1', "app.runner should be a string", "", 4),
        ('asgi = "a:b"\nrunner = "waitress"', "cannot run app.asgi: it runs WSGI apps only", "uvicorn, hypercorn", 4),
        ('asgi = "a:b"\nworker_class = "sync"\nrunner = "gunicorn"', '"sync" cannot run app.asgi', '"uvicorn"', 4),
        ('asgi = "a:b"\nworker_class = "sync"', 'only for runner = "gunicorn", but the app is run by uvicorn', "", 4),
        ('wsgi = "a:b"\nrunner = "waitress"\nworker_class = "gevent"', "app.worker_class is only for runner", "", 5),
        ('wsgi = "a:b"\nworker_class = "tornado"', "should be gthread, sync, gevent, eventlet or uvicorn", "", 4),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_an_error_with_its_line(
    tmp_path: Path, lines: str, what: str, hint: str, line: int
):
    with pytest.raises(ConfigError) as raised:
        loaded(tmp_path, lines)
    assert what in raised.value.what and hint in raised.value.hint
    assert raised.value.where.endswith(f"deploy.toml, line {line}")


@pytest.mark.parametrize(
    ("app", "requirements", "adds"),
    [
        (BY_ASGI, "fastapi\n", ["uvicorn>=0.22", "websockets", "httptools", "uvloop"]),
        (BY_ASGI, "fastapi\nuvicorn[standard]==0.30\n", []),
        (replace(BY_ASGI, worker_class="uvicorn"), "fastapi\ngunicorn\n", ["uvicorn-worker>=0.2", "websockets"]),
        (replace(BY_ASGI, worker_class="uvicorn"), "uvicorn-worker\n", []),
        (replace(BY_ASGI, runner="hypercorn"), "quart\n", ["hypercorn>=0.16"]),
        (replace(BY_ASGI, runner="granian"), "granian==2.7.1\n", []),
        (replace(SHOP, runner="waitress"), "flask\ngunicorn\n", ["waitress>=2.1"]),
        (SHOP, "flask\n", ["gunicorn>=25.1"]),
    ],
)
def test_what_runs_an_app_is_added_to_its_packages_unless_it_names_that(app: App, requirements: str, adds: list[str]):
    assert added({"requirements.txt": requirements}, runner_of(app).package_for(app)).split() == adds


def test_a_virtualenv_is_judged_by_the_program_that_is_started(tmp_path: Path):
    (tmp_path / "bin").mkdir()
    for app, program in (
        (replace(SHOP, runner="waitress"), "waitress-serve"),
        (replace(BY_ASGI, worker_class="uvicorn"), "gunicorn"),
        (BY_ASGI, "uvicorn"),
    ):
        (tmp_path / "bin" / program).touch()
        runner_of(app).package_for(app).require(str(tmp_path), "requirements.txt")


def test_an_asgi_app_s_environment_names_it_for_asgi():
    made = record.settings(replace(BY_ASGI, workers=3), 2)
    assert made == {
        "DATA_DIR": "/var/lib/shop",
        "ASGI_APP": "shop:app",
        "QUART_APP": "shop:app",
        "WEB_CONCURRENCY": "3",
    }


@pytest.mark.parametrize(
    ("app", "told"),
    [
        (BY_ASGI, "2 workers"),
        (replace(BY_ASGI, workers=1), "1 worker"),
        (replace(BY_ASGI, worker_class="uvicorn"), "2 workers, uvicorn"),
        (replace(SHOP, runner="granian", threads=4), "2 workers × 4 threads"),
        (replace(SHOP, runner="waitress"), "1 process × 8 threads"),
    ],
)
def test_how_many_requests_a_release_takes_is_told_of_each(app: App, told: str):
    assert runner_of(app).processes(app, 2) == told


@pytest.mark.parametrize(
    ("app", "alone"),
    [
        (SHOP, False),
        (replace(SHOP, workers=1), False),
        (BY_ASGI, False),
        (replace(BY_ASGI, workers=1), True),
        (replace(BY_ASGI, workers=1, runner="hypercorn"), False),
        (replace(SHOP, runner="waitress"), True),
    ],
)
def test_processes_that_an_app_starts_do_not_count_as_restarted_workers(app: App, alone: bool):
    plan = activate("deploy", app, Release(NEW, SITE, {}), FACTS)
    (watched,) = [step for step in plan.steps if isinstance(step, Watched)]
    assert watched.alone is alone


def module(directory: Path, app: App, code: str) -> subprocess.CompletedProcess[str]:
    """Run code beside the module that a runner serves, in the source's directory."""
    (directory / "release" / "source").mkdir(parents=True)
    ((name, text),) = runner_of(app).files(app, 2).items()
    (directory / "release" / name).write_text(text)
    (directory / "release" / "source" / "shop.py").write_text(APPS)
    argv = [sys.executable, "-c", f"import ashore_served, asyncio\napp = ashore_served.app\n{code}"]
    environment = {"PYTHONPATH": str(directory / "release"), "PATH": os.environ["PATH"]}
    return subprocess.run(
        argv, cwd=directory / "release" / "source", env=environment, capture_output=True, text=True, check=False
    )


APPS = """
async def app(scope, receive, send):
    await send([scope["type"], scope.get("scheme"), scope.get("client")])

def wsgi(environ, start_response):
    return [environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]]

def make():
    return app

def breaks():
    raise RuntimeError("no database")
"""
ASK = """
async def send(said): print(said)
headers = [(b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https")]
for scope in ({"type": "http", "scheme": "http", "headers": headers},
              {"type": "websocket", "scheme": "ws", "headers": headers},
              {"type": "http", "scheme": "http", "headers": [], "client": ["", 0]}, {"type": "lifespan"}):
    asyncio.run(app(scope, None, send))
"""
ASKED = [
    "['http', 'https', ('203.0.113.9', 0)]",
    "['websocket', 'wss', ('203.0.113.9', 0)]",
    "['http', 'http', None]",
    "['lifespan', None, None]",
]


@pytest.mark.parametrize("served", ["shop:app", "shop:make()"])
@pytest.mark.parametrize("runner", ["hypercorn", "granian"])
def test_a_runner_that_does_not_read_the_proxy_s_headers_has_the_app_told(tmp_path: Path, runner: str, served: str):
    ran = module(tmp_path, replace(BY_ASGI, runner=runner, asgi=served), ASK)
    assert ran.stdout.splitlines() == ASKED, ran.stderr


def test_a_wsgi_app_is_told_too(tmp_path: Path):
    asked = "environ = {'wsgi.url_scheme': 'http', 'REMOTE_ADDR': '', 'HTTP_X_FORWARDED_FOR': '203.0.113.9'}\n"
    asked += "print(app(environ, None), app(environ | {'HTTP_X_FORWARDED_PROTO': 'https'}, None))"
    ran = module(tmp_path, replace(SHOP, wsgi="shop:wsgi", runner="granian"), asked)
    assert ran.stdout.strip() == "['203.0.113.9', 'http'] ['203.0.113.9', 'https']", ran.stderr


@pytest.mark.parametrize("served", ["shop:breaks()", "shop:missing", "missing:app"])
def test_an_app_that_cannot_be_imported_ends_its_runner_for_good(tmp_path: Path, served: str):
    ran = module(tmp_path, replace(BY_ASGI, asgi=served), "print('never')")
    assert ran.returncode == 3 and "Traceback" in ran.stderr and ran.stdout == ""


def test_a_release_goes_back_to_its_own_runner():
    old = {**good("good"), "app": json.loads(json.dumps(record.recorded(SHOP)))}
    new = {**good("good"), "app": json.loads(json.dumps(record.recorded(replace(BY_ASGI, runner="hypercorn"))))}
    facts = replace(FACTS, records={OLDER: old, OLD: new})
    back = decide.rollback(BY_ASGI, decide.By("me", decide.datetime.now(), SITE), facts, "", {}, "web1")
    assert (back.app.wsgi, back.app.asgi, runner_of(back.app).title) == ("shop:app", "", "Gunicorn")
    forth = record.as_recorded(SHOP, new)
    assert (forth.wsgi, forth.asgi, runner_of(forth).title) == ("", "shop:app", "Hypercorn")
    assert "runner" not in old["app"] and "asgi" not in old["app"]  # as earlier versions have recorded it


def test_another_runner_is_another_release_of_the_same_code():
    digests = {record.digest(replace(BY_ASGI, runner=name), SITE, (), "key", 2) for name in ("uvicorn", "hypercorn")}
    assert len(digests) == 2
    assert record.digest(BY_ASGI, SITE, (), "key", 2) in digests  # uvicorn


@pytest.mark.parametrize(
    ("old", "now", "seconds"),
    [
        (SHOP, replace(SHOP, stream_drain_seconds=7), 7),
        (replace(SHOP, runner="waitress", timeout_seconds=40), replace(SHOP, stream_drain_seconds=7), 40),
        (SHOP, replace(SHOP, runner="waitress", timeout_seconds=40, stream_drain_seconds=0), 0),
    ],
)
def test_a_runner_that_cuts_requests_at_its_stop_is_given_the_time_of_one(old: App, now: App, seconds: int):
    facts = replace(FACTS, records={OLD: {**good("good"), "app": record.recorded(old)}})
    plan = activate("deploy", now, Release(NEW, SITE, {}), facts)
    (retired,) = [step for step in plan.finish if isinstance(step, Retired)]
    assert retired.stream_seconds == seconds
    assert all(step.stream_seconds is None for step in plan.undo if isinstance(step, Retired))


def test_a_release_that_is_to_run_must_not_be_stopped_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(background, "TRANSIENT", str(tmp_path))
    unit = f"shop@{OLD}.service"
    assert "stop" not in [drift.what for drift in Service(unit).check(System(()))]
    (tmp_path / f"ashore-retire-shop-{OLD}.service").touch()
    (tmp_path / f"ashore-retire-shop-two-{NEW}.service").touch()
    (tmp_path / "ashore-retire-shop-x.service").touch()
    assert "stop" in [drift.what for drift in Service(unit).check(System(()))]
    assert "stop" not in [drift.what for drift in Service(unit, active=False).check(System(()))]
    assert background.retiring_releases("shop") == [OLD] and background.retiring_releases("shop-two") == [NEW]


def test_releases_that_still_run_are_shown():
    made = {"by": "me", "at": "2026-03-01T12:04:05", "verb": "rollback", "state": "good", "size_bytes": 1}
    found = {"history": [], "current": NEW, "records": {OLD: made | {"retiring": True}, NEW: made}}
    new, old = tables.release_rows(found)
    assert old["NOTE"] == "still runs: visitors are connected to it; rollback" and "still" not in new["NOTE"]
    (said,) = noticed.of_releases({"event": "noticed", "retiring": [OLD]})
    assert said.startswith(f"{OLD} still runs") and noticed.of_releases({}) == []


def test_a_ci_key_cannot_keep_old_releases_running_for_longer():
    allowed = limits.read(limits.recorded(SHOP, SITE))
    assert limits.beyond(replace(SHOP, stream_drain_seconds=31), allowed) == ["stream_drain_seconds = 31 (allowed: 30)"]


# The server's script, with its paths in a directory of the test's, and programs that stand in for systemd's.

FAKE_SS = """#!/bin/sh
cat "$WHERE/connections"
echo asked >>"$WHERE/asked"
[ "$(wc -l <"$WHERE/asked")" -lt 3 ] || : >"$WHERE/connections"
"""
USED = "u_str ESTAB 0 0 {}/run/shop/{}/own/http.sock 101 * 102\n"


@pytest.fixture
def script(tmp_path: Path) -> Any:
    text = (
        render("systemd/room.sh.j2").replace("/run/$app", f"{tmp_path}/run/$app").replace("/srv/", f"{tmp_path}/srv/")
    )
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, content in {
        "ss": FAKE_SS,
        "systemctl": '#!/bin/sh\necho "$@" >>"$WHERE/systemctl"\n',
        "sleep": "#!/bin/sh\nexec /bin/sleep 0.01\n",
    }.items():
        (programs / name).write_text(content)
        (programs / name).chmod(0o755)
    (tmp_path / "script").write_text(text)
    (tmp_path / "srv" / "shop").mkdir(parents=True)
    (tmp_path / "connections").touch()

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = {"PATH": f"{programs}:{os.environ['PATH']}", "WHERE": str(tmp_path)}
        argv = ["sh", str(tmp_path / "script"), *words]
        return subprocess.run(argv, env=path | environment, capture_output=True, text=True, timeout=30, check=False)

    return run


def stopped(directory: Path) -> list[str]:
    return (directory / "systemctl").read_text().splitlines() if (directory / "systemctl").exists() else []


STOPPED = [f"stop shop@{OLD}.service", f"reset-failed shop@{OLD}.service"]


def test_a_release_is_stopped_as_soon_as_nobody_is_connected(tmp_path: Path, script: Any):
    (tmp_path / "srv" / "shop" / "current").symlink_to(f"releases/{NEW}")
    (tmp_path / "connections").write_text(USED.format(tmp_path, OLD) + USED.format(tmp_path, NEW))
    assert script("retire", "shop", OLD, "3600").returncode == 0
    assert stopped(tmp_path) == STOPPED and len((tmp_path / "asked").read_text().splitlines()) == 4


def test_a_release_is_stopped_at_the_end_of_its_time_whoever_is_connected(tmp_path: Path, script: Any):
    (tmp_path / "connections").write_text(USED.format(tmp_path, OLD))
    assert script("retire", "shop", OLD, "0", "env", "A=b").returncode == 0
    assert stopped(tmp_path) == STOPPED and not (tmp_path / "asked").exists()


def test_the_current_release_is_never_stopped_in_the_background(tmp_path: Path, script: Any):
    (tmp_path / "srv" / "shop" / "current").symlink_to(f"releases/{OLD}")
    assert script("retire", "shop", OLD, "0").returncode == 0
    assert stopped(tmp_path) == []


# By a relative name: that of a test's directory may be too long for a socket.
SERVES = (
    "import os, socket, sys, time\nos.chdir(sys.argv[1])\ntime.sleep(0.2)\n"
    "socket.socket(socket.AF_UNIX).bind('http.sock')\ntime.sleep(60)"
)


def test_the_proxy_is_offered_a_socket_that_a_runner_makes_late(tmp_path: Path, script: Any):
    own = tmp_path / "run" / "shop" / OLD / "own"
    own.mkdir(parents=True)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    made = (tmp_path / "script").read_text().replace('!= "$app" ]', f'!= "{user}" ]')
    (tmp_path / "script").write_text(made)
    with subprocess.Popen([sys.executable, "-c", SERVES, str(own)]) as serving:
        ran = script("offer", "shop", OLD, MAINPID=str(serving.pid))
        serving.kill()
    assert ran.returncode == 0, ran.stderr
    assert (own.parent / "http.sock").is_socket()


def test_a_runner_that_ends_before_it_has_a_socket_is_not_waited_for(tmp_path: Path, script: Any):
    (tmp_path / "run" / "shop" / OLD / "own").mkdir(parents=True)
    with subprocess.Popen(["true"]) as ended:
        pass
    ran = script("offer", "shop", OLD, MAINPID=str(ended.pid))
    assert ran.returncode == 1 and f"shop@{OLD} ended before it had a socket" in ran.stderr


def test_every_runner_serves_the_interfaces_that_deploy_toml_gives_it():
    for name, kinds in RUNNERS.items():
        for kind in kinds:
            app = App("shop", **{kind: "shop:app", "runner": name})
            unit = record.unit_text(app)
            assert f"/venv/bin/{runner_of(app).package_for(app).executable} " in unit and app.is_asgi == (
                kind == "asgi"
            )
            assert "/run/shop/%i/own/http.sock" in unit
