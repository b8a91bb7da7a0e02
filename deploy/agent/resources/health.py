"""Whether what a unit runs answers over HTTP; and where it does not, what its journal says of why."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..system import ENVIRONMENT, System
from ..wire import Drift, Failed, Resource

if TYPE_CHECKING:
    import ssl

QUICK_SECONDS = 1  # for a look; one that waits is a step of its own
WARM_ROUNDS, WARM_SECONDS = 3, 5  # bursts for each path, and how long one may take
MOST_WARM_SECONDS = 30  # for all of them
VISITOR = "www-data"  # Nginx's user


def journal(unit: str, lines: int = 200) -> str:
    """What the unit wrote last, as far as it tells why it ended: see `telling`."""
    argv = ["journalctl", *namespace(unit), "-u", unit, "-n", str(lines), "-o", "cat", "--no-pager", "-q"]
    return telling(subprocess.run(argv, capture_output=True, env=ENVIRONMENT).stdout.decode(errors="replace").strip())


def namespace(unit: str) -> list[str]:
    """The option of journalctl for a unit: an app's lines are in a journal of its own, systemd's about it are not."""
    app, at, _ = unit.partition("@")
    return [f"--namespace=+{app}"] if at else []


def telling(text: str) -> str:
    """Of a journal's end, the last traceback that has frames of the app, those only; else 25 lines without frames.

    What Gunicorn says in passing ([INFO]) is in the log, not here.
    """
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    for start in reversed(starts):
        kept, mine = [lines[start]], False
        for line in lines[start + 1 :]:
            if not line.startswith(" "):
                kept.append(line)
                break
            if line.startswith("  File "):
                mine = "/releases/" in line and "/source/" in line
            if mine:
                kept.append(line)
        if len(kept) > 2:
            return "\n".join(kept)
    return "\n".join([line for line in lines if not line.startswith("  ") and "] [INFO] " not in line][-25:])


def as_visitor(ask: Callable[[], str], seconds: float) -> str:
    """What `ask` answers, in a process of Nginx's user: root has no business at a socket that an app has made.

    It has `seconds`, and a moment: what drips its answer is not waited for.
    """
    if os.geteuid():
        return ask()
    import pwd

    account = pwd.getpwnam(VISITOR)
    groups = os.getgrouplist(VISITOR, account.pw_gid)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(groups)
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            signal.setitimer(signal.ITIMER_REAL, seconds + 1)  # which ends this process
            os.write(writing, ask().encode()[:1000])
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8", errors="replace") as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    return text or "no answer"


def http_status(address: str | tuple[str, int], host: str, path: str, seconds: float) -> str:
    """The status code of GET, from a unix socket's path or (host, port); or what was in the way.

    On port 443 over TLS, whatever certificate is shown.
    """
    # As Nginx asks: an app that sends http visitors to https must not see its own health check as one of them.
    request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: ashore-health\r\nX-Forwarded-Proto: https\r\n\r\n"
    try:
        with tls(address, host, seconds) if address[1] == 443 else connected(address, seconds) as connection:
            connection.sendall(request.encode())
            line = connection.makefile("rb").readline(1000).decode("latin-1").split()
    except OSError as error:
        return error.strerror or str(error) or "no answer"
    return line[1] if len(line) > 1 and line[0].startswith("HTTP/") else "no HTTP answer"


def connected(address: str | tuple[str, int], seconds: float) -> socket.socket:
    if not isinstance(address, str):
        return socket.create_connection(address, seconds)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(seconds)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def tls(address: str | tuple[str, int], host: str, seconds: float) -> "ssl.SSLSocket":
    """A connection over TLS, the certificate taken as it is: what is asked for is whether it answers."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = connected(address, seconds)
    try:
        return context.wrap_socket(connection, server_hostname=host)
    except OSError:
        connection.close()
        raise


