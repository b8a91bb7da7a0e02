"""The site loses no request, whatever changes: 24 connections and more, kept and fresh, GET and POST, slow ones."""

import re
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import http2
import pytest
from encrypted import ALIAS, own_certificate, serial, shown, use_own
from standing import DOMAIN, Project, Server, machine, settled
from visiting import Secure, wait_for

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

    def __init__(self, address: str, domain: str = DOMAIN) -> None:
        self.address, self.domain = address, domain
        self.failures: list[str] = []
        self.answered: Counter[str] = Counter()
        self.stop = threading.Event()
        self.counting = threading.Lock()

    def visit(self, method: str, path: str, keep: bool, pause: float, encrypted: bool = False, want: int = 200) -> None:
        connection = Secure(self.address, self.domain) if encrypted else HTTPConnection(self.address, timeout=30)
        body = b"tide " * 2000 if method == "POST" else None
        ended = time.monotonic()
        while not self.stop.is_set():
            began = time.monotonic()
            if began - ended > pause + 1.2 and connection.sock and select.select([connection.sock], [], [], 0)[0]:
                connection.close()  # this machine had no time for us, and an idle connection may be closed
            try:
                connection.request(
                    method, path, body, {"Host": self.domain} | ({} if keep else {"Connection": "close"})
                )
                answer = connection.getresponse()
                said = answer.read()
                other = want == 200 and body and said != body
                wrong = f"{answer.status}" if answer.status != want else "another body" if other else ""
            except (OSError, HTTPException) as error:
                wrong = repr(error)
            if wrong:
                connection.close()
            ended = time.monotonic()
            self.count(path, f"{method} {path}, kept: {keep}: {wrong}" if wrong else "", ended - began)
            self.stop.wait(pause)
        connection.close()

    def count(self, path: str, failure: str, seconds: float) -> None:
        with self.counting:
            self.answered[path] += 1
            if failure:
                self.failures.append(f"{failure} after {seconds:.2f} s")

    def visit_by_http2(self, method: str, path: str) -> None:
        """On one connection after the other, as the server ends them: what it says to repeat is repeated."""
        connection = http2.Connection(self.address, self.domain)
        while not self.stop.is_set():
            began, failure = time.monotonic(), ""
            try:
                if not connection.ask(method, path, b"tide" if method == "POST" else b""):
                    failure = f"{method} {path} by HTTP/2: not 200"
            except http2.Repeatable:
                connection.closing = True
            except OSError as error:
                failure = f"{method} {path} by HTTP/2: {error!r}"
            self.count("by HTTP/2", failure, time.monotonic() - began)
            if failure or connection.closing:
                connection.close()
                connection = http2.Connection(self.address, self.domain)
        connection.close()

    @contextmanager
    def at(self, *kinds: tuple, each: int, by_http2: tuple[tuple[str, str], ...] = ()) -> Iterator["Visitors"]:
        threads = [threading.Thread(target=self.visit, args=kind) for kind in kinds for _ in range(each)]
        threads += [threading.Thread(target=self.visit_by_http2, args=kind) for kind in by_http2]
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
        for number in range(12):
            change(project, number)
            switched(project, server, "deploy")
        for _ in range(6):
            switched(project, server, "rollback")
        for number in range(6):
            (project.directory / "variables").write_text(f"TIDE={number}\n")
            switched(project, server, "env.set", "--file", "variables")
        for _ in range(6):
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


OWN = """
workers = 3
bind = "0.0.0.0:9999"

def post_worker_init(worker):
    worker.log.info("the app's own hook")
"""


@pytest.mark.parametrize("pinned", ["gunicorn==20.1.0", "gunicorn==23.0.0"])
def test_an_older_gunicorn_with_settings_of_its_own_loses_no_request(server: Server, project: Project, pinned: str):
    (project.directory / "webapp" / "requirements.txt").write_text(f"flask\n{pinned}\n")
    (project.directory / "gunicorn.conf.py").write_text(OWN)
    project.commit()
    ran = project.fab("deploy")
    assert "note: gunicorn.conf.py sets bind: Ashore sets that itself" in ran.out
    assert project.fab("logs").out.count("the app's own hook") >= 3
    assert ":9999" not in server.script("ss -Hltn")
    kinds = [
        ("POST", "/echo", True, 0.0),
        ("POST", "/echo", True, 0.3),
        ("GET", "/slow", True, 0.0),
        ("GET", "/busy", False, 0.0),
    ]
    with Visitors(server.machine.address).at(*kinds, each=4) as visitors:
        for number in range(5):
            change(project, f"{pinned} {number}")
            switched(project, server, "deploy")
    assert visitors.failures == []
    assert visitors.answered["/echo"] > 100


def test_a_connection_that_is_open_while_releases_change_gets_answers_from_each(server: Server, project: Project):
    project.fab("deploy")
    with socket.create_connection((server.machine.address, 80), timeout=60) as visitor:

        def asked() -> str:
            visitor.sendall(f"GET /healthz HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n".encode())
            return visitor.recv(4096).decode()

        seen = []
        for number in range(2):
            change(project, f"open {number}")
            process = project.start("deploy")
            wait_for(lambda process=process: asked() and process.poll() is not None, "the deploy", 300)
            assert process.ended() and process.returncode == 0
            seen.append(asked())
    assert server.current in seen[-1] and len(set(seen)) == 2


