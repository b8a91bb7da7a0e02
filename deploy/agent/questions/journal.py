"""Log lines of an app: the journal's, and the proxy's files merged in, as events."""

import heapq
import json
import os
import re
import selectors
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, BinaryIO

from ..system import ENVIRONMENT
from ..wire import Failed, Refused
from .json_lines import readable

if TYPE_CHECKING:
    from ..events import End, LogLine

    Emit = Callable[[LogLine], None]

BLOCK = 1 << 16
ACCESS_TIME = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d) ")
ERROR_TIME = re.compile(r"^(\d{4})/(\d\d)/(\d\d) (\d\d):(\d\d):(\d\d) \[(\w+)\] ")


def follow(
    emit: "Emit",
    ended: Callable[[], bool],
    units: list[str],
    files: list[str],
    lines: int,
    since: str,
    follow: bool,
    app: str = "",
) -> "End":
    """Emit {"event": "line", time, source, level, text}: what there is, oldest first, then what comes until `ended`.

    Line by line as it is read, however much there is. time: epoch seconds, a float. level: syslog's number, 3 is an
    error. lines: the last so many; 0 is all. since: as journalctl takes it; then `lines` does not count.
    app: whose own journal is to be read beside the system's.
    """
    start = since_epoch(since) if since else 0.0
    journal = Journal(units, app)
    sizes = {path: size for path in files if (size := size_of(path)) is not None}
    wanted = 0 if since else lines

    def found() -> "Iterator[LogLine]":
        begun = [file_lines(path, sizes[path], wanted) for path in sizes]
        return heapq.merge(journal.past(start, wanted), *begun, key=lambda line: float(line["time"]))

    too_many = 0
    if wanted and sizes:  # each of them has so many: what is left out is known once they are counted
        too_many = max(0, sum(1 for _ in until(ended, found())) - wanted)
    for number, line in enumerate(until(ended, found())):
        if number >= too_many and line["time"] >= start:
            emit(line)
    if follow and not ended():
        watch(emit, ended, journal, {path: sizes.get(path, 0) for path in files})
    return {"event": "end", "state": "ok", "changed": 0, "seconds": 0.0}


def until(ended: Callable[[], bool], lines: "Iterator[LogLine]") -> "Iterator[LogLine]":
    for line in lines:
        if ended():
            return
        yield line


class Journal:
    """journalctl for some units, and where it was read up to."""

    def __init__(self, units: list[str], app: str) -> None:
        self.cursor = ""
        self.argv = ["journalctl", "-o", "json", "--no-pager", "-q"]
        self.argv += ["--output-fields=MESSAGE,PRIORITY,_SYSTEMD_UNIT,UNIT"]
        self.argv += [f"--namespace=+{app}"] if app else []
        self.argv += [word for unit in units for word in ("-u", unit)]

    def past(self, start: float, lines: int) -> "Iterator[LogLine]":
        """From an epoch time on (0.0: from the beginning), or the last `lines` (0: all)."""
        argv = [*self.argv, *(["--since", f"@{start:.0f}"] if start else []), *(["-n", str(lines)] if lines else [])]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=errors, env=ENVIRONMENT)
            assert process.stdout is not None
            try:
                for text in process.stdout:
                    yield self.line(text)
                if process.wait():
                    errors.seek(0)
                    raise Failed("the journal could not be read", "", errors.read().decode(errors="replace"))
            finally:  # also where nobody wants the rest
                process.kill()
                process.wait()

    def line(self, text: bytes) -> "LogLine":
        entry = json.loads(text)
        self.cursor = str(entry.get("__CURSOR", self.cursor))
        return journal_line(entry)

    def begin_following(self) -> "subprocess.Popen[bytes]":
        """A journalctl that goes on behind the last line that was read."""
        after = [f"--after-cursor={self.cursor}", "--no-tail"] if self.cursor else ["-n", "0"]
        return subprocess.Popen([*self.argv, "-f", *after], stdout=subprocess.PIPE, env=ENVIRONMENT)


def since_epoch(since: str) -> float:
    """Epoch seconds of a time as journalctl understands it ("1 hour ago", "yesterday", "2026-11-20 10:00")."""
    argv = ["systemd-analyze", "timestamp", "--", since]
    ran = subprocess.run(argv, capture_output=True, env=ENVIRONMENT)
    match = re.search(r"UNIX seconds: @([0-9.]+)", ran.stdout.decode(errors="replace"))
    if ran.returncode or not match:
        raise Refused(
            f"{since!r} is not a time",
            "for example: --since '1 hour ago', --since yesterday, --since '2026-11-20 10:00'",
        )
    return float(match[1])


