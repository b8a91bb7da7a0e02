"""What counts as worse after a switch, and where that is read."""

import os
from datetime import datetime, timezone
from pathlib import Path

import pytest

from deploy.agent.resources.serving import traffic
from deploy.agent.resources.serving.traffic import Counts, Log, usual, worse
from deploy.stack.proxies.nginx import PROXY

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
        (Counts(1000, 0), Counts(200, 5), "5 of 200 requests got a 5xx response (before the switch: 0 of 1000)"),
        (Counts(0, 0), Counts(5, 5), "(no requests before the switch)"),
        (Counts(1000, 10), Counts(200, 20), "before the switch: 10 of 1000"),
        (Counts(1000, 0), Counts(100, 0, restarts=3, seconds=5), "restarted 3 times within 5 s"),
    ],
)
def test_what_is_clearly_more_than_before_is_worse(before: Counts, after: Counts, what: str):
    assert what in worse(before, after)


def test_an_outage_is_not_what_is_usual_so_a_release_that_fails_as_well_is_noticed():
    outage, fails, works = Counts(1000, 1000), Counts(200, 200), Counts(200, 4)
    assert worse(usual(outage, outage=True), fails) and not worse(usual(outage, outage=True), works)
    assert not worse(usual(outage, outage=False), fails)  # nobody is better off with the release before
    assert usual(Counts(1000, 50), outage=True) == Counts(1000, 50)


def test_answers_are_counted_from_where_the_log_ended(tmp_path: Path):
    path = tmp_path / "access.log"
    path.write_text(LINE.format(200) * 3 + LINE.format(502))
    log = Log(str(path), PROXY.access_line)
    assert (log.before().requests, log.before().errors) == (4, 1)
    with path.open("a") as file:
        file.write(LINE.format(500) + LINE.format(404))
    assert log.since(0.0) == Counts(2, 1)
    assert log.since(0.0) == Counts()


def test_what_was_asked_before_the_switch_does_not_count_however_late_it_is_answered(tmp_path: Path):
    path = tmp_path / "access.log"
    path.write_text("")
    log = Log(str(path), PROXY.access_line)
    switched = datetime(2026, 11, 21, 6, 0, 0, tzinfo=timezone.utc).timestamp()
    late = '2026-11-21T{} 192.0.2.1 "GET / HTTP/1.1" {} 5 {} s, app {} s, "-" "x" id\n'
    path.write_text(
        late.format("06:00:30+00:00", 504, "35.001", "35.001")  # of a release that hung
        + late.format("06:00:01+00:00", 502, "1.2", "-, 0.1")
        + late.format("08:00:30+02:00", 504, "29.9", "29.9")  # begun after it, whatever the server's time zone
        + late.format("06:00:30+00:00", 200, "0.01", "0.01")
    )
    assert log.since(switched) == Counts(2, 1)


def test_a_line_that_is_half_written_counts_once_it_is_whole(tmp_path: Path):
    path = tmp_path / "access.log"
    path.write_text("")
    log = Log(str(path), PROXY.access_line)
    line = LINE.format(500)
    for part in (line + line[:40], line[40:]):
        with path.open("a") as file:
            file.write(part)
        assert log.since(0.0) == Counts(1, 1)


def test_a_line_of_which_the_beginning_is_missing_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "access.log"
    path.write_text(LINE.format(500) * 2)
    for cut in range(1, len(LINE)):
        monkeypatch.setattr(traffic, "TAIL_BYTES", len(LINE.format(500)) + cut)
        assert Log(str(path), PROXY.access_line).before().requests == 1


def test_a_rotated_log_is_read_from_its_start(tmp_path: Path):
    path = tmp_path / "access.log"
    path.write_text(LINE.format(200) * 9)
    log = Log(str(path), PROXY.access_line)
    os.rename(path, tmp_path / "access.log.1")
    path.write_text(LINE.format(503))
    assert log.since(0.0) == Counts(1, 1)


def test_a_log_that_is_rotated_while_it_is_looked_at_counts_nothing_and_the_next_look_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "access.log"
    path.write_text(LINE.format(200))
    log = Log(str(path), PROXY.access_line)
    with path.open("a") as file:
        file.write(LINE.format(500))
    seen = log._end()
    monkeypatch.setattr(log, "_end", lambda: seen)
    os.rename(path, tmp_path / "access.log.1")
    assert log.since(0.0) == Counts()
    monkeypatch.undo()
    path.write_text(LINE.format(503))
    assert log.since(0.0) == Counts(1, 1)


def test_a_log_that_is_not_there_yet_counts_nothing(tmp_path: Path):
    log = Log(str(tmp_path / "none"), PROXY.access_line)
    assert log.before() == log.since(0.0) == Counts()
