"""Log lines of an app: the journal's, and Nginx's files merged in, as events."""

import json
import os
import re
import selectors
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from .system import ENVIRONMENT
from .wire import Failed, Refused

Emit = Callable[[dict[str, Any]], None]
ACCESS_TIME = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d) ")
ERROR_TIME = re.compile(r"^(\d{4})/(\d\d)/(\d\d) (\d\d):(\d\d):(\d\d) \[(\w+)\] ")


def follow(
    emit: Emit,
    ended: Callable[[], bool],
    units: list[str],
    files: list[str],
    lines: int,
    since: str,
    follow: bool,
    app: str = "",
) -> dict[str, Any]:
    """Emit {"event": "line", time, source, level, text}: what there is, oldest first, then what comes until `ended`.

    time: epoch seconds, a float. level: syslog's number, 3 is an error. since: as journalctl takes it.
    app: whose own journal is to be read beside the system's.
    """
    start = since_epoch(since) if since else 0.0
    argv = ["journalctl", "-o", "json", "--no-pager", "-q", "--output-fields=MESSAGE,PRIORITY,_SYSTEMD_UNIT,UNIT"]
    argv += [f"--namespace=+{app}"] if app else []
    argv += [word for unit in units for word in ("-u", unit)]
    past = [*argv, *(["--since", f"@{start:.0f}"] if since else []), *([] if since else ["-n", str(lines)])]
    ran = subprocess.run(past, capture_output=True, env=ENVIRONMENT)
    if ran.returncode:
        raise Failed("the journal could not be read", "", ran.stderr.decode(errors="replace"))
    found = [journal_line(line) for line in ran.stdout.splitlines()]
    offsets = {path: os.path.getsize(path) for path in files if os.path.exists(path)}
    for path in offsets:
        found += [line for line in file_tail(path, offsets[path], 0 if since else lines) if line["time"] >= start]
    found.sort(key=lambda line: float(line["time"]))
    for line in found if since else found[-lines:] if lines else []:
        emit(line)
    if follow:
        watch(emit, ended, argv, {path: offsets.get(path, 0) for path in files})
    return {"event": "end", "state": "ok", "changed": 0, "seconds": 0.0}


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


def journal_line(text: bytes) -> dict[str, Any]:
    """A line of `journalctl -o json`; a message that is no UTF-8 comes as a list of bytes, a long one may be null."""
    entry = json.loads(text)
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


def nginx_line(path: str, text: str, now: float) -> dict[str, Any]:
    """A line of Nginx's access log (ours begins with ISO 8601) or error log; one that bears no time is of `now`."""
    when, level = now, 6
    if match := ACCESS_TIME.match(text):
        when, text = datetime.fromisoformat(match[1]).timestamp(), text[match.end() :]
        status = re.search(r'" (\d{3}) ', text)
        level = 3 if status and status[1].startswith("5") else 6
    elif match := ERROR_TIME.match(text):
        year, month, day, hour, minute, second = (int(match[part]) for part in range(1, 7))
        when = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc).timestamp()
        level = 3 if match[7] in ("error", "crit", "alert", "emerg") else 4
        text = text[match.end() - len(match[7]) - 3 :]
    return {"event": "line", "time": when, "source": f"nginx/{os.path.basename(path)}", "level": level, "text": text}


def file_tail(path: str, size: int, lines: int) -> list[dict[str, Any]]:
    """The last `lines` lines of a file's first `size` bytes; 0 means all of its last 4 MiB."""
    with open(path, "rb") as file:
        start = max(0, size - (4 << 20))
        file.seek(start)
        texts = file.read(size - start).decode(errors="replace").splitlines()[1 if start else 0 :]
    return [nginx_line(path, text, 0.0) for text in (texts[-lines:] if lines else texts)]


def watch(emit: Emit, ended: Callable[[], bool], argv: list[str], offsets: dict[str, int]) -> None:
    """New lines as they come. A rotated file (it is shorter, or another one) is read from its start."""
    process = subprocess.Popen([*argv, "-f", "-n", "0"], stdout=subprocess.PIPE, env=ENVIRONMENT)
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    inodes = {path: os.stat(path).st_ino for path in offsets if os.path.exists(path)}
    pending = b""
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not ended() and process.poll() is None:
                if selector.select(0.2):
                    *whole, pending = (pending + (process.stdout.read() or b"")).split(b"\n")
                    for line in whole:
                        emit(journal_line(line))
                for path in offsets:
                    grown(path, offsets, inodes, emit)
    finally:
        process.terminate()
        process.wait()


def grown(path: str, offsets: dict[str, int], inodes: dict[str, int], emit: Emit) -> None:
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return
    if info.st_ino != inodes.get(path) or info.st_size < offsets[path]:
        inodes[path], offsets[path] = info.st_ino, 0
    if info.st_size > offsets[path]:
        with open(path, "rb") as file:
            file.seek(offsets[path])
            whole = file.read(info.st_size - offsets[path]).rpartition(b"\n")[0]
        offsets[path] += len(whole) + 1 if whole else 0
        for text in whole.decode(errors="replace").splitlines():
            emit(nginx_line(path, text, time.time()))
