"""Gunicorn's settings for a release: the kit's, and the app's own where the kit has no say."""

import subprocess
import sys
from pathlib import Path

import pytest
from test_plans import SHOP

from deploy.agent.dataclass import replace
from deploy.config.schema import App
from deploy.stack.runners.gunicorn import RUNNER

OWN = """
workers, timeout = 3, 20
graceful_timeout = 500
bind = "0.0.0.0:9"
accesslog = "/nowhere/access.log"
daemon = reuse_port = True
worker_class = "sync"
proc_name = __file__

def when_ready(server):
    pass
"""


def settings(path: Path, app: App, own: str = "") -> dict[str, str]:
    """What Gunicorn makes of the settings in this directory, as it prints it."""
    source = path / "source"
    source.mkdir()
    (source / "shop.py").write_text("app = print\n")
    if own:
        (source / "gunicorn.conf.py").write_text(own)
    ((name, text),) = RUNNER.files(app, 2).items()
    (path / name).write_text(text)
    argv = [sys.executable, "-m", "gunicorn", "--print-config", "--config", path / name, "--bind", "unix:x", "shop:app"]
    ran = subprocess.run(argv, cwd=source, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    pairs = (line.partition("=") for line in ran.stdout.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def test_the_app_s_own_settings_count_where_the_kit_has_no_say(tmp_path: Path):
    found = settings(tmp_path, SHOP, OWN)
    assert (found["workers"], found["threads"], found["timeout"], found["worker_class"]) == ("3", "1", "20", "sync")
    assert found["proc_name"] == f"{tmp_path}/source/gunicorn.conf.py" and "when_ready" in found["when_ready"]
    assert found["bind"] == "['unix:x']" and found["accesslog"] == "-" and found["graceful_timeout"] == "30"
    assert found["daemon"] == found["reuse_port"] == "False" and found["forwarded_allow_ips"] == "['*']"


def test_what_deploy_toml_sets_counts_more(tmp_path: Path):
    found = settings(tmp_path, replace(SHOP, workers=1, timeout_seconds=60), OWN)
    assert (found["workers"], found["timeout"], found["graceful_timeout"]) == ("1", "60", "60")


def test_an_app_without_settings_of_its_own_gets_the_kit_s(tmp_path: Path):
    found = settings(tmp_path, SHOP)
    assert (found["workers"], found["threads"], found["worker_class"]) == ("2", "8", "gthread")
    assert found["control_socket_disable"] == "True" and found["worker_tmp_dir"] == "/dev/shm"


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("workers = 3\naccesslog = '-'\nerrorlog = None\n", []),
        ("bind = x\ndaemon = True\nworkers = 2\n", ["gunicorn.conf.py sets bind, daemon: Ashore sets that itself"]),
        ("accesslog = 'a.log'\n", ["gunicorn.conf.py sets accesslog: Ashore sets that itself"]),
        ("timeout = 30\n", []),
        ("timeout = 120\n", ["sets timeout = 120, but the proxy waits 30 s for an answer: set timeout_seconds = 120"]),
        ("if = 3", []),
    ],
)
def test_what_the_kit_overrules_is_told_before_the_upload(text: str, notes: list[str]):
    found = RUNNER.notes_on(text, SHOP)
    assert len(found) == len(notes) and all(note in told for note, told in zip(notes, found, strict=True))
