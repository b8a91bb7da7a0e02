"""Gunicorn as a release runs it: with the kit's settings, and the app's own where the kit has no say."""

import http.client
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from test_plans import SHOP

from deploy.agent.dataclass import replace
from deploy.stack.runners.gunicorn import RUNNER

APP = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
OWN = """
workers, timeout = 3, 20
graceful_timeout = 500
bind = "0.0.0.0:9"
accesslog = "/nowhere/access.log"
daemon = reuse_port = True
worker_class = "sync"

def when_ready(server):
    cfg = server.cfg
    found = (cfg.workers, cfg.graceful_timeout, cfg.accesslog, cfg.worker_class_str, __file__)
    server.log.info("SET %s %s %s %s %s", *found)
"""
SECONDS = 30


def answered(path: Path, app: object, own: str) -> tuple[str, list[str]]:
    """The answer of a Gunicorn in this directory once it tells systemd that it is ready, and what it then prints."""
    source, sock = path / "source", path / "http.sock"
    source.mkdir()
    (source / "shop.py").write_text(APP)
    if own:
        (source / "gunicorn.conf.py").write_text(own)
    (config,) = [path / name for name in RUNNER.files(app, 2)]  # type: ignore[arg-type]
    config.write_text(RUNNER.files(app, 2)[config.name])  # type: ignore[arg-type]
    argv = [sys.executable, "-m", "gunicorn", "--config", config, "--bind", f"unix:{sock}", "--umask", "7", "shop:app"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path / "notify"))
        systemd.settimeout(SECONDS)
        environment = {**os.environ, "NOTIFY_SOCKET": str(path / "notify")}
        process = subprocess.Popen(argv, cwd=source, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            assert systemd.recv(1000).startswith(b"READY=1")
            connection = http.client.HTTPConnection("shop", timeout=SECONDS)
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(SECONDS)
            connection.sock.connect(str(sock))
            connection.request("GET", "/")
            answer = connection.getresponse().read().decode()
            connection.close()
        finally:
            process.terminate()
            output = process.communicate(timeout=SECONDS)[0].decode()
    return answer, output.splitlines()


def test_the_app_s_own_settings_count_where_the_kit_has_no_say(tmp_path: Path):
    answer, said = answered(tmp_path, SHOP, OWN)
    (line,) = [line for line in said if "SET" in line]
    assert answer == "ok" and line.partition("SET ")[2] == f"3 30 - sync {tmp_path}/source/gunicorn.conf.py"


def test_what_deploy_toml_sets_counts_more(tmp_path: Path):
    answer, said = answered(tmp_path, replace(SHOP, workers=1, worker_class="gthread"), OWN)
    (line,) = [line for line in said if "SET" in line]
    assert answer == "ok" and line.partition("SET ")[2].startswith("1 30 - sync")  # gthread is the default


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
