"""The wheel: what is in it, and that it works as an installed tool like the clone that it was built from."""

import ast
import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import tomllib
from packaging.requirements import Requirement
from test_pins import required

from deploy.ci import kit
from deploy.config.paths import TEMPLATES
from deploy.config.reader import App, Stage
from deploy.connection.payload import payload
from deploy.plan.provision import UV_WHEELS, provisioning
from deploy.version import VERSION

ROOT = Path(__file__).resolve().parents[1]
FAB = Path(sys.executable).parent / "fab"
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
PLANS = """
import hashlib, json
from ashore.ci import kit
from ashore.config.reader import App, Stage
from ashore.connection.payload import payload
from ashore.plan.provision import provisioning
plan = provisioning(App("shop", "shop:app"), Stage("production", ("root@203.0.113.10",), domain="shop.example.com"))
print(json.dumps([kit.files(), repr(plan), payload(frozenset()).hex()]))
"""


def built(directory: Path) -> Path:
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1772366645"}
    subprocess.run(words, cwd=ROOT, env=environment, check=True, capture_output=True)
    (wheel,) = directory.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def metadata(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        return Parser().parsestr(archive.read(f"ashore-{VERSION}.dist-info/METADATA").decode())


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a virtualenv with the wheel in it, and this one's packages, so that none is fetched."""
    home = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(home)
    (packages,) = home.rglob("site-packages")
    python = home / SCRIPTS / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True)
    (packages / "these.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return home / SCRIPTS


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small Flask app, as a newcomer has it."""
    (tmp_path / "app.py").write_text("from flask import Flask\n\napp = Flask(__name__)\n")
    (tmp_path / "requirements.txt").write_text("flask\ngunicorn\n")
    return tmp_path


def run(directory: Path, *words: str | Path) -> subprocess.CompletedProcess:
    environment = {"HOME": str(directory), "PATH": os.environ["PATH"], "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        words, cwd=directory, env=environment, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8"
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran


def test_the_wheel_is_the_kit_its_templates_and_its_locks_and_nothing_else(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    code = {f"ashore/{path.relative_to(ROOT / 'deploy').as_posix()}" for path in (ROOT / "deploy").rglob("*.py")}
    templates = {f"ashore/templates/{path.relative_to(TEMPLATES).as_posix()}" for path in TEMPLATES.rglob("*.j2")}
    locks = {"ashore/requirements.lock", f"ashore/{UV_WHEELS.relative_to(ROOT / 'deploy').as_posix()}"}
    assert names == code | templates | locks
    assert wheel.name == f"ashore-{VERSION}-py3-none-any.whl"


def test_a_second_build_has_the_same_bytes(wheel: Path, tmp_path: Path):
    assert built(tmp_path).read_bytes() == wheel.read_bytes()


def test_all_imports_within_the_kit_are_relative():
    """So it works under any name: `deploy` in a clone and on a server, `ashore` as installed."""
    for path in (ROOT / "deploy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                named = [str(node.module)]
            assert not {name.split(".")[0] for name in named} & {"deploy", "ashore"}, f"{path}, line {node.lineno}"


def test_the_wheel_requires_what_requirements_txt_says(metadata):
    listed = {str(requirement) for requirement in required(ROOT / "requirements.txt")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert {str(Requirement(line)) for line in project["dependencies"]} == listed
    assert {str(Requirement(line)) for line in metadata.get_all("Requires-Dist")} == listed
    assert metadata["Version"] == VERSION and metadata["Requires-Python"] == ">=3.11"


def test_the_sample_app_s_packages_are_not_the_operator_s():
    locked = (ROOT / "requirements.lock").read_text("utf-8")
    assert "fabric==" in locked and "flask==" not in locked and "gunicorn==" not in locked


def test_the_installed_program_tells_its_version_and_its_commands(scripts: Path, tmp_path: Path):
    for words in ((scripts / "ashore",), (scripts / "python", "-m", "ashore")):
        assert run(tmp_path, *words, "--version").stdout == f"Ashore {VERSION}\n"
    listed = run(tmp_path, scripts / "ashore", "--list").stdout
    assert "ashore init" in listed and "\n  deploy " in listed and "fab " not in listed
    assert run(tmp_path, scripts / "ashore").stdout == listed


def test_what_stands_before_the_command_is_refused_in_four_lines(scripts: Path, tmp_path: Path):
    for words, what in (
        (("-t", "abc", "deploy"), "'abc' is not a whole number"),
        (("-H",), "the option -H needs a value"),
    ):
        ran = run(tmp_path, scripts / "ashore", *words)
        assert ran.returncode == 1 and ran.stderr.startswith(f"error: {what}\nwhere: ashore {words[0]}"), ran.stderr
    (tmp_path / ".fabric.yaml").write_text("a: [")
    ran = run(tmp_path, scripts / "ashore", "--list")
    assert ran.returncode == 1 and ran.stderr.startswith("error: a config file of Fabric cannot be read"), ran.stderr


def test_a_newcomer_is_shown_the_way_to_a_config(scripts: Path, project: Path):
    ran = run(project, scripts / "ashore", "deploy")
    assert ran.returncode == 1 and "there is no deploy.toml" in ran.stderr and "ashore init" in ran.stderr
    ran = run(project, scripts / "ashore", "init", "--name", "shop", "--host", "root@203.0.113.10")
    assert ran.returncode == 0 and "ashore provision deploy" in ran.stdout
    config = tomllib.loads((project / "deploy.toml").read_text("utf-8"))
    assert config["app"]["wsgi"] == "app:app" and config["stages"]["production"]["hosts"] == ["root@203.0.113.10"]


def test_a_fabfile_of_one_line_has_the_same_commands(scripts: Path, tmp_path: Path):
    (tmp_path / "fabfile.py").write_text("# Ashore's commands\nfrom ashore import ns\n")
    shown = run(tmp_path, scripts / "python", FAB, "--list").stdout
    assert "fab init" in shown and "\n  deploy " in shown


def test_the_installed_kit_plans_and_sends_what_the_clone_does(scripts: Path, tmp_path: Path):
    plan = provisioning(App("shop", "shop:app"), Stage("production", ("root@203.0.113.10",), domain="shop.example.com"))
    files, planned, sent = json.loads(run(tmp_path, scripts / "python", "-c", PLANS).stdout)
    assert dict(files) == dict(kit.files())
    assert planned == repr(plan)
    assert bytes.fromhex(sent) == payload(frozenset())
