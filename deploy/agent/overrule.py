"""Operators come before CI keys: what a key has at work on an app ends, and what it had changed is undone."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .locks import DIRECTORY, Holder, described, held_alone, read_holder
from .system import ENVIRONMENT

TAKEN_OVER, KEYS_CHANGED = signal.SIGUSR1, signal.SIGUSR2  # what the server's side of a CI key is told, see ci.server
PATIENCE_SECONDS = 15  # for its undo; then it is killed, which leaves the old release or the new one serving
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
            holder = read_holder(lock) if held_alone(os.fstat(lock.fileno())) else {}
    except FileNotFoundError:
        return {}
    return holder if holder.get("ci") else {}


class Overrule:
    """Has the run of a CI key end that holds the app's lock; called until it does not any more."""

    def __init__(self, app: str, emit: Callable[[dict[str, Any]], None], number: int = TAKEN_OVER) -> None:
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
            self.emit({"event": "waiting", "holder": f"{described(holder)}; it is stopped: operators come first"})
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
