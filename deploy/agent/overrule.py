"""Ending another run: a CI key's for any operator, a silent operator's for --wait, any for --break-lock.

That run stops as if its own operator had pressed Ctrl-C, and undoes a release without traffic.
"""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from .locks import DIRECTORY, Holder, described, holder_of
from .system import ENVIRONMENT

if TYPE_CHECKING:
    from .events import Event

TAKEN_OVER, KEYS_CHANGED = signal.SIGUSR1, signal.SIGUSR2  # what the server's side of a CI key is told, see ci.server
LOCK_BROKEN = signal.SIGUSR2  # what an operator's agent is told; why is in the file of `wish`
PATIENCE_SECONDS = 30  # for its undo; then it is killed, which leaves the old release or the new one serving
LOOK_SECONDS = 0.1
UNIT = re.compile(r"/(ashore-ci-[^/\n]+@[^/\n]+\.service)")


def unit_of(pid: int) -> str:
    """The unit of a connection of a CI key that this process serves; "" for any other process."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
            found = UNIT.search(file.read())
    except OSError:
        return ""
    return found[1] if found else ""


def connections(app: str) -> list[int]:
    """Process IDs of the server's side of all connections of the app's CI keys."""
    argv = ["systemctl", "show", "-p", "MainPID", "--value", f"ashore-ci-{app}@*.service"]
    said = subprocess.run(argv, capture_output=True, env=ENVIRONMENT).stdout.split()
    return [int(pid) for pid in said if pid != b"0" and unit_of(int(pid))]


def at_work(app: str) -> Holder:
    """Who holds the app's lock, if that is the run of a CI key; {} else."""
    try:
        with open(f"{DIRECTORY}/app-{app}.lock", encoding="utf-8") as lock:
            holder = holder_of(lock)
    except FileNotFoundError:
        return {}
    return holder if holder and holder.get("ci") else {}


def wish(app: str, directory: str = DIRECTORY) -> str:
    return f"{directory}/app-{app}.broken-by"


class Breaking:
    """Asks the run of another operator to end; called while that holds the lock.

    anyway: also one that is at work or hears its operator, by --break-lock. It ends the step that it is in, and after
    the switch it finishes; nothing is killed.
    """

    def __init__(self, who: str, emit: "Callable[[Event], None]", *, anyway: bool) -> None:
        self.who, self.emit, self.anyway = who, emit, anyway
        self.directory = DIRECTORY
        self.asked: set[int] = set()

    def __call__(self, holder: Holder) -> bool:
        """Whether this holder was asked to end just now."""
        if holder.get("ci") or "silent" not in holder or holder["pid"] in self.asked:
            return False  # another one's business; or an older kit's agent, which does not know how to end
        if not (self.anyway or holder["silent"]):
            return False
        self.asked.add(holder["pid"])
        how = "with --break-lock" if self.anyway else "because nothing was heard from this run's operator"
        with open(wish(holder["app"], self.directory), "w", encoding="utf-8") as file:
            json.dump({"pid": holder["pid"], "why": f"{self.who} took the lock {how}"}, file)
        self.emit({"event": "waiting", "holder": f"{described(holder)}; it was asked to stop and undo"})
        with suppress(ProcessLookupError):  # it has ended by itself
            os.kill(holder["pid"], LOCK_BROKEN)
        return True


def broken_by(app: str, directory: str = DIRECTORY) -> str:
    """Why this process must end, as text."""
    try:
        with open(wish(app, directory), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        found = {}
    return str(found["why"]) if found.get("pid") == os.getpid() else "another operator took the lock"


class Overrule:
    """Ends the run of a CI key that holds the app's lock; called until the lock is free."""

    def __init__(self, app: str, emit: "Callable[[Event], None]", number: int = TAKEN_OVER) -> None:
        self.app, self.emit, self.number = app, emit, number
        self.asked: dict[int, float] = {}

    def __call__(self, holder: Holder) -> bool:
        """Whether this holder is one that ends for an operator, and may still do so; then some time has passed."""
        if not holder.get("ci"):
            return False
        pid = int(holder["pid"])
        unit = unit_of(pid)
        if pid not in self.asked:
            self.asked[pid] = time.monotonic()
            self.emit({"event": "waiting", "holder": f"{described(holder)}; it is being stopped: operators come first"})
            if unit:
                with suppress(ProcessLookupError):  # it has ended by itself
                    os.kill(pid, self.number)
        waited = time.monotonic() - self.asked[pid]
        if waited > 2 * PATIENCE_SECONDS:
            return False
        if unit and waited > PATIENCE_SECONDS:
            for verb in (["kill", "--signal=KILL", unit], ["stop", f"{self.app}-build.service"]):
                subprocess.run(["systemctl", *verb], capture_output=True, env=ENVIRONMENT)
        time.sleep(LOOK_SECONDS)
        return True
