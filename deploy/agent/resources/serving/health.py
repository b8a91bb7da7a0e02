"""Whether an instance answers over HTTP, on its own socket and through the proxy."""

import os
import threading
import time
from collections.abc import Callable

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Failed, Resource
from ..as_user import as_user
from ..files import not_found
from .front import Front
from .http import Answer, http_answer, http_status
from .reasons import hint_for, hint_logs, journal

QUICK_SECONDS = 3  # for a look; one that waits is a step of its own
WARM_ROUNDS, WARM_SECONDS = 3, 5  # bursts for each path, and how long one may take
MOST_WARM_SECONDS = 30  # for all of them
VISITOR = "www-data"  # the proxy's user, unless said otherwise
SETTLED_SECONDS = 3  # after this long with the same 3xx or 4xx, the wait ends


def as_visitor(ask: Callable[[], str], seconds: float, user: str = VISITOR) -> str:
    """The result of `ask`, in a process of `user`, the proxy's: root must not use a socket that an app has created.

    It is ended after `seconds` and a moment, even if an answer is still arriving.
    """
    if os.geteuid():
        return ask()
    import pwd

    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise not_found(f"the user {user}", user) from None
    groups = os.getgrouplist(user, account.pw_gid)
    return as_user(account.pw_uid, account.pw_gid, groups, ask, seconds + 1)


@dataclass(frozen=True)
class Healthy(Resource):
    """The instance answers GET `path` with 200 on its own socket, within `seconds` of being asked by `visitor`."""

    unit: str
    socket: str
    path: str
    host: str
    seconds: float
    visitor: str = VISITOR

    @property
    def title(self) -> str:
        return f"{self.unit.removesuffix('.service')}: answers GET {self.path}"

    @property
    def units(self) -> tuple[str, ...]:
        return (self.unit,)

    def check(self, system: System) -> list[Drift]:
        answer = as_visitor(self._quickly, QUICK_SECONDS, self.visitor)
        return [] if answer == "200" else [Drift("answer", answer, "200")]

    def apply(self, system: System) -> None:
        deadline = time.monotonic() + self.seconds
        last, since = Answer(""), 0.0
        while True:
            left = deadline - time.monotonic()
            answer = self._ask(system, max(left, 0.1))
            if answer.status == "200":
                return
            if answer.status != last.status:
                last, since = answer, time.monotonic()
            system.forget()
            found = system.unit(self.unit)
            if found.get("ActiveState") == "failed" or found.get("NRestarts", "0") != "0":
                self._fail(system, f"{self.unit} ended while it was starting")
            if answer.settled and time.monotonic() - since >= SETTLED_SECONDS:
                what = f"{self.unit} answers GET {self.path} with {answer.short}, not with 200"
                self._fail(system, what, settled_hint(answer, self.host))
            if left <= 0:
                late = f"within {self.seconds:g} s (last answer: {answer.short})"
                self._fail(system, f"{self.unit} did not answer GET {self.path} with 200 {late}")
            system.operator.progress(100 * (1 - left / self.seconds), f"last answer: {answer.short}")
            time.sleep(0.05)

    def _fail(self, system: System, what: str, hint: str = "") -> None:
        said = journal(self.unit, since=system.memory.started.get(self.unit, 0))
        if self.unit not in system.memory.started:
            hint = hint or "it was already running before this command; `fab restart` replaces its processes"
        raise Failed(what, f"{hint}\n{hint_logs(self.unit)}" if hint else hint_for(self.unit, said), said)

    def _quickly(self) -> str:
        return http_status(self.socket, self.host, self.path, QUICK_SECONDS)

    def _lines(self, seconds: float) -> str:
        return http_answer(self.socket, self.host, self.path, seconds).lines

    def _ask(self, system: System, seconds: float) -> Answer:
        """The answer, asked for in a thread: an app that takes long to import must not keep Ctrl-C waiting."""
        found: list[str] = []

        def ask() -> None:
            try:
                found.append(as_visitor(lambda: self._lines(seconds), seconds, self.visitor))
            except OSError as error:  # this machine cannot ask: no more processes or files
                found.append(error.strerror or "no answer")
            except Failed as error:
                found.append(error.what)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        while asking.is_alive():
            system.operator.stop_if_cancelled()
            asking.join(0.05)
        return Answer.of(found[0])