@dataclass(frozen=True)
class Healthy(Resource):
    """The instance answers GET `path` with 200 on its own socket, within `seconds` of being asked."""

    unit: str
    socket: str
    path: str
    host: str
    seconds: float

    @property
    def title(self) -> str:
        return f"{self.unit.removesuffix('.service')} answers GET {self.path}"

    @property
    def units(self) -> tuple[str, ...]:
        return (self.unit,)

    def check(self, system: System) -> list[Drift]:
        answer = as_visitor(lambda: http_status(self.socket, self.host, self.path, QUICK_SECONDS), QUICK_SECONDS)
        return [] if answer == "200" else [Drift("answer", answer, "200")]

    def apply(self, system: System) -> None:
        deadline = time.monotonic() + self.seconds
        while True:
            left = deadline - time.monotonic()
            answer = self._ask(system, max(left, 0.1))
            if answer == "200":
                return
            system.forget()
            found = system.unit(self.unit)
            if found.get("ActiveState") == "failed" or found.get("NRestarts", "0") != "0":
                raise Failed(f"{self.unit} ended while starting", hint_logs(self.unit), journal(self.unit))
            if left <= 0:
                late = f"within {self.seconds:g} s (last answer: {answer})"
                raise Failed(
                    f"{self.unit} did not answer GET {self.path} with 200 {late}",
                    hint_logs(self.unit),
                    journal(self.unit),
                )
            system.progress(100 * (1 - left / self.seconds), f"last answer: {answer}")
            time.sleep(0.05)

    def _ask(self, system: System, seconds: float) -> str:
        """The status, asked for in a thread: an app that takes long to import must not keep Ctrl-C waiting."""
        found: list[str] = []

        def ask() -> None:
            found.append(as_visitor(lambda: http_status(self.socket, self.host, self.path, seconds), seconds))

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        while asking.is_alive():
            system.stop_if_cancelled()
            asking.join(0.05)
        return found[0]


@dataclass(frozen=True)
class Warmed(Resource):
    """Every worker of the instance has answered GET `paths` before, so that no visitor waits for what is done once.

    Templates are compiled then, connections to databases made. What it answers is not judged. current: the link to the
    release that visitors get: one that serves is warm. burst: requests at the same time, enough to reach each worker.
    """

    unit: str
    socket: str
    paths: tuple[str, ...]
    host: str
    burst: int
    current: str

    @property
    def title(self) -> str:
        return f"{self.unit.removesuffix('.service')} is warmed up by GET {', '.join(self.paths)}"

    def check(self, system: System) -> list[Drift]:
        serves = os.path.realpath(f"{self.current}/http.sock") == os.path.realpath(self.socket)
        return [] if serves or self in system.done else [Drift("first answers", "slow", "given")]

    def apply(self, system: System) -> None:
        ends = time.monotonic() + MOST_WARM_SECONDS
        for path in self.paths * WARM_ROUNDS:
            system.stop_if_cancelled()
            began = time.monotonic()
            as_visitor(lambda path=path: self._burst(path), WARM_SECONDS)  # type: ignore[misc]
            if time.monotonic() - began >= WARM_SECONDS or time.monotonic() > ends:
                break  # that one is slow at all times
        system.done.add(self)

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


def hint_logs(unit: str) -> str:
    return f"fab logs --release {unit.partition('@')[2].removesuffix('.service')}"


@dataclass(frozen=True)
class Reachable(Resource):
    """The site answers GET `path` with 200 through Nginx, as visitors reach it."""

    host: str
    path: str
    seconds: float
    port: int = 80

    @property
    def title(self) -> str:
        return f"Nginx passes visitors of {self.host} to it"

    def check(self, system: System) -> list[Drift]:
        answer = http_status(("127.0.0.1", self.port), self.host, self.path, self.seconds)
        return [] if answer == "200" else [Drift("answer through Nginx", answer, "200")]

    def apply(self, system: System) -> None:
        deadline = time.monotonic() + self.seconds
        answer = ""
        scheme = "https" if self.port == 443 else "http"
        while time.monotonic() < deadline:
            drifts = self.check(system)
            if not drifts:
                return
            answer = str(drifts[0].found)
            time.sleep(0.05)
        raise Failed(
            f"GET {scheme}://{self.host}{self.path} through Nginx did not answer with 200 (last answer: {answer})",
            "fab logs --nginx",
            journal("nginx.service", 10),
        )
