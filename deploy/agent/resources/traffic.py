"""What visitors get while a release takes over: asked for by ourselves, and read from Nginx's log."""

import os
import re
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import Any

from ..system import ENVIRONMENT, System
from ..wire import Drift, Failed, Resource
from .health import hint_logs, http_status, journal, namespace
from .services import children

PROBES_PER_SECOND = 20
PROBE_SECONDS = 10  # after so long it has failed
STATUS = re.compile(rb'" ([1-5]\d\d) ')
TAIL_BYTES = 256 << 10  # of the log, to know what was usual before: some 1,000 requests
LOOK_SECONDS = 0.25
BEFORE_SECONDS = 300  # of the journal, to know whether workers ended before, too


class Probe:
    """Asks the site for `path` through Nginx at a steady rate, each request in a thread: a slow one delays no other."""

    def __init__(self, host: str, path: str, port: int = 80) -> None:
        self.host, self.path, self.port = host, path, port
        self.requests = self.failed = 0
        self.slowest_seconds = 0.0
        self.first_failure = ""
        self._counting = threading.Lock()
        self._ended = threading.Event()
        self._open: list[threading.Thread] = []
        self._beat = threading.Thread(target=self._run, daemon=True)
        self._beat.start()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            due = max(due + 1 / PROBES_PER_SECOND, time.monotonic() - 1)  # a stopped clock is not made up for
            asking = threading.Thread(target=self._ask, daemon=True)
            self._open = [thread for thread in self._open if thread.is_alive()] + [asking]
            asking.start()

    def _ask(self) -> None:
        began = time.monotonic()
        answer = http_status(("127.0.0.1", self.port), self.host, self.path, PROBE_SECONDS)
        seconds = time.monotonic() - began
        with self._counting:
            self.requests += 1
            self.slowest_seconds = max(self.slowest_seconds, seconds)
            if answer != "200":
                self.failed += 1
                self.first_failure = self.first_failure or answer

    def end(self) -> dict[str, Any]:
        """{"requests", "failed", "slowest_ms", "first_failure"}, once all that were begun are answered."""
        self._ended.set()
        self._beat.join(1)
        for thread in self._open:
            thread.join(PROBE_SECONDS)
        slowest = round(1000 * self.slowest_seconds)
        found = {"requests": self.requests, "failed": self.failed, "slowest_ms": slowest}
        return found | {"first_failure": self.first_failure}


@dataclass(frozen=True)
class Probed(Resource):
    """The site is asked for `path` through Nginx from here on, to the end of the run; its end says what that found."""

    host: str
    path: str
    port: int = 80

    @property
    def title(self) -> str:
        return f"asking {self.host} for {self.path} through Nginx, {PROBES_PER_SECOND} times a second"

    def check(self, system: System) -> list[Drift]:
        return [] if system.probe else [Drift("probe", "none", "running")]

    def apply(self, system: System) -> None:
        system.probe = Probe(self.host, self.path, self.port)


@dataclass
class Counts:
    """Requests and their 5xx answers, and processes that were started anew, within `seconds`."""

    requests: int = 0
    errors: int = 0
    restarts: int = 0
    seconds: float = 1.0


def worse(before: Counts, after: Counts) -> str:
    """What is clearly worse than before, in words; "" where nothing is.

    Some errors are nobody's release: two always pass, and one in 200 requests, beside twice what was usual.
    """
    usual = before.errors / max(before.requests, 1)
    if after.errors > 2 + (0.005 + 2 * usual) * after.requests:
        was = f"before the switch {before.errors} of {before.requests}" if before.requests else "none known from before"
        return f"{after.errors} of {after.requests} requests were answered with 5xx ({was})"
    if after.restarts > 1 + 2 * before.restarts / before.seconds * after.seconds:
        return f"its processes were started anew {after.restarts} times within {after.seconds:.0f} s"
    return ""


class Log:
    """Nginx's access log of the site, from where it ends now; a rotated one is read from its start."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.inode, self.offset = self._end()

    def _end(self) -> tuple[int, int]:
        try:
            info = os.stat(self.path)
        except FileNotFoundError:
            return 0, 0
        return info.st_ino, info.st_size

    def before(self) -> Counts:
        """What was usual: the last requests before this one was made."""
        return self._count(max(0, self.offset - TAIL_BYTES), self.offset)

    def since(self) -> Counts:
        """Requests that came after the last call of this."""
        inode, size = self._end()
        start = self.offset if inode == self.inode and size >= self.offset else 0
        self.inode, self.offset = inode, size
        return self._count(start, size)

    def _count(self, start: int, end: int) -> Counts:
        if start >= end:
            return Counts()
        with open(self.path, "rb") as file:
            file.seek(start)
            statuses = STATUS.findall(file.read(end - start))
        return Counts(len(statuses), sum(status >= b"500" for status in statuses))


def restarts(unit: str, workers: int) -> int:
    """How many worker processes Gunicorn started anew in the last BEFORE_SECONDS, by what it wrote to the journal."""
    argv = [
        "journalctl",
        *namespace(unit),
        "-u",
        unit,
        "--since",
        f"-{BEFORE_SECONDS}s",
        "-o",
        "cat",
        "--no-pager",
        "-q",
    ]
    written = subprocess.run(argv, capture_output=True, env=ENVIRONMENT).stdout
    first = workers * written.count(b"Starting gunicorn")
    return max(0, written.count(b"Booting worker with pid") - first)


@dataclass(frozen=True)
class Watched(Resource):
    """For some seconds after the switch the site does no worse than before it: 5xx answers, processes that end.

    Meant for the step after the switch: its failure undoes that. previous: the unit that served until then.
    """

    unit: str
    previous: str
    log: str
    seconds: int

    @property
    def title(self) -> str:
        return f"watching for {self.seconds} s that nothing is worse than before"

    @property
    def units(self) -> tuple[str, ...]:
        return (self.unit, self.previous)

    def check(self, system: System) -> list[Drift]:
        return [] if self in system.done else [Drift("watch", "to come", f"{self.seconds} s")]

    def apply(self, system: System) -> None:
        log = Log(self.log)
        before, after = log.before(), Counts()
        before.seconds = BEFORE_SECONDS
        before.restarts = restarts(self.previous, len(children(system.unit(self.previous).get("MainPID", ""))))
        began = time.monotonic()
        probe_failures = system.probe.failed if system.probe else 0
        seen: set[str] = set()
        main = ""
        while (passed := time.monotonic() - began) < self.seconds:
            system.stop_if_cancelled()
            more = log.since()
            after.requests, after.errors = after.requests + more.requests, after.errors + more.errors
            after.seconds = max(passed, 1.0)
            system.forget()
            found = system.unit(self.unit)
            if found.get("ActiveState") not in ("active", "reloading"):
                self._fail(f"{self.unit} is {found.get('ActiveState', 'gone')}")
            after.restarts += len(children(found["MainPID"]) - seen) if main == found["MainPID"] else bool(main)
            main, seen = found["MainPID"], seen | children(found["MainPID"])
            failures = system.probe.failed - probe_failures if system.probe else 0
            if failures > 2:
                self._fail(f"{failures} of our own requests failed (the first: {system.probe.first_failure})")
            if what := worse(before, after):
                self._fail(what)
            system.progress(100 * passed / self.seconds, f"{after.errors} of {after.requests} requests got 5xx")
            time.sleep(LOOK_SECONDS)
        system.done.add(self)

    def _fail(self, what: str) -> None:
        raise Failed(f"after the switch {what}", hint_logs(self.unit), journal(self.unit))
