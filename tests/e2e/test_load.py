"""The site loses no request, whatever changes: 24 connections and more, kept and fresh, GET and POST, slow ones."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest
from standing import DOMAIN, Project, Server, machine, settled

APP = """
import os, time
from flask import Flask, request

app = Flask(__name__)
RELEASE = os.environ["RELEASE_ID"]


@app.get("/healthz")
def healthz():
    return {"release": RELEASE}


@app.get("/slow")
def slow():
    time.sleep(2)
    return RELEASE


@app.get("/busy")
def busy():
    time.sleep(0.04)
    return RELEASE


@app.post("/echo")
def echo():
    return request.get_data()
"""


class Visitors:
    """Clients that ask on and on: what failed, how many were answered, by which releases."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.failures: list[str] = []
        self.answered: Counter[str] = Counter()
        self.stop = threading.Event()
        self.counting = threading.Lock()

    def visit(self, method: str, path: str, keep: bool, pause: float) -> None:
        connection = HTTPConnection(self.address, timeout=30)
        body = b"tide " * 2000 if method == "POST" else None
        while not self.stop.is_set():
            began = time.monotonic()
            try:
                connection.request(method, path, body, {"Host": DOMAIN} | ({} if keep else {"Connection": "close"}))
                answer = connection.getresponse()
                said = answer.read()
                wrong = f"{answer.status}" if answer.status != 200 else "another body" if body and said != body else ""
            except (OSError, HTTPException) as error:
                wrong = repr(error)
            if wrong:
                connection.close()
            with self.counting:
                self.answered[path] += 1
                if wrong:
                    self.failures.append(
                        f"{method} {path}, kept: {keep}: {wrong} after {time.monotonic() - began:.2f} s"
                    )
            self.stop.wait(pause)
        connection.close()

    @contextmanager
    def at(self, *kinds: tuple[str, str, bool, float], each: int) -> Iterator["Visitors"]:
        threads = [threading.Thread(target=self.visit, args=kind) for kind in kinds for _ in range(each)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self.stop.set()
            for thread in threads:
                thread.join()


@pytest.fixture(scope="module")
def server(snapshot: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with machine("load", snapshot=snapshot) as made:
        yield Server(settled(made, tmp_path_factory.mktemp("load")))


@pytest.fixture
def project(tmp_path: Path, server: Server) -> Project:
    made = Project(tmp_path / "project", server.machine)
    made.app = "keep_releases = 30"
    made.wsgi = "tide:app"
    made.write_config()
    (made.directory / "tide.py").write_text(APP)
    made.commit()
    return made


def change(project: Project, text: object) -> None:
    project.append("tide.py", f"# {text}\n")
    project.commit()


def switched(project: Project, server: Server, *words: str) -> None:
    """A command that makes another release serve, and whose own probe saw nothing fail."""
    before = server.current
    ran = project.fab(*words)
    assert server.current != before
    assert "0 of " in ran.out and " requests failed" in ran.out, ran.out


def test_deploys_rollbacks_environments_and_restarts_lose_no_request(server: Server, project: Project):
    project.fab("deploy")
    kinds = [
        ("GET", "/healthz", True, 0.05),
        ("GET", "/healthz", False, 0.05),
        ("POST", "/echo", True, 0.1),
        ("POST", "/echo", False, 0.1),
        ("GET", "/slow", True, 0.0),
        ("GET", "/slow", False, 0.0),
    ]
    with Visitors(server.machine.address).at(*kinds, each=4) as visitors:
        for number in range(20):
            change(project, number)
            switched(project, server, "deploy")
        for _ in range(10):
            switched(project, server, "rollback")
        for number in range(10):
            (project.directory / "variables").write_text(f"TIDE={number}\n")
            switched(project, server, "env.set", "--file", "variables")
        for _ in range(10):
            switched(project, server, "restart")
    assert visitors.failures == []
    assert visitors.answered["/slow"] > 100 and visitors.answered.total() > 2000
    assert server.leftovers() == []


def test_deploys_with_saturated_sync_workers_lose_no_request(server: Server, project: Project):
    project.app += '\nworker_class = "sync"\nworkers = 2'
    project.write_config()
    project.fab("deploy")
    kinds = [("GET", "/busy", True, 0.0), ("GET", "/busy", False, 0.0)]
    with Visitors(server.machine.address).at(*kinds, each=14) as visitors:
        for number in range(6):
            change(project, f"sync {number}")
            switched(project, server, "deploy")
    assert visitors.failures == []
    assert visitors.answered.total() > 200


def test_a_connection_that_is_open_while_releases_change_gets_answers_from_each(server: Server, project: Project):
    project.fab("deploy")
    with socket.create_connection((server.machine.address, 80), timeout=10) as visitor:
        seen = []
        for number in range(2):
            change(project, f"open {number}")
            project.fab("deploy")
            visitor.sendall(f"GET /healthz HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n".encode())
            seen.append(visitor.recv(4096).decode())
    assert server.current in seen[-1] and len(set(seen)) == 2
