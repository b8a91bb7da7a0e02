"""Who is at work: a lock for each app, one for provisioning, and short ones for what apps share.

A lock is an flock: it dies with its owner.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from .wire import BY_US, Cancelled, Failed, Refused

DIRECTORY = "/run/ashore"
HOST = "host"
LOOK_SECONDS = 0.1
SHARED_SECONDS = 60  # a step that changes what apps share takes a second or two
SOMEBODY = "somebody else is at work on this server"
Holder = dict[str, Any]


class Locks:
    """What this agent holds: its app's lock; and the host's, which only one provision at a time has."""

    def __init__(self, directory: str = DIRECTORY) -> None:
        self.directory = directory
        self.held: list[TextIO] = []

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
            while not acquired(lock):
                if outrank(read_holder(lock)):
                    continue
                busy = self.busy() or SOMEBODY
                if wait is None:
                    self.release()
                    raise Refused(busy, "wait for it to end, then run again; or run with --wait")
                if wait(busy):
                    self.release()
                    raise Cancelled(f"{BY_US} while waiting")
                time.sleep(LOOK_SECONDS)
            lock.seek(0)
            lock.truncate()
            lock.write(json.dumps({**holder, "app": app, "since": int(time.time()), "pid": os.getpid()}))
            lock.flush()

    def release(self) -> None:
        for lock in self.held:
            lock.close()
        self.held = []

    @contextmanager
    def alone(self, name: str, stop: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold the short lock of something that apps share, as Nginx's configuration, for one step.

        stop: called while it waits; raises to give up.
        """
        with self._open(f"shared-{name}") as lock:
            deadline = time.monotonic() + SHARED_SECONDS
            while not acquired(lock):
                stop()
                if time.monotonic() > deadline:
                    what = f"another run has been changing {name} on this server for {SHARED_SECONDS} s"
                    raise Failed(what, "look at what hangs there (`ps -ef`), then run the same command again")
                time.sleep(LOOK_SECONDS / 5)
            yield

    def _open(self, name: str) -> TextIO:
        os.makedirs(self.directory, 0o700, exist_ok=True)  # if one can open a lock, one can hold it
        path = f"{self.directory}/{name}.lock"
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8")

    def busy(self, app: str = "") -> str:
        """Who is at work, on one app or any, by the locks that somebody holds; "" where nobody is."""
        found = []
        for name in sorted(os.listdir(self.directory)) if os.path.isdir(self.directory) else []:
            wanted = name == f"app-{app}.lock" if app else name.endswith(".lock") and not name.startswith("shared-")
            if wanted:
                with open(f"{self.directory}/{name}", encoding="utf-8") as lock:
                    if held_alone(os.fstat(lock.fileno())):
                        found.append(described(read_holder(lock)))
        return "\n".join(dict.fromkeys(found))


def held_alone(info: os.stat_result) -> bool:
    """By the kernel's own list: trying to take it would be in the way of somebody who does take it just now."""
    wanted = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}:{info.st_ino}"
    with open("/proc/locks", encoding="ascii") as table:
        rows = [row.split() for row in table]
    return any(row[1] == "FLOCK" and row[3] == "WRITE" and row[5] == wanted for row in rows)


def acquired(lock: TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_holder(lock: TextIO) -> Holder:
    """What the owner of a lock wrote into it: verb, who, app, since, pid; {} in the moment before."""
    lock.seek(0)
    try:
        found = json.loads(lock.read())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def described(held: Holder) -> str:
    try:
        since = time.strftime("%H:%M:%S UTC", time.gmtime(held["since"]))
        return f"{held['who']} is at work on {held['app']}: `{held['verb']}`, since {since}"
    except (KeyError, TypeError):
        return SOMEBODY
