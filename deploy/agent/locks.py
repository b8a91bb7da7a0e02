"""Locks: one for each app, one for provisioning, and short ones for what apps share.

A lock is an flock: it ends with its owner.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from .wire import Failed, Refused, Stopped

DIRECTORY = "/run/ashore"
HOST = "host"
LOOK_SECONDS = 0.1
SHARED_SECONDS = 60  # a step that changes what apps share takes a second or two
WRITE_SECONDS = 2  # a holder writes who it is right after it has taken a lock
SOMEBODY = "another run is in progress on this server"
Holder = dict[str, Any]


class Locks:
    """What this agent holds: its app's lock; and the host's, which only one provision at a time has."""

    def __init__(self, directory: str = DIRECTORY) -> None:
        self.directory = directory
        self.held: list[TextIO] = []
        self.holder: Holder = {}  # as others read it

    def take(
        self,
        app: str,
        holder: Holder,
        *,
        whole_host: bool,
        wait: Callable[[str], bool] | None,
        outrank: Callable[[Holder], bool] = lambda holder: False,
    ) -> None:
        """Take all of them or none; Refused names who holds one.

        wait: called with that text until the lock is free; it answers whether to give up. None: do not wait.
        outrank: given who holds it, has them end where they may be made to; whether that was so.
        """
        if self.held:
            return
        for name in ((HOST,) if whole_host else ()) + (f"app-{app}",):
            lock = self._open(name)
            self.held.append(lock)
            seen = time.monotonic()
            while not acquired(lock):
                found = holder_of(lock)
                if found is None and time.monotonic() < seen + WRITE_SECONDS:
                    time.sleep(LOOK_SECONDS / 20)  # it was released just now, and somebody else may have been faster
                    continue
                found, seen = found or {}, time.monotonic()
                if outrank(found):
                    continue
                busy = described(found)
                if wait is None:
                    self.release()
                    raise Refused(busy, f"run again when it has ended, or run with --wait{breaking(found)}")
                if wait(busy):
                    self.release()
                    raise Stopped(" while waiting")
                time.sleep(LOOK_SECONDS)
            self.holder = {**holder, "app": app, "since": int(time.time()), "pid": os.getpid(), "silent": 0}
            write_holder(lock, self.holder)

    def release(self) -> None:
        for lock in self.held:
            fcntl.flock(lock, fcntl.LOCK_UN)  # also for a process of ours that has it open, too
            lock.close()
        self.held, self.holder = [], {}

    def tell_silence(self, silent: bool) -> None:
        """Record for others whether our operator is silent."""
        if self.held and silent != bool(self.holder["silent"]):
            self.holder["silent"] = int(time.time()) if silent else 0
            for lock in self.held:
                write_holder(lock, self.holder)

    @contextmanager
    def alone(self, name: str, stop: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the short lock of something that apps share, as the proxy's configuration, for one step.

        stop: called while it waits; raises to give up.
        """
        with self._open(f"shared-{name}") as lock:
            deadline = time.monotonic() + SHARED_SECONDS
            while not acquired(lock):
                stop()
                if time.monotonic() > deadline:
                    what = f"another run has been changing {name} on this server for {SHARED_SECONDS} s"
                    raise Failed(what, "find out what hangs there (`ps -ef`), then run the same command again")
                time.sleep(LOOK_SECONDS / 5)
            yield

    def _open(self, name: str) -> TextIO:
        os.makedirs(self.directory, 0o700, exist_ok=True)  # whoever can open a lock can hold it
        path = f"{self.directory}/{name}.lock"
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8")

    def busy(self, app: str = "") -> str:
        """The holders of the locks of one app, or of all, as text; "" if there are none."""
        found = []
        for name in sorted(os.listdir(self.directory)) if os.path.isdir(self.directory) else []:
            wanted = name == f"app-{app}.lock" if app else name.endswith(".lock") and not name.startswith("shared-")
            if wanted:
                with open(f"{self.directory}/{name}", encoding="utf-8") as lock:
                    held = holder_of(lock)
                    if held is not None:
                        found.append(described(held))
        return "\n".join(dict.fromkeys(found))


def owner(info: os.stat_result) -> int | None:
    """Process ID of the holder of a lock, None without one; 0 if the kernel cannot show it here.

    From the kernel's list: trying to take the lock could disturb another process that takes it now.
    """
    wanted = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}:{info.st_ino}"
    with open("/proc/locks", encoding="ascii") as table:
        rows = [row.split() for row in table]
    found = [int(row[4]) for row in rows if row[1] == "FLOCK" and row[3] == "WRITE" and row[5] == wanted]
    return max(0, found[0]) if found else None


def holder_of(lock: TextIO) -> Holder | None:
    """What the owner of a lock wrote into it: verb, who, app, since, pid, silent; None where nobody holds it.

    Between taking a lock and writing it down, the file says nothing, or who had it before; that is waited for. {} where
    it stays so.
    """
    deadline = time.monotonic() + WRITE_SECONDS
    while (pid := owner(os.fstat(lock.fileno()))) is not None:
        found = read_holder(lock)
        if found and pid in (0, found.get("pid")):
            return found
        if time.monotonic() > deadline:
            return {}
        time.sleep(LOOK_SECONDS / 20)
    return None


def acquired(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_holder(lock: TextIO) -> Holder:
    """What the file says; {} while it is being written."""
    lock.seek(0)
    try:
        found = json.loads(lock.read())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def write_holder(lock: TextIO, holder: Holder) -> None:
    data = json.dumps(holder).encode()
    os.pwrite(lock.fileno(), data, 0)
    os.ftruncate(lock.fileno(), len(data))


def described(held: Holder) -> str:
    try:
        text = f"{held['who']} is running `{held['verb']}` on {held['app']} since {clock(held['since'])}"
        silent = held.get("silent")
        return f"{text}; it has heard nothing from its operator since {clock(silent)}" if silent else text
    except (KeyError, TypeError):
        return SOMEBODY


def breaking(held: Holder) -> str:
    """The end of the hint, if the holder can be ended by another operator."""
    if "silent" not in held or held.get("ci"):
        return ""
    return ", which also ends a run that has lost its operator; --break-lock makes any run stop and undo"


def clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S UTC", time.gmtime(seconds))
