"""What counts as worse after a switch, and where that is read."""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.agent.resources.traffic import Counts, Log, Probe, worse

LINE = '2026-11-21T06:00:00+00:00 192.0.2.1 "GET / HTTP/1.1" {} 5 0.01 s, app 0.01 s, "-" "x \\x22 500 \\x22" id\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Counts(1000, 0), Counts(200, 2)),  # a few errors are nobody's release
        (Counts(0, 0), Counts(0, 0)),
        (Counts(1000, 100), Counts(200, 40)),  # as bad as it was
        (Counts(10_000, 0), Counts(10_000, 50)),
        (Counts(1000, 0), Counts(100, 0, restarts=1, seconds=5)),
        (Counts(1000, 0, restarts=60, seconds=300), Counts(100, 0, restarts=3, seconds=5)),
    ],
)
def test_what_was_so_before_is_not_worse(before: Counts, after: Counts):
    assert worse(before, after) == ""


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        (Counts(1000, 0), Counts(200, 5), "5 of 200 requests were answered with 5xx (before the switch 0 of 1000)"),
        (Counts(0, 0), Counts(5, 5), "(none known from before)"),
        (Counts(1000, 10), Counts(200, 20), "before the switch 10 of 1000"),
        (Counts(1000, 0), Counts(100, 0, restarts=3, seconds=5), "started anew 3 times within 5 s"),
    ],
)
def test_what_is_clearly_more_than_before_is_worse(before: Counts, after: Counts, what: str):
    assert what in worse(before, after)


def test_answers_are_counted_from_where_the_log_ended(tmp_path: Path):
    path = tmp_path / "access.log"
    path.write_text(LINE.format(200) * 3 + LINE.format(502))
    log = Log(str(path))
    assert (log.before().requests, log.before().errors) == (4, 1)
    with path.open("a") as file:
        file.write(LINE.format(500) + LINE.format(404))
    assert log.since() == Counts(2, 1)
    assert log.since() == Counts()


def test_a_rotated_log_is_read_from_its_start(tmp_path: Path):
    path = tmp_path / "access.log"
    path.write_text(LINE.format(200) * 9)
    log = Log(str(path))
    os.rename(path, tmp_path / "access.log.1")
    path.write_text(LINE.format(503))
    assert log.since() == Counts(1, 1)


def test_a_log_that_is_not_there_yet_counts_nothing(tmp_path: Path):
    log = Log(str(tmp_path / "none"))
    assert log.before() == log.since() == Counts()


class Site(BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self) -> None:
        Site.asked += 1
        self.send_response(503 if Site.asked == 2 else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_the_probe_counts_failures_and_remembers_the_first():
    site = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    probe = Probe("shop.example.com", "/", site.server_port)
    pause = threading.Event()
    while Site.asked < 5:
        pause.wait(0.01)
    found = probe.end()
    site.shutdown()
    site.server_close()
    assert found["requests"] >= 5 and found["failed"] == 1 and found["first_failure"] == "503"
    assert found["slowest_ms"] < 5000
