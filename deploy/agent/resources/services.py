"""systemd units, and whether what they run answers."""

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from ..system import ENVIRONMENT, System
from ..wire import Drift, Failed, Resource

RUN = "/run/ashore"  # root's, empty after a boot like the facts it holds
QUICK_SECONDS = 1  # for a look; one that waits is a step of its own
CGROUP_NOT_READY = "219"  # systemd's EXIT_CGROUP: the unit's old control group was still being removed


@dataclass(frozen=True)
class Service(Resource):
    """A unit's state now (`active`) and at boot (`enabled`; None: as it is).

    watches: files and directories that it reads at start; where one is newer than what the process has loaded, the
    unit is refreshed: "reload" or "restart". Told by the machine's own times, so an interrupted run is caught up with.
    """

    unit: str
    active: bool = True
    enabled: bool | None = None
    watches: tuple[str, ...] = ()
    refresh: str = "reload"

    @property
    def title(self) -> str:
        unit = self.unit.removesuffix(".service")
        if not self.active:
            return f"{unit} is stopped"
        files = ", with its files as they are" if self.watches else ""
        return f"{unit} runs{files}{', and at boot' if self.enabled else ''}"

    @property
    def units(self) -> tuple[str, ...]:
        return (self.unit,)

    def check(self, system: System) -> list[Drift]:
        found = system.unit(self.unit)
        state = found.get("ActiveState", "unknown")
        drifts = []
        # "activating" is no rest either: it is what a crash loop looks like between two starts.
        if not (state in ("active", "reloading") if self.active else state in ("inactive", "unknown")):
            drifts.append(Drift("state", state, "active" if self.active else "inactive"))
        if self.enabled is not None and (found.get("UnitFileState") == "enabled") != self.enabled:
            drifts.append(
                Drift("at boot", found.get("UnitFileState") or "unknown", "enabled" if self.enabled else "disabled")
            )
        if state == "active" and self.watches and newest(self.watches) > loaded_at(self.unit, found):
            drifts.append(Drift("configuration", "older than its files", f"{self.refresh}ed"))
        return drifts

    def apply(self, system: System) -> None:
        drifts = {drift.what for drift in self.check(system)}
        if self.enabled is not None and "at boot" in drifts:
            system.run(["systemctl", "enable" if self.enabled else "disable", "--quiet", self.unit])
        if "state" in drifts:
            if self.active:
                self._start(system)
            else:
                system.run(["systemctl", "stop", self.unit])
                system.run(["systemctl", "reset-failed", self.unit], accept=(0, 1))  # 1: nothing had failed
        if "configuration" in drifts:
            began = time.time()
            system.run(["systemctl", self.refresh, self.unit])
            os.makedirs(RUN, exist_ok=True)
            with open(f"{RUN}/{self.unit}.loaded", "w", encoding="ascii"):
                os.utime(f"{RUN}/{self.unit}.loaded", (began, began))

    def _start(self, system: System) -> None:
        try:
            system.run(["systemctl", "start", self.unit])
        except Failed:
            system.forget()
            if system.unit(self.unit).get("ExecMainStatus") != CGROUP_NOT_READY:
                raise Failed(f"{self.unit} did not start", "", journal(self.unit)) from None
            system.run(["systemctl", "start", self.unit])


def newest(paths: tuple[str, ...]) -> float:
    """The latest change time (epoch seconds) at or below the paths; a removed entry shows in its directory's."""
    return max((os.lstat(path).st_ctime for top in paths for path in walk(top)), default=0.0)


def walk(top: str) -> Iterator[str]:
    if not os.path.lexists(top):
        return
    yield top
    if os.path.isdir(top) and not os.path.islink(top):
        for entry in os.scandir(top):
            yield from walk(entry.path)


