"""The kit's own visitor during a change: what it counts as lost."""

import errno
import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.agent.resources.files import Link
from deploy.agent.resources.serving import probe as probes
from deploy.agent.resources.serving.probe import KEPT_SECONDS, Kept, Probe, Probed, may_meet
from deploy.agent.system import System


class Site(BaseHTTPRequestHandler):
    """HTTP/1.0: each request has a connection of its own."""

    asked = 0

    def do_GET(self) -> None:
        Site.asked += 1
        self.send_response(503 if Site.asked == 2 else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Keeping(Site):
    """Keeps connections, and on /last ends each after its third request: with a word of that, or without."""

    protocol_version = "HTTP/1.1"
    announced = True

    def do_GET(self) -> None:
        self.made = getattr(self, "made", 0) + 1
        self.close_connection = self.made == 3
        if self.close_connection and not self.announced:
            return
        self.send_response(200)
        self.send_header("Content-Length", "2")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"ok")


class Silent(Keeping):
    announced = False


@contextmanager
def serving(kind: type[Site]) -> Iterator[int]:
    site = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    yield site.server_port
    site.shutdown()
    site.server_close()


def test_the_probe_counts_failures_and_remembers_the_first():
    with serving(Site) as port:
        probe = Probe("shop.example.com", "/", port)
        pause = threading.Event()
        while Site.asked < 5:
            pause.wait(0.01)
        found = probe.end()
    assert found["requests"] >= 5 and found["failed"] == 1 and found["first_failure"] == "503"
    assert found["slowest_ms"] < 5000


def test_a_kept_connection_that_is_closed_with_notice_is_no_failure():
    with serving(Keeping) as port:
        kept = Kept("shop.example.com", "/", port)
        assert [kept.ask() for _ in range(7)] == ["200"] * 7
        kept.close()


def test_a_kept_connection_that_is_closed_in_place_of_an_answer_is_a_failure():
    with serving(Silent) as port:
        kept = Kept("shop.example.com", "/", port)
        answers = [kept.ask() for _ in range(4)]
        kept.close()
    assert answers[:2] == ["200", "200"] and answers[3] == "200"
    assert answers[2].startswith("a kept connection failed: ")


class Hasty(Keeping):
    """Closes each connection after an answer that does not say so."""

    def do_GET(self) -> None:
        super().do_GET()
        self.close_connection = True


def test_a_kept_connection_that_ended_while_nobody_could_ask_is_no_failure():
    with serving(Hasty) as port:
        kept = Kept("shop.example.com", "/", port)
        assert kept.ask() == "200"
        select.select([kept.connection.sock], [], [], 10)
        kept.answered -= 2
        assert kept.ask() == "200"
        select.select([kept.connection.sock], [], [], 10)
        kept.answered = time.monotonic()
        assert kept.ask().startswith("a kept connection failed: ")


def test_the_probe_notices_what_happens_to_kept_connections():
    with serving(Silent) as port:
        probe = Probe("shop.example.com", "/", port)
        pause = threading.Event()
        while not probe.failed:
            pause.wait(0.01)
        found = probe.end()
    assert found["first_failure"].startswith("a kept connection failed: ")


def test_what_this_process_could_not_ask_is_no_failure_of_the_site(monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        tried.append(1)
        raise OSError(errno.EMFILE, "Too many open files")

    tried: list[int] = []
    monkeypatch.setattr("deploy.agent.resources.serving.http.connected", full)
    monkeypatch.setattr("deploy.agent.resources.serving.probe.connected", full)
    probe = Probe("shop.example.com", "/", 80)
    pause = threading.Event()
    while len(tried) < 4:
        pause.wait(0.01)
    assert probe.end() == {"requests": 0, "failed": 0, "slowest_ms": 0, "first_failure": ""}


def test_a_release_may_be_met_until_nginx_has_closed_what_it_keeps_to_it(tmp_path: Path):
    current = Link(str(tmp_path / "current"), "releases/20260301-120405")
    current.apply(System())
    silent = {"20260301-120405": "500"}
    assert may_meet(current.path, silent, time.time())
    Link(current.path, "releases/20260302-120405").apply(System())
    switched = os.lstat(current.path).st_ctime
    assert may_meet(current.path, silent, switched + KEPT_SECONDS - 0.1)
    assert not may_meet(current.path, silent, switched + KEPT_SECONDS + 0.1)
    assert not may_meet(current.path, {}, switched)


@pytest.mark.parametrize(("silent", "unaware"), [({"20260301-120405": "500"}, ""), ({}, "20260301-120405")])
def test_a_probe_that_begins_with_the_switch_away_from_a_release_that_cannot_answer_counts_nothing_yet(
    tmp_path: Path, silent: dict[str, str], unaware: str
):
    system = System()
    system.memory.silent |= silent
    Link(str(tmp_path / "current"), "releases/20260302-120405").apply(system)
    before = Site.asked
    with serving(Site) as port:
        Probed("shop.example.com", "/", port, str(tmp_path / "current"), unaware).apply(system)
        pause = threading.Event()
        while Site.asked == before:
            pause.wait(0.01)
        found = system.memory.probe.end()
    assert found["requests"] == 0


class Dripping(Site):
    """A good answer whose body never ends, byte after byte."""

    protocol_version = "HTTP/1.1"
    ended = threading.Event()

    def do_GET(self) -> None:
        Site.asked += 1
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        while not Dripping.ended.wait(0.05):
            self.wfile.write(b"x")


def test_an_answer_that_never_ends_does_not_keep_the_probe_from_ending(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(probes, "PROBE_SECONDS", 0.5)
    Site.asked = 0
    with serving(Dripping) as port:
        probe = Probe("shop.example.com", "/", port)
        pause = threading.Event()
        while not probe._asking_kept.locked() or Site.asked < 3:
            pause.wait(0.01)
        found: list[dict] = []
        ending = threading.Thread(target=lambda: found.append(probe.end()), daemon=True)
        ending.start()
        ending.join(60)
        Dripping.ended.set()
    assert found and found[0]["failed"] == 0


def test_where_no_thread_is_to_be_had_the_probe_goes_on_and_ends(monkeypatch: pytest.MonkeyPatch):
    refused, start = threading.Event(), threading.Thread.start

    def starting(thread: threading.Thread) -> None:
        if getattr(thread, "_target", None) == probe._ask and not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    Site.asked = 2
    with serving(Site) as port:
        probe = Probe("shop.example.com", "/", port)
        monkeypatch.setattr(threading.Thread, "start", starting)
        pause = threading.Event()
        while not refused.is_set() or Site.asked < 4:
            pause.wait(0.01)
        assert probe.end()["failed"] == 0
