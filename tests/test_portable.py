"""The operator's side on macOS and Windows, as far as it can be shown on Linux: nothing that Unix alone has, CRLF."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_modules import modules

from deploy.agent.wire import Secret
from deploy.cli.variables import parse

ROOT = Path(__file__).resolve().parents[1]
# What is started on a server only: the agent's conversation and its locks, the server's side of CI keys.
ON_SERVERS = {"agent.locks", "agent.look", "agent.loop", "agent.overrule", "ci.server"}
CONFIG = '[app]\nname = "shop"\nwsgi = "shop:app"\n\n[stages.production]\nhosts = ["me@127.0.0.1:1"]\n'
IMPORTS = """
import as_on_windows, importlib, json, sys
as_on_windows.become()
failed = {}
for name in json.loads(sys.argv[1]):
    try:
        importlib.import_module(f"deploy.{name}")
    except ImportError as error:
        failed[name] = str(error)
print(json.dumps(failed))
"""
PLANS = """
import sys
from pathlib import Path
if sys.argv[1] == "as on Windows":
    import as_on_windows
    as_on_windows.become()
from deploy.config.reader import load
from deploy.plan.decide import By, Brought, deploy
from deploy.plan.provision import provisioning
from deploy.source.tree import collect
from test_plans import FACTS, SITE
from test_same_plans import NOW
config = load(Path.cwd())
stage = config.stage("production")
print([entry for entry in collect(Path.cwd(), config.app.include).entries])
if sys.argv[1] == "as on Windows":
    import ntpath, os
    os.path = ntpath  # a path on the server is none of this machine
print(provisioning(config.app_on(stage), stage))
print(deploy(config.app, By("me@here", NOW, SITE), FACTS, Brought((), {}, ""), ""))
"""


def python(directory: Path, *words: str | Path, encoding: str = "utf-8") -> subprocess.CompletedProcess:
    environment = {
        "HOME": str(directory.parent),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
        "PYTHONIOENCODING": encoding,
        "COLUMNS": "200",
        "USERNAME": "me",  # what Windows sets
    }
    words = (sys.executable, "-X", "warn_default_encoding", *words)
    return subprocess.run(
        words, cwd=directory, env=environment, stdin=subprocess.DEVNULL, capture_output=True, encoding=encoding
    )


def ashore(directory: Path, *words: str, encoding: str = "utf-8") -> subprocess.CompletedProcess:
    """`ashore WORDS`, as on Windows."""
    ran = python(directory, ROOT / "tests" / "as_on_windows.py", *words, encoding=encoding)
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran


def crlf(path: Path) -> None:
    """Its line ends, as editors on Windows may write them."""
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    (directory / "shop").mkdir(parents=True)
    (directory / "shop" / "__init__.py").write_text("from flask import Flask\n\napp = Flask(__name__)\n")
    (directory / "requirements.txt").write_text("flask\ngunicorn\n")
    return directory


def test_what_runs_on_the_operator_s_machine_needs_nothing_that_only_unix_has(tmp_path: Path):
    ran = python(tmp_path, "-c", IMPORTS, json.dumps(sorted({*modules()} - {"__main__"})))
    assert json.loads(ran.stdout).keys() == ON_SERVERS, ran.stderr


def test_as_on_windows_the_commands_are_listed_and_a_config_is_written(project: Path):
    assert "\n  deploy " in ashore(project, "--list").stdout
    ran = ashore(project, "init", "--host", "me@127.0.0.1:1")
    assert ran.returncode == 0, ran.stderr
    crlf(project / "deploy.toml")
    ran = ashore(project, "explain", "wsgi")
    assert '"shop:app"' in ran.stdout and "error" not in ran.stdout
    ran = ashore(project, "releases")
    assert ran.returncode == 1 and "127.0.0.1 refuses connections on port 1" in ran.stderr


def test_as_on_windows_a_plan_is_the_same_from_files_with_crlf_too(project: Path):
    (project / "deploy.toml").write_text(CONFIG)
    assert ashore(project, "eject", "nginx/site.conf").returncode == 0
    here = python(project, "-c", PLANS, "as it is")
    for path in (project / "deploy.toml", *(project / "ashore").rglob("*.j2")):
        crlf(path)
    there = python(project, "-c", PLANS, "as on Windows")
    assert here.stdout.partition("\n")[2] == there.stdout.partition("\n")[2] != "", there.stderr
    assert "\\r" not in there.stdout
    names = re.findall(r"path='([^']*)'", there.stdout.partition("\n")[0])
    assert {"deploy.toml", "shop/__init__.py", "ashore/nginx/site.conf.j2"} <= {*names}


def test_a_copy_with_crlf_is_a_copy_without_changes(project: Path):
    (project / "deploy.toml").write_text(CONFIG)
    ashore(project, "eject", "nginx/site.conf")
    crlf(project / "ashore" / "nginx" / "site.conf.j2")
    assert "is there already; nothing was written" in ashore(project, "eject", "nginx/site.conf").stdout


def test_a_file_of_variables_with_crlf_has_none_in_its_values():
    found = parse(Secret('A=tide\r\nB="two\r\nlines"\r\n'), ".env")
    assert {name: secret.value for name, secret in found.items()} == {"A": "tide", "B": "two\nlines"}


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii"])
def test_a_character_that_the_output_s_code_page_has_not_is_escaped(project: Path, encoding: str):
    (project / "deploy.toml").write_text(CONFIG)
    ashore(project, "eject", "nginx/site.conf")
    ran = ashore(project, "eject", encoding=encoding)
    assert ran.returncode == 0 and "nginx/site.conf  \\u2192 ashore/nginx/site.conf.j2" in ran.stdout


def test_what_is_piped_in_is_utf_8_whatever_the_code_page(project: Path):
    """So the value on the server is the one in the file."""
    program = "from deploy.cli.variables import piped; print(ascii(piped().value))"
    words = [sys.executable, "-c", program]
    environment = {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "cp1252"}
    for given, seen in (("größe\n".encode(), r"'gr\xf6\xdfe\n'"), (b"\xff", "is not UTF-8 text")):
        ran = subprocess.run(words, env=environment, input=given, capture_output=True)
        assert seen in (ran.stdout or ran.stderr).decode()
