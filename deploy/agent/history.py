"""The history of an app on this server: a line for each run, and a note during a run.

The note exists from a run's first change until its operator was told the end. So the next command reports a run that
was cut off, or whose operator disconnected.
"""

import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .resources.files import beside, sync_directory
from .system import ssh_connection

if TYPE_CHECKING:
    from .events import End

DIRECTORY = "/var/lib/ashore"
Run = dict[str, Any]


def home(app: str) -> str:
    return f"{DIRECTORY}/{app}"


def last_run(app: str) -> str:
    """The path of the note."""
    return f"{home(app)}/last-run.json"


def note(app: str, run: Run) -> None:
    """Store the state of a run. Errors are ignored, because a full disk must not stop an undo."""
    path = last_run(app)
    with suppress(OSError):
        os.makedirs(home(app), 0o755, exist_ok=True)
        with open(beside(path), "w", encoding="utf-8") as file:
            json.dump(run, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside(path), path)
        sync_directory(home(app))


def heard(app: str) -> None:
    """The operator knows how the run ended."""
    with suppress(FileNotFoundError):
        os.unlink(last_run(app))


def unheard(app: str) -> Run | None:
    """The last run, if its operator was not told how it ended. The state "running" means that it was cut off."""
    try:
        with open(last_run(app), encoding="utf-8") as file:
            found: Run = json.load(file)
    except (OSError, ValueError):
        return None
    return found


def write(app: str, run: Run) -> None:
    """Append a line. A line that a power cut left incomplete is ended first; errors of a full disk are ignored."""
    path = f"{home(app)}/history.jsonl"
    with suppress(OSError):
        os.makedirs(home(app), 0o755, exist_ok=True)
        with open(path, "ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                torn = file.read(1) != b"\n"
                if torn:
                    file.write(b"\n")
            file.write(json.dumps(run, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def read(app: str, count: int = 0) -> list[Run]:
    """The last `count` lines (0: all), oldest first; torn ones are left out."""
    try:
        with open(f"{home(app)}/history.jsonl", encoding="utf-8", errors="replace") as file:
            lines = file.readlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines[-count:]:
        with suppress(ValueError):
            found.append(json.loads(line))
    return found


def origin() -> str:
    """The address of the operator's SSH session; "" if unknown."""
    return ssh_connection()[0]


def line(run: Run, end: "End") -> Run:
    """The line of a run: who, from where, what, how it ended, how long it took, what the probe found."""
    told = {key: value for key, value in run.items() if key != "state" and value not in ("", None)}
    told |= {"from": run.get("from") or origin(), "outcome": end["state"], "seconds": round(end.get("seconds", 0.0), 1)}
    if end["state"] != "ok":
        told |= {"step": end.get("step", ""), "why": end.get("what", "")}
        told |= {"undone": not end.get("switched") and not end.get("undo_errors")}
    if probe := end.get("probe"):
        told |= {"requests": probe["requests"], "failed": probe["failed"]}
    return told


def ended(run: Run, end: "End") -> Run:
    """What is noted of a run until its operator has heard how it ended."""
    told = {"state": end["state"], "what": end.get("what", ""), "step": end.get("step", "")}
    return {**run, **told, "by_operator": end.get("by_operator", False)}


def cut_off(run: Run) -> Run:
    """The line of a run that was cut off: the agent or the machine died during it."""
    told = {key: value for key, value in run.items() if key != "state"}
    return told | {"outcome": "cut off", "seconds": 0.0}


def now() -> int:
    return int(time.time())
