"""Log lines as they are read: one after the other, however many there are."""

import json
import os
import time
import tracemalloc
from pathlib import Path

import pytest

from deploy.agent.questions import journal

JOURNALCTL = r"""#!/usr/bin/python3 -IS
import sys
words = sys.argv[1:]
if "-f" in words:  # nothing new comes
    open("%(home)s/followed", "w").write(" ".join(words))
    __import__("time").sleep(300)
last = int(words[words.index("-n") + 1]) if "-n" in words else %(count)d
line = '{"__CURSOR": "c%%d", "__REALTIME_TIMESTAMP": "%%d000000", "MESSAGE": "line %%d"}'
for number in range(max(0, %(count)d - last), %(count)d):
    print(line %% (number, number, number))
open("%(home)s/ended", "w").close()
"""


class Reading:
    """`fab logs` of an app whose journal has so many lines, a second apart."""

    def __init__(self, home: Path, count: int) -> None:
        self.home = home
        program = home / "journalctl"
        program.write_text(JOURNALCTL % {"home": home, "count": count})
        program.chmod(0o755)
        self.lines: list[dict] = []
        self.ended = lambda: False
        self.access = home / "access.log"

    def follow(self, lines: int, keep: bool = True, follow: bool = False, nginx: bool = False) -> None:
        def emit(line: dict) -> None:
            if keep:
                self.lines.append(line)
            self.count += 1
            self.last = line

        self.count = 0
        journal.follow(emit, lambda: self.ended(), ["shop@*"], [str(self.access)] if nginx else [], lines, "", follow)

    @property
    def texts(self) -> list[str]:
        return [line["text"] for line in self.lines]


@pytest.fixture
def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reading:
    monkeypatch.setattr(journal, "ENVIRONMENT", {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    return Reading(tmp_path, 20)


def test_a_long_journal_takes_no_memory_and_its_first_line_comes_before_its_last_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(journal, "ENVIRONMENT", {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    long, early = Reading(tmp_path, 200_000), []
    long.ended = lambda: early.append((tmp_path / "ended").exists()) if len(early) < 5 else False
    tracemalloc.start()
    long.follow(200_000, keep=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert long.count == 200_000 and long.last["text"] == "line 199999"
    assert not any(early)
    assert peak < 2_000_000


def test_who_has_seen_enough_ends_the_reading(tmp_path: Path, reading: Reading):
    Reading(tmp_path, 5_000_000)
    reading.ended = lambda: reading.count >= 3
    reading.follow(0)
    assert reading.count == 3 and not (tmp_path / "ended").exists()


def test_so_many_lines_are_the_last_ones_and_0_is_all_as_in_the_history(reading: Reading):
    for lines, wanted in ((3, 3), (20, 20), (100, 20), (0, 20)):
        reading.lines = []
        reading.follow(lines)
        assert reading.texts == [f"line {number}" for number in range(20 - wanted, 20)]


def test_the_lines_of_nginx_are_merged_in_by_their_time(reading: Reading):
    stamps = [f"1970-01-01T00:00:{second:02}+00:00" for second in range(5, 25, 5)]
    reading.access.write_text("".join(f'{stamp} 1.2.3.4 "GET /{stamp[-8:-6]}"\n' for stamp in stamps))
    reading.follow(7, nginx=True)
    assert [text.removeprefix("1.2.3.4 ") for text in reading.texts] == [
        "line 15", '"GET /15"', "line 16", "line 17", "line 18", "line 19", '"GET /20"',
    ]  # fmt: skip
    reading.lines = []
    reading.follow(0, nginx=True)
    assert len(reading.lines) == 24


def test_what_is_followed_goes_on_behind_the_last_line_that_was_read(tmp_path: Path, reading: Reading):
    deadline = time.monotonic() + 30
    reading.ended = lambda: (tmp_path / "followed").exists() or time.monotonic() > deadline
    reading.follow(5, follow=True)
    words = (tmp_path / "followed").read_text().split()
    assert "--after-cursor=c19" in words and "--no-tail" in words


def test_a_log_that_is_rotated_away_meanwhile_is_no_error(tmp_path: Path):
    lines: list[dict] = []
    offsets, inodes = {str(tmp_path / "gone"): 5}, {}
    journal.grown(str(tmp_path / "gone"), offsets, inodes, lines.append)
    assert lines == []
    assert journal.size_of(str(tmp_path / "gone")) is None


def test_a_growing_log_gives_whole_lines(tmp_path: Path):
    path, lines = tmp_path / "access.log", []
    path.write_text("a\nb\nhal")
    offsets, inodes = {str(path): 2}, {str(path): path.stat().st_ino}
    journal.grown(str(path), offsets, inodes, lines.append)
    path.write_text("a\nb\nhalf\n")
    journal.grown(str(path), offsets, inodes, lines.append)
    assert [line["text"] for line in lines] == ["b", "half"]
    assert json.dumps(lines)
