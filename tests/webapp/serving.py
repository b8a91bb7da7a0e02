"""The app under a real server, and how tests talk to it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).parents[2]
RELEASE = "20260301-120405"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ANSWER_SECONDS = 20


def form_token(page: str) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', page)
    assert found, page
    return found[1]


class UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


@dataclass(frozen=True)
class Answer:
    status: int
    headers: HTTPResponse = field(repr=False)
    text: str


@dataclass(frozen=True)
class Gunicorn:
    process: subprocess.Popen[str]
    socket: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: str = "", headers: dict[str, str] | None = None) -> Answer:
        connection = UnixConnection(self.socket)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response, response.read().decode())
        finally:
            connection.close()

    def sign(self, name: str, message: str) -> Answer:
        page = self.ask("GET", "/")
        cookie = (page.headers.getheader("Set-Cookie") or "").partition(";")[0]
        form = urlencode({"form_token": form_token(page.text), "name": name, "message": message})
        return self.ask("POST", "/visitors", form, {**FORM, "Cookie": cookie})


@contextmanager
def served(directory: Path, release: str = RELEASE, workers: int = 2) -> Iterator[Gunicorn]:
    """A Gunicorn as a deploy runs it, on a unix socket and, for browsers, on a port of this machine."""
    path = directory / f"{release}.sock"
    environment = {"PATH": os.environ["PATH"], "SECRET_KEY": "only for tests", "RELEASE_ID": release}
    environment["DATA_DIR"] = str(directory / "data")
    command = ["gunicorn", "--no-control-socket", "--workers", str(workers), "--threads", "4"]
    command += ["--bind", f"unix:{path}", "--bind", "127.0.0.1:0", "webapp:create_app()"]
    with started(command, environment, r"Listening at: .*http://127\.0\.0\.1:(\d+)") as (process, port):
        server = Gunicorn(process, path, int(port))
        server.ask("GET", "/static/mark.svg")  # not the page: the first visit to the book is what tests try
        yield server


@contextmanager
def started(module: list[str], environment: dict[str, str], line: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `python -m module …` until the block ends; begins when a line on stderr matches, gives its first group."""
    process = subprocess.Popen(
        [sys.executable, "-m", *module], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    try:
        seen = ""
        for text in process.stderr:
            seen += text
            if found := re.search(line, text):
                yield process, found[1]
                return
        raise AssertionError(f"{module[0]} ended:\n{seen}")
    finally:
        process.terminate()
        process.communicate(timeout=ANSWER_SECONDS)