def loaded_at(unit: str, properties: dict[str, str]) -> float:
    """Epoch seconds at which the unit last read its files, by start or by our reload."""
    started = int(properties.get("ActiveEnterTimestampMonotonic") or 0) / 1e6 + time.time() - time.monotonic()
    marker = f"{RUN}/{unit}.loaded"
    return max(started, os.stat(marker).st_mtime if os.path.exists(marker) else 0.0)


def journal(unit: str, lines: int = 200) -> str:
    """What the unit wrote last, as far as it tells why it ended: see `telling`."""
    argv = ["journalctl", "-u", unit, "-n", str(lines), "-o", "cat", "--no-pager", "-q"]
    return telling(subprocess.run(argv, capture_output=True, env=ENVIRONMENT).stdout.decode(errors="replace").strip())


def telling(text: str) -> str:
    """Of a journal's end, the last traceback that has frames of the app, those only; else 25 lines without frames."""
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
    return "\n".join([line for line in lines if not line.startswith("  ")][-25:])


def http_status(address: str | tuple[str, int], host: str, path: str, seconds: float) -> str:
    """The status code of GET, from a unix socket's path or (host, port); or what was in the way."""
    # As Nginx asks: an app that sends http visitors to https must not see its own health check as one of them.
    request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: ashore-health\r\nX-Forwarded-Proto: https\r\n\r\n"
    try:
        with connected(address, seconds) as connection:
            connection.sendall(request.encode())
            line = connection.makefile("rb").readline().decode("latin-1").split()
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
        answer = http_status(self.socket, self.host, self.path, QUICK_SECONDS)
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
            found.append(http_status(self.socket, self.host, self.path, seconds))

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        while asking.is_alive():
            system.stop_if_cancelled()
            asking.join(0.05)
        return found[0]


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
        while time.monotonic() < deadline:
            drifts = self.check(system)
            if not drifts:
                return
            answer = str(drifts[0].found)
            time.sleep(0.05)
        raise Failed(
            f"GET http://{self.host}{self.path} through Nginx did not answer with 200 (last answer: {answer})",
            "fab logs --nginx",
            journal("nginx.service", 10),
        )


@dataclass(frozen=True)
class Retired(Resource):
    """No instance of the template but one runs or starts at boot; open requests of the others are finished first."""

    template: str  # "shop" for shop@.service
    keep: str  # the instance that stays
    drain_seconds: float

    @property
    def title(self) -> str:
        return f"older instances of {self.template} are stopped"

    def check(self, system: System) -> list[Drift]:
        return [Drift(unit, "running or enabled", "stopped") for unit in self._others(system)]

    def apply(self, system: System) -> None:
        for unit in self._others(system):
            release = unit.partition("@")[2].removesuffix(".service")
            system.progress(0, f"{unit}: finishing open requests")
            drain(f"/run/{self.template}/{release}/http.sock", self.drain_seconds)
            system.run(["systemctl", "disable", "--quiet", "--now", unit])
            system.run(["systemctl", "reset-failed", unit], accept=(0, 1))  # 1: nothing had failed

    def _others(self, system: System) -> list[str]:
        listing = ["systemctl", "list-units", "--all", "--plain", "--no-legend", f"{self.template}@*.service"]
        loaded = [line.replace("●", " ").split() for line in system.run(listing).splitlines()]
        units = {words[0] for words in loaded if words[2] != "inactive"}
        wants = "/etc/systemd/system/multi-user.target.wants"
        if os.path.isdir(wants):
            units |= {name for name in os.listdir(wants) if name.startswith(f"{self.template}@")}
        return sorted(units - {f"{self.template}@{self.keep}.service"})


def drain(path: str, seconds: float) -> None:
    """Wait until no connection waits in a listening socket's queue: a sync worker would lose those at its stop."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        listing = subprocess.run(["ss", "-Hxl", "src", path], capture_output=True, env=ENVIRONMENT).stdout.decode()
        if all(words[2] == "0" for words in map(str.split, listing.splitlines())):
            return
        time.sleep(0.02)
