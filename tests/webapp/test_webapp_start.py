"""Starting: what the environment must hold, on localhost and in production."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from serving import ANSWER_SECONDS, ROOT, started

from webapp import create_app


def test_production_without_a_secret_key_refuses_to_start(production: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("", None):
        monkeypatch.setenv("SECRET_KEY", key) if key is not None else monkeypatch.delenv("SECRET_KEY")
        with pytest.raises(RuntimeError, match="SECRET_KEY is not set"):
            create_app()


def test_gunicorn_without_a_secret_key_ends_and_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--bind", f"unix:{tmp_path}/http.sock"]
    ended = subprocess.run(
        [*command, "webapp:create_app()"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=ANSWER_SECONDS,
    )
    assert ended.returncode != 0
    assert "RuntimeError: SECRET_KEY is not set" in ended.stderr


def test_with_debug_on_a_key_is_made_up(production: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET_KEY")
    monkeypatch.setenv("FLASK_DEBUG", "1")
    assert len(create_app().config["SECRET_KEY"]) == 64


def test_without_a_release_id_it_is_development(production: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELEASE_ID")
    assert create_app().test_client().get("/healthz").json == {"status": "ok", "release": "development"}


def test_the_tutorial_command_works_on_localhost(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path)}
    command = ["flask", "--app", "webapp", "run", "--debug", "--no-reload", "--port", "0"]
    with started(command, environment, r"Running on (http://\S+)") as (_, url):
        page, health = fetch(url), json.loads(fetch(f"{url}/healthz"))
    assert health == {"status": "ok", "release": "development"}
    assert re.search(r"<dt>Werkzeug</dt><dd>3\.", page)
    assert "none: direct" in page


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as response:
        return str(response.read().decode())
