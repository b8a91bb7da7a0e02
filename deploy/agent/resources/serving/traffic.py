"""What visitors get during a switch: from the proxy's log, and from the probe."""

import os
import re
import subprocess
import time
from datetime import datetime

from ...dataclass import dataclass, replace
from ...system import ENVIRONMENT, System
from ...wire import Drift, Failed, Resource, Value
from .front import Front, quoted
from .probe import KEPT_SECONDS
from .reasons import hint_logs, namespace
from .services import children

TAIL_BYTES = 256 << 10  # of the log, to know what was usual before: some 1,000 requests
LOOK_SECONDS = 0.25
BEFORE_SECONDS = 300  # of the journal, to know whether workers ended before, too


@dataclass
class Counts:
    """Requests, their 5xx responses, and restarted processes, within `seconds`."""

    requests: int = 0
    errors: int = 0
    restarts: int = 0
    seconds: float = 1.0


def worse(before: Counts, after: Counts) -> str:
    """What is clearly worse than before, as text; "" if nothing is.

    Some errors are normal: two, plus one in 200 requests, plus twice the usual rate.
    """
    usual = before.errors / max(before.requests, 1)
    if after.errors > 2 + (0.005 + 2 * usual) * after.requests:
        was = (
            f"before the switch: {before.errors} of {before.requests}"
            if before.requests
            else "no requests before the switch"
        )
        return f"{after.errors} of {after.requests} requests got a 5xx response ({was})"
    if after.restarts > 1 + 2 * before.restarts / before.seconds * after.seconds:
        return f"its processes were restarted {after.restarts} times within {after.seconds:.0f} s"
    return ""


def usual(before: Counts, outage: bool) -> Counts:
    """What visitors got before, as far as that is to be expected: of an outage, no more than one error in ten is."""
    most = before.requests // 10 if outage else before.errors
    return replace(before, errors=min(before.errors, most))


class Log:
    """The proxy's access log of the site, from where it ends now; a rotated one is read from its start.

    line: a regular expression for one line, with three groups: ISO 8601 time, status, seconds that it took.
    """

    def __init__(self, path: str, line: str) -> None:
        self.path, self.line = path, re.compile(line.encode(), re.M)
        self.inode, self.offset = self._end()

    def _end(self) -> tuple[int, int]:
        try:
            info = os.stat(self.path)
        except FileNotFoundError:
            return 0, 0
        return info.st_ino, info.st_size

    def before(self) -> Counts:
        """What was usual: the last requests before this one was made."""
        return self._count(max(0, self.offset - TAIL_BYTES), self.offset, 0.0)

    def since(self, moment: float) -> Counts:
        """Requests that were logged after the last call of this, and begun after a moment, in seconds since 1970."""
        inode, size = self._end()
        start = self.offset if inode == self.inode and size >= self.offset else 0
        found = self._count(start, size, moment)
        self.inode = inode
        return found

    def _count(self, start: int, end: int, moment: float) -> Counts:
        """Of the whole lines there. The log has whole seconds: who may have begun before the moment is left out."""
        if start >= end:
            return Counts()
        try:
            with open(self.path, "rb") as file:
                file.seek(start)
                text = file.read(end - start)
        except FileNotFoundError:  # it is being rotated just now
            return Counts()
        self.offset = start + text.rfind(b"\n") + 1
        lines = self.line.findall(text)
        times = {when: datetime.fromisoformat(when.decode()).timestamp() for when in {line[0] for line in lines}}
        statuses = [status for when, status, seconds in lines if times[when] - float(seconds) >= moment]
        return Counts(len(statuses), sum(status >= b"500" for status in statuses))


@dataclass(frozen=True)
class Restarts(Value):
    """What a runner logs when it starts, and for each process that it starts."""

    starts: str
    process: str


def restarts(unit: str, workers: int, told: Restarts) -> int:
    """How many processes a runner restarted in the last BEFORE_SECONDS, by its journal."""
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
    first = workers * written.count(told.starts.encode())
    return max(0, written.count(told.process.encode()) - first)


class Beside(Value):
    """What runs beside a release's web server, to be watched with it."""

    def look(self) -> None:
        """Failed, if it has ended with an error."""
        raise NotImplementedError


@dataclass(frozen=True)
class Watched(Resource):
    """For some seconds after the switch the site does no worse than before it: 5xx answers, processes that end.

    Meant for the step after the switch: its failure undoes that. previous: the unit that served until then. current:
    the link that was switched. line, told: see `Log` and `Restarts`. What was asked before that is not the new
    release's: a visitor of one that hangs gets a 504 long after the switch. alone: its main process is its only one, so
    that processes below it are the app's own. beside: what else is to keep running.
    """

    unit: str
    previous: str
    log: str
    seconds: int
    current: str
    line: str
    told: Restarts
    front: Front
    alone: bool = False
    beside: tuple[Beside, ...] = ()

    @property
    def title(self) -> str:
        return f"new release: watched for errors for {self.seconds} s"

    @property
    def units(self) -> tuple[str, ...]:
        return (self.unit, self.previous)

    def check(self, system: System) -> list[Drift]:
        return [] if self in system.memory.done else [Drift("watch", "not done", f"{self.seconds} s")]

    def apply(self, system: System) -> None:
        log = Log(self.log, self.line)
        before, after = usual(log.before(), bool(system.memory.silent)), Counts()
        before.seconds = BEFORE_SECONDS
        before.restarts = restarts(
            self.previous, len(children(system.unit(self.previous).get("MainPID", ""))), self.told
        )
        began = time.monotonic()
        # Where the release before was dead, its connections are not counted either; else they do well.
        grace = KEPT_SECONDS if system.memory.silent else 0.0
        switched = os.lstat(self.current).st_ctime + grace  # of the clock that the proxy logs by
        seen: set[str] = set()
        main = ""
        while (passed := time.monotonic() - began) < self.seconds:
            system.operator.stop_if_cancelled()
            more = log.since(switched)
            after.requests, after.errors = after.requests + more.requests, after.errors + more.errors
            after.seconds = max(passed, 1.0)
            system.forget()
            found = system.unit(self.unit)
            if found.get("ActiveState") not in ("active", "reloading"):
                self._fail(f"{self.unit} is {found.get('ActiveState', 'gone')}")
            below = set() if self.alone else children(found["MainPID"])
            after.restarts += len(below - seen) if main == found["MainPID"] else bool(main)
            main, seen = found["MainPID"], seen | below
            for other in self.beside:
                other.look()
            failures = system.memory.probe.failures(began) if system.memory.probe else []
            if len(failures) > 2:
                self._fail(f"{len(failures)} probe requests failed (the first: {failures[0]})")
            if what := worse(before, after):
                self._fail(what)
            system.operator.progress(
                100 * passed / self.seconds, f"{after.errors} of {after.requests} requests got a 5xx response"
            )
            time.sleep(LOOK_SECONDS)
        system.memory.done.add(self)

    def _fail(self, what: str) -> None:
        raise Failed(f"after the switch, {what}", hint_logs(self.unit), quoted(self.unit, self.front))
