"""Who is at work: a lock for the host and one for each app on it. A lock is an flock: it dies with its owner."""

import fcntl
import json
import os
import time
from collections.abc import Callable
from typing import Any, TextIO

from .wire import Cancelled, Refused

DIRECTORY = "/run/ashore"
HOST = "host"
LOOK_SECONDS = 0.1
SOMEBODY = "somebody else is at work on this server"


class Locks:
    """What this agent holds: the app's lock, and a share of the host's; provisioning shares the host with nobody."""

    def __init__(self, directory: str = DIRECTORY) -> None:
        self.directory = directory
        self.held: list[TextIO] = []

    def take(self, app: str, holder: dict[str, Any], *, whole_host: bool, wait: Callable[[str], bool] | None) -> None:
        """Take both or neither; Refused names who holds one.

        wait: called with that text until the lock is free; it answers whether to give up. None: do not wait.
        """
        if self.held:
            return
        os.makedirs(self.directory, 0o700, exist_ok=True)  # who can open a lock can hold it
        for name, how in ((HOST, fcntl.LOCK_EX if whole_host else fcntl.LOCK_SH), (f"app-{app}", fcntl.LOCK_EX)):
            lock = self._open(name)
            self.held.append(lock)
            while not acquired(lock, how):
                busy = self.busy() or SOMEBODY
                if wait is None:
                    self.release()
                    raise Refused(busy, "wait for it to end, then run again; or run with --wait")
                if wait(busy):
                    self.release()
                    raise Cancelled("stopped by the operator while waiting")
                time.sleep(LOOK_SECONDS)
            if how == fcntl.LOCK_EX:
                lock.seek(0)
                lock.truncate()
                lock.write(json.dumps({**holder, "app": app, "since": int(time.time())}))
                lock.flush()

    def release(self) -> None:
        for lock in self.held:
            lock.close()
        self.held = []

    def _open(self, name: str) -> TextIO:
        path = f"{self.directory}/{name}.lock"
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8")

    def busy(self, app: str = "") -> str:
        """Who is at work, on one app or any, by the locks that somebody holds alone; "" where nobody is."""
        found = []
        for name in sorted(os.listdir(self.directory)) if os.path.isdir(self.directory) else []:
            if name.endswith(".lock") and (not app or name == f"app-{app}.lock"):
                with open(f"{self.directory}/{name}", encoding="utf-8") as lock:
                    if held_alone(os.fstat(lock.fileno())):
                        found.append(described(lock.read()))
        return "\n".join(dict.fromkeys(found))


def held_alone(info: os.stat_result) -> bool:
    """By the kernel's own list: trying to take it would be in the way of somebody who does take it just now."""
    wanted = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}:{info.st_ino}"
    with open("/proc/locks", encoding="ascii") as table:
        rows = [row.split() for row in table]
    return any(row[1] == "FLOCK" and row[3] == "WRITE" and row[5] == wanted for row in rows)


def acquired(lock: TextIO, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def described(holder: str) -> str:
    try:
        held = json.loads(holder)
        since = time.strftime("%H:%M:%S UTC", time.gmtime(held["since"]))
        return f"{held['who']} is at work on {held['app']}: `{held['verb']}`, since {since}"
    except (ValueError, KeyError):
        return SOMEBODY
