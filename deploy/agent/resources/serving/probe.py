"""The probe: our own requests to the site during a switch, on new connections and on a kept one."""

import os
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Resource
from ..files import link_target
from .http import NOT_ASKED, OURS, connected, http_status, in_the_way, tls

if TYPE_CHECKING:
    from http.client import HTTPConnection

PROBES_PER_SECOND = 20
PROBE_SECONDS = 10  # after so long it has failed
# So long a connection that the proxy keeps may lead to the release that served before: for as long as its sites'
# template says, and a second for a busy machine.
KEPT_SECONDS = 3.0
IDLE_SECONDS = 1.8  # a reload of the proxy announces the end of connections that are used within two seconds


class Kept:
    """A connection that is kept, as browsers and API clients keep theirs: one request after the other.

    Judged as a POST is, which no client repeats: a connection that ends in place of an answer is a failure, unless the
    answer before had announced that ("Connection: close"). One that ended while we were kept from asking, on a busy
    machine, is made anew, as clients do that look before they send.
    """

    def __init__(self, host: str, path: str, port: int, secure: bool = False) -> None:
        self.host, self.path, self.port, self.secure = host, path, port, secure
        self.connection: HTTPConnection | None = None
        self.answered = 0.0  # when the last answer came

    def ask(self) -> str:
        """The status code, or why there is none."""
        from http.client import HTTPException

        if time.monotonic() - self.answered > IDLE_SECONDS and self._ended():
            self.close()
        try:
            connection = self.connection = self.connection or self._connected()
            connection.request("GET", self.path, headers={"Host": self.host, "User-Agent": "ashore-health"})
            answer = connection.getresponse()
            answer.read()
        except (OSError, HTTPException) as error:
            self.close()
            if isinstance(error, OSError) and error.errno in OURS:
                return in_the_way(error)
            late = isinstance(error, TimeoutError)
            return "timed out" if late else f"a kept connection failed: {getattr(error, 'strerror', '') or error}"
        if connection.sock is None:  # closed by the answer's own word
            self.connection = None
        self.answered = time.monotonic()
        return str(answer.status)

    def _ended(self) -> bool:
        """Whether the other side has closed the connection."""
        import select

        sock = self.connection.sock if self.connection else None
        return sock is not None and bool(select.select([sock], [], [], 0)[0])

    def _connected(self) -> "HTTPConnection":
        from http.client import HTTPConnection

        address = ("127.0.0.1", self.port)
        made = HTTPConnection(*address, timeout=PROBE_SECONDS)
        made.sock = tls(address, self.host, PROBE_SECONDS) if self.secure else connected(address, PROBE_SECONDS)
        return made

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Probe:
    """Asks the site for `path` through the proxy at a steady rate, each time in a thread: a slow one delays no other.

    What this process could not ask, since it has no file or memory left, says nothing of the site and is not counted.
    Every second request is for the kept connection; while that one is busy, it is made on a fresh one, too.
    excused: whether a request that is begun now may come to a release that cannot answer it; see `may_meet`. Such are
    not counted: they say nothing of what comes after.
    """

    def __init__(
        self, host: str, path: str, port: int = 80, excused: Callable[[], bool] = lambda: False, secure: bool = False
    ) -> None:
        self.host, self.path, self.port, self.excused, self.secure = host, path, port, excused, secure
        self.requests = 0
        self.slowest_seconds = 0.0
        self.failed: list[tuple[float, str]] = []  # when each was begun, and what came instead of an answer
        self._kept = Kept(host, path, port, secure)
        self._asking_kept = threading.Lock()
        self._counting = threading.Lock()
        self._ended = threading.Event()
        self._open: list[threading.Thread] = []
        self._beat = threading.Thread(target=self._run, daemon=True)
        self._beat.start()

    def _run(self) -> None:
        due = time.monotonic()
        on_kept = False
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            due = max(due + 1 / PROBES_PER_SECOND, time.monotonic() - 1)  # missed requests are not made up for
            asking = threading.Thread(target=self._ask, args=(on_kept,), daemon=True)
            on_kept = not on_kept
            self._open = [thread for thread in self._open if thread.is_alive()]
            with suppress(RuntimeError):  # no more threads: not a failure of the site
                asking.start()
                self._open.append(asking)

    def _ask(self, on_kept: bool) -> None:
        began, excused = time.monotonic(), self.excused()
        if on_kept and self._asking_kept.acquire(blocking=False):
            try:
                answer = self._kept.ask()
            finally:
                self._asking_kept.release()
        else:
            answer = http_status(("127.0.0.1", self.port), self.host, self.path, PROBE_SECONDS, self.secure)
        seconds = time.monotonic() - began
        if excused or answer.startswith(NOT_ASKED):
            return
        with self._counting:
            self.requests += 1
            self.slowest_seconds = max(self.slowest_seconds, seconds)
            if answer != "200":
                self.failed.append((began, answer))

    def failures(self, since: float = 0.0) -> list[str]:
        """What came instead of an answer to those begun after a moment of the monotonic clock, oldest first."""
        with self._counting:
            return [answer for began, answer in sorted(self.failed) if began >= since]

    def end(self) -> dict[str, Any]:
        """{"requests", "failed", "slowest_ms", "first_failure"}, once all that were begun are answered or have failed.

        What drips its answer without end is not waited for.
        """
        self._ended.set()
        deadline = time.monotonic() + PROBE_SECONDS + 1
        for thread in (self._beat, *self._open):
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._asking_kept.acquire(blocking=False):  # closing a connection waits for whoever reads from it
            self._kept.close()
        slowest = round(1000 * self.slowest_seconds)
        failures = self.failures()
        found = {"requests": self.requests, "failed": len(failures), "slowest_ms": slowest}
        return found | {"first_failure": failures[0] if failures else ""}


def may_meet(current: str, releases: Collection[str], now: float) -> bool:
    """Whether a visitor may meet one of some releases: it has the traffic, or had it a moment ago.

    current: the link to the one that has it. now: in seconds since 1970. When the switch was is what the link's own
    time says: no request of ours need have been made before it.
    """
    if not releases:
        return False
    try:
        return link_target(current) in releases or now - os.lstat(current).st_ctime < KEPT_SECONDS
    except FileNotFoundError:
        return False


@dataclass(frozen=True)
class Probed(Resource):
    """The site is asked for `path` through the proxy from here on, to the end of the run; its end says what that found.

    unaware: the release before, where it has another health check and so may not know the path.
    """

    host: str
    path: str
    port: int = 80
    current: str = ""  # the link that says which release has the traffic
    unaware: str = ""
    through: str = ""  # the proxy, for people
    secure: bool = False

    @property
    def title(self) -> str:
        return f"probe of {self.host}{self.path} through {self.through}: {PROBES_PER_SECOND} requests per second"

    def check(self, system: System) -> list[Drift]:
        return [] if system.memory.probe else [Drift("probe", "none", "running")]

    def apply(self, system: System) -> None:
        unable = {*system.memory.silent, *([self.unaware] if self.unaware else [])}
        system.memory.probe = Probe(
            self.host, self.path, self.port, lambda: may_meet(self.current, unable, time.time()), self.secure
        )