def settled_hint(answer: Answer, host: str) -> str:
    """Why an app may answer so, and what to do."""
    other = "set health_path in deploy.toml to a path that answers 200 without a login"
    if answer.status[0] == "3":
        return f"it redirects to {answer.location or 'another URL'}: {other}"
    if answer.status == "400":
        return f"does the app accept the host name {host} (Django: ALLOWED_HOSTS)? Or {other}"
    reasons = {"401": "it needs a login", "403": "the app refuses access", "404": "the app has no such path"}
    return f"{reasons.get(answer.status, 'the app refuses the request')}: {other}"


@dataclass(frozen=True)
class Warmed(Resource):
    """Every worker of the instance has answered GET `paths` before the first visitor.

    By then, templates are compiled and databases connected. The answers do not matter. current: the link to the serving
    release, which is already warm. burst: how many simultaneous requests reach each worker.
    """

    unit: str
    socket: str
    paths: tuple[str, ...]
    host: str
    burst: int
    current: str
    visitor: str = VISITOR

    @property
    def title(self) -> str:
        return f"{self.unit.removesuffix('.service')}: warmed up with GET {', '.join(self.paths)}"

    def check(self, system: System) -> list[Drift]:
        serves = os.path.realpath(f"{self.current}/http.sock") == os.path.realpath(self.socket)
        return [] if serves or self in system.memory.done else [Drift("workers", "cold", "warmed up")]

    def apply(self, system: System) -> None:
        ends = time.monotonic() + MOST_WARM_SECONDS
        for path in self.paths * WARM_ROUNDS:
            system.operator.stop_if_cancelled()
            began = time.monotonic()
            as_visitor(lambda path=path: self._burst(path), WARM_SECONDS, self.visitor)  # type: ignore[misc]
            if time.monotonic() - began >= WARM_SECONDS or time.monotonic() > ends:
                break  # this path is always slow
        system.memory.done.add(self)

    def _burst(self, path: str) -> str:
        asking = [
            threading.Thread(target=http_status, args=(self.socket, self.host, path, WARM_SECONDS), daemon=True)
            for _ in range(self.burst)
        ]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        return "asked"


@dataclass(frozen=True)
class Reachable(Resource):
    """The site answers GET `path` with 200 through the proxy, as visitors reach it.

    One answer is enough: right after a switch, a kept connection of the proxy may still lead to a dead release.
    """

    host: str
    path: str
    seconds: float
    port: int
    front: Front
    secure: bool = False

    @property
    def title(self) -> str:
        return f"{self.front.title}: answers GET {self.path} for {self.host}"

    def check(self, system: System) -> list[Drift]:
        if self in system.memory.done:
            return []
        answer = http_status(("127.0.0.1", self.port), self.host, self.path, self.seconds, self.secure)
        return [] if answer == "200" else [Drift(f"answer through {self.front.title}", answer, "200")]

    def apply(self, system: System) -> None:
        deadline = time.monotonic() + self.seconds
        answer = ""
        scheme = "https" if self.secure else "http"
        while time.monotonic() < deadline:
            drifts = self.check(system)
            if not drifts:
                system.memory.done.add(self)
                return
            answer = str(drifts[0].found)
            time.sleep(0.05)
        name, said = self.front.title, self.front.said()
        if not self.front.runs():
            hint = f"see the output of {name} above; `fab provision` repairs its config and starts it"
            raise Failed(f"{name} is not running, so nobody can reach {self.host}", hint, said)
        raise Failed(
            f"GET {scheme}://{self.host}{self.path} through {name} did not answer with 200 (last answer: {answer})",
            f"fab logs --{name.lower()}",
            said,
        )