def workers(server: Server) -> set[str]:
    """The proxy's, which take connections: others after each reload; those of one process are its listening sockets."""
    if server.proxy == "caddy":
        return set(re.findall(r" ino:\d+", server.script("ss -Hltne 'sport = :80'")))
    return set(server.script("ps --ppid $(cat /run/nginx.pid) -o pid=,args= | grep -v 'shutting down'").splitlines())


RENEW = """
mkdir -p /root/visitors
cd /root/visitors
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 90 -subj /O=Renewed \
    -addext subjectAltName=DNS:{0},DNS:{1} -keyout privkey.pem -out fullchain.pem 2>/dev/null
RENEWED_LINEAGE=/root/visitors sh /usr/local/lib/ashore/certificate-hook.sh
"""


def test_reloads_and_renewed_certificates_lose_no_request_on_a_kept_connection(
    server: Server, project: Project, tmp_path: Path
):
    use_own(project, *own_certificate(tmp_path, [DOMAIN, ALIAS]))
    project.fab("deploy")
    kinds = [
        ("POST", "/echo", True, 0.0, True),
        ("POST", "/echo", True, 0.15, True),
        ("GET", "/healthz", True, 0.01, True),
        ("GET", "/static/style.css", True, 0.01, True),
        ("POST", "/echo", True, 0.02, False, 301),
    ]
    by_http2 = (("POST", "/echo"), ("GET", "/static/style.css"))
    with Visitors(server.machine.address).at(*kinds, each=3, by_http2=by_http2) as visitors:
        wait_for(lambda: visitors.answered.total() > 100, "first answers")
        for _ in range(3):
            before = workers(server)
            server.run("systemctl", "reload", server.proxy)
            wait_for(lambda before=before: not workers(server) & before, "workers of the new configuration")
        for _ in range(2):
            certificate = serial(shown(server))
            server.script(RENEW.format(DOMAIN, ALIAS))
            wait_for(lambda old=certificate: serial(shown(server)) != old, "the renewed certificate")
        server.run("logrotate", "-f", "/etc/logrotate.d/ashore")
        use_own(project, tmp_path / "own.pem", tmp_path / "own.key", "max_body_megabytes = 3")
        before = workers(server)
        change(project, "another site")
        switched(project, server, "deploy")
        assert not workers(server) & before
    assert visitors.failures == []
    assert visitors.answered["by HTTP/2"] > 100 and visitors.answered.total() > 1000


def test_around_a_reload_answers_are_what_they_always_are_but_that_they_end_the_connection(
    server: Server, project: Project
):
    project.fab("deploy")
    paths = ["/healthz", "/a%2Fb/../c?d=%3F", "/static/style.css", "/static/.hidden", "/nothing"]
    faults = ["mkdir -p maintenance; touch maintenance/on", "rm -r maintenance; systemctl stop visitors@*"]

    def answers() -> list[tuple[int, dict[str, str]]]:
        """In maintenance, too, and while the app is down."""
        found = [server.get(path)[::2] for path in paths]
        for fault in faults:
            server.script(f"cd /srv/visitors; {fault}")
            found.append(server.get("/")[::2])
        server.script(f"systemctl start visitors@{server.current}")
        wait_for(lambda: server.get("/healthz")[0] == 200, "the app again")
        return found

    before = answers()
    assert [status for status, _ in before[-2:]] == [503, 502]
    server.script("cd /run; rm -rf ashore-drain; mkdir -m 755 ashore-drain; touch ashore-drain/$(($(date +%s) - 1))")
    assert {server.get(path)[2].get("Connection", "keep-alive") for path in paths} == {"keep-alive"}
    server.script("cd /run/ashore-drain; now=$(date +%s); touch $(seq $now $((now + 60)))")
    during = answers()
    server.script("rm -r /run/ashore-drain")
    assert {headers["Connection"] for _, headers in during} == {"close"}
    for (status, headers), (status_then, headers_then) in zip(before, during, strict=True):
        assert status == status_then and {*headers, "Connection"} == {*headers_then, "Connection"}


def test_a_deploy_that_serves_static_files_from_another_directory_reloads_nothing(server: Server, project: Project):
    project.fab("deploy")
    before = workers(server)
    (project.directory / "other").mkdir()
    (project.directory / "other" / "style.css").write_text("body { color: teal }")
    config = project.directory / "deploy.toml"
    config.write_text(config.read_text().replace('"webapp/static"', '"other"'))
    project.commit()
    switched(project, server, "deploy")
    assert server.get("/static/style.css")[1] == "body { color: teal }"
    assert server.get("/static/mark.svg")[0] == 200  # of a page that was loaded before
    assert workers(server) == before
    assert "nothing new" in project.fab("deploy").out