def journal_line(entry: dict[str, Any]) -> "LogLine":
    """An entry of `journalctl -o json`; a message that is no UTF-8 comes as a list of bytes, a long one may be null."""
    message = entry.get("MESSAGE") or ""
    if isinstance(message, list):
        message = bytes(message).decode(errors="replace")
    return {
        "event": "line",
        "time": int(entry["__REALTIME_TIMESTAMP"]) / 1e6,
        "source": entry.get("UNIT") or entry.get("_SYSTEMD_UNIT") or "",
        "level": int(entry.get("PRIORITY", 6)),
        "text": message,
    }


def file_line(path: str, text: str, now: float) -> "LogLine":
    """A line of a proxy's access log (ISO 8601 first, or JSON) or error log; one that bears no time is of `now`.

    path: /var/log/PROXY/APP/FILE.
    """
    when, level = now, 6
    if match := ACCESS_TIME.match(text):
        when, text = datetime.fromisoformat(match[1]).timestamp(), text[match.end() :]
        status = re.search(r'" (\d{3}) ', text)
        level = 3 if status and status[1].startswith("5") else 6
    elif text.startswith("{") and (found := readable(text)):
        when, level, text = found
    elif match := ERROR_TIME.match(text):
        year, month, day, hour, minute, second = (int(match[part]) for part in range(1, 7))
        when = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc).timestamp()
        level = 3 if match[7] in ("error", "crit", "alert", "emerg") else 4
        text = text[match.end() - len(match[7]) - 3 :]
    source = f"{path.split('/')[-3]}/{os.path.basename(path)}"
    return {"event": "line", "time": when, "source": source, "level": level, "text": text}


def size_of(path: str) -> int | None:
    """Of a file, in bytes; None where there is none, or none any more: logs are rotated."""
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return None


def file_lines(path: str, size: int, lines: int) -> "Iterator[LogLine]":
    """The last `lines` lines (0: all) of a file's first `size` bytes. One without a time has that of the one before."""
    with suppress(FileNotFoundError), open(path, "rb") as file:
        at, when = file.seek(tail_begins(file, size, lines) if lines else 0), 0.0
        while at < size and (text := file.readline(size - at)):
            at += len(text)
            line = file_line(path, text.decode(errors="replace").rstrip("\n"), when)
            when = line["time"]
            yield line


def tail_begins(file: BinaryIO, size: int, lines: int) -> int:
    """Where the last `lines` lines of a file's first `size` bytes begin."""
    at, left = size, lines + 1  # newlines to be found: the last line ends with one
    while at:
        begin = max(0, at - BLOCK)
        file.seek(begin)
        block = file.read(at - begin)
        if at == size and not block.endswith(b"\n"):
            left -= 1  # it is still being written
        count = block.count(b"\n")
        if count >= left:
            found = len(block)
            for _ in range(left):
                found = block.rindex(b"\n", 0, found)
            return begin + found + 1
        left, at = left - count, begin
    return 0


def watch(emit: "Emit", ended: Callable[[], bool], journal: Journal, offsets: dict[str, int]) -> None:
    """New lines as they come. A rotated file (it is shorter, or another one) is read from its start."""
    process = journal.begin_following()
    assert process.stdout is not None
    inodes: dict[str, int] = {}
    for path in offsets:
        with suppress(FileNotFoundError):
            inodes[path] = os.stat(path).st_ino
    pending = b""
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not ended() and process.poll() is None:
                if selector.select(0.2):
                    *whole, pending = (pending + os.read(process.stdout.fileno(), BLOCK)).split(b"\n")
                    for line in whole:
                        emit(journal.line(line))
                for path in offsets:
                    grown(path, offsets, inodes, emit)
    finally:
        process.terminate()
        process.wait()


def grown(path: str, offsets: dict[str, int], inodes: dict[str, int], emit: "Emit") -> None:
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return
    if info.st_ino != inodes.get(path) or info.st_size < offsets[path]:
        inodes[path], offsets[path] = info.st_ino, 0
    with suppress(FileNotFoundError), open(path, "rb") as file:  # it may be rotated while we look
        file.seek(offsets[path])
        while offsets[path] < info.st_size and (text := file.readline(info.st_size - offsets[path])).endswith(b"\n"):
            offsets[path] += len(text)
            emit(file_line(path, text.decode(errors="replace").rstrip("\n"), time.time()))
