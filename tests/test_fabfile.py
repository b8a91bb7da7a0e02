"""`fab`, as typed, where no server is needed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FAB = Path(sys.executable).parent / "fab"
GOOD = '[app]\nname = "shop"\nwsgi = "shop:app"\n[stages.production]\nhosts = ["me@127.0.0.1:1"]\n'


def fab(directory: Path, *words: str) -> subprocess.CompletedProcess:
    environment = {"HOME": str(directory), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "COLUMNS": "200"}
    ran = subprocess.run(
        [FAB, "-r", ROOT, *words],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in ran.stderr
    return ran


def test_list_names_every_command_with_what_it_is_for(tmp_path: Path):
    (tmp_path / "deploy.toml").write_text(GOOD)
    text = fab(tmp_path, "--list").stdout
    assert text.startswith("Ashore takes a Python web app from localhost to a live server.")
    assert json.loads(fab(tmp_path, "--list", "--list-format=json").stdout)
    for name in ("provision", "deploy", "logs", "production", "sandbox.up (sandbox)", "sandbox.down", "sandbox.list"):
        assert re.search(rf"^  {re.escape(name)} +\w.{{20,}}", text, re.M), f"{name}\n{text}"


@pytest.mark.parametrize("verb", ["provision", "deploy", "logs"])
def test_without_a_config_each_verb_says_so_and_fails(tmp_path: Path, verb: str):
    ran = fab(tmp_path, verb)
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: there is no deploy.toml here") and "hint:" in ran.stderr


def test_a_broken_config_is_told_with_its_line_even_when_a_stage_is_named(tmp_path: Path):
    (tmp_path / "deploy.toml").write_text(GOOD + "[stages.staging]\nhosts = [\n")
    ran = fab(tmp_path, "staging", "deploy")
    assert ran.returncode == 1 and "deploy.toml is not TOML" in ran.stderr and "line" in ran.stderr
    assert fab(tmp_path, "--list").returncode == 0


def test_no_requirements_file_is_told_with_what_to_do(tmp_path: Path):
    (tmp_path / "deploy.toml").write_text(GOOD)
    (tmp_path / "shop.py").write_text("app = 1\n")
    ran = fab(tmp_path, "deploy")
    assert "requirements.txt" in ran.stderr and "pip freeze" in ran.stderr and "nothing was changed" in ran.stderr


def test_an_error_with_json_is_one_event(tmp_path: Path):
    ran = fab(tmp_path, "deploy", "--json")
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["event"] == "error"


def test_a_command_s_options_are_explained(tmp_path: Path):
    text = fab(tmp_path, "--help", "logs").stdout
    for option in ("-f, --follow", "-n", "--since", "--release", "--nginx", "--json"):
        assert option in text
