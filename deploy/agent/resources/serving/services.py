"""systemd units: running or stopped, enabled or not, with their current files."""

import os
import time
import zlib
from collections.abc import Iterator

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Failed, Resource
from ..files import File, Link, text_of
from .rivals import Rival

RUN = "/run/ashore"  # root's, empty after a boot like the facts it holds
UNITS = "/etc/systemd/system"
RELOAD_SECONDS = 5
WANTS = f"{UNITS}/multi-user.target.wants"
CGROUP_NOT_READY = "219"  # systemd's EXIT_CGROUP: the unit's old control group was still being removed


@dataclass(frozen=True)
class Service(Resource):
    """A unit's state now (`active`) and at boot (`enabled`; None: as it is).

    watches: files and directories that it reads at start; where they are not as the process has loaded them,
    the unit is refreshed: "reload" or "restart". Told by the machine itself, so an interrupted run is caught up with.
    rivals: proxies that need the same ports. One that runs is replaced if it serves nothing but `app`; with `yields`,
    it goes on until the next step without.
    """

    unit: str
    active: bool = True
    enabled: bool | None = None
    watches: tuple[str, ...] = ()
    refresh: str = "reload"
    app: str = ""
    rivals: tuple[Rival, ...] = ()
    yields: bool = False

    @property
    def title(self) -> str:
        unit = self.unit.removesuffix(".service")
        if not self.active:
            return f"{unit}: stopped"
        files = " with the current config" if self.watches else ""
        return f"{unit}: running{files}{', enabled' if self.enabled else ''}"

    @property
    def units(self) -> tuple[str, ...]:
        return (self.unit, *(f"{rival.name}.service" for rival in self.rivals))

    @property
    def shares(self) -> str:
        return self.unit.removesuffix(".service") if self.watches else ""

    def check(self, system: System) -> list[Drift]:
        found = system.unit(self.unit)
        state = found.get("ActiveState", "unknown")
        drifts = []
        for rival in self.rivals:
            if rival.runs(system):
                if self.yields:
                    return []
                from .rivals import require_alone

                require_alone(rival, self.app, self.unit.removesuffix(".service"))
                drifts.append(
                    Drift("ports 80 and 443", f"used by {rival.title}", "taken over; the site is down for a second")
                )
            elif self.enabled and not self.yields and rival.starts_at_boot(system):
                drifts.append(Drift(f"{rival.title} at boot", "enabled", "disabled"))
        if is_release(self.unit):
            from .background import stop_of

            drifts += stop_of(self.unit, self.active)
        # "activating" is no rest either: it is what a crash loop looks like between two starts.
        if not (state in ("active", "reloading") if self.active else state in ("inactive", "unknown")):
            drifts.append(Drift("state", state, "active" if self.active else "inactive"))
        if self.enabled is not None and self._at_boot(found) != self.enabled:
            words = ("disabled", "enabled")
            drifts.append(Drift("at boot", words[not self.enabled], words[self.enabled]))
        if state == "active" and self.watches and not loaded(self.unit, found, self.watches):
            drifts.append(Drift("config", "changed since it was loaded", f"{self.refresh}ed"))
        return drifts

    def apply(self, system: System) -> None:
        drifts = {drift.what for drift in self.check(system)}
        if "stop" in drifts:
            from .background import retiring

            system.run(["systemctl", "stop", retiring(self.unit)], accept=(0, 5))  # 5: it has ended
            system.forget()  # it may have been stopped meanwhile
            drifts = {drift.what for drift in self.check(system)}
        if self.enabled is not None and "at boot" in drifts:
            self._put_at_boot(system)
        if "state" in drifts:
            if others := [rival for rival in self.rivals if rival.runs(system)]:
                from .rivals import take_over

                take_over(system, self, others)
            elif self.active:
                self.start(system)
            else:
                system.run(["systemctl", "stop", self.unit])
                system.run(["systemctl", "reset-failed", self.unit], accept=(0, 1))  # 1: nothing had failed
        for rival in self.rivals:
            if f"{rival.title} at boot" in drifts:  # a takeover was interrupted
                system.run(["systemctl", "disable", "--quiet", f"{rival.name}.service"])
        if "config" in drifts:
            seen = fingerprint(self.watches)
            before = children(system.unit(self.unit).get("MainPID", ""))
            system.run(["systemctl", self.refresh, self.unit])
            wait_for_the_old(before)
            system.forget()
            os.makedirs(RUN, 0o700, exist_ok=True)
            with open(f"{RUN}/{self.unit}.loaded", "w", encoding="ascii") as marker:
                marker.write(f"{system.unit(self.unit).get('InvocationID')} {seen}")

    def _at_boot(self, found: dict[str, str]) -> bool:
        if is_release(self.unit):
            return os.path.islink(f"{WANTS}/{self.unit}")
        return found.get("UnitFileState") == "enabled"

    def _put_at_boot(self, system: System) -> None:
        if not is_release(self.unit):
            system.run(["systemctl", "enable" if self.enabled else "disable", "--quiet", self.unit])
        elif self.enabled:  # by hand: systemctl would have systemd read all units anew, a tenth of a second
            os.makedirs(WANTS, exist_ok=True)
            Link(f"{WANTS}/{self.unit}", f"{UNITS}/{self.unit}").apply(system)
        else:
            os.unlink(f"{WANTS}/{self.unit}")

    def start(self, system: System) -> None:
        system.memory.started[self.unit] = time.time()
        try:
            system.run(["systemctl", "start", self.unit])
        except Failed:
            from .reasons import hint_for, journal

            system.forget()
            if system.unit(self.unit).get("ExecMainStatus") != CGROUP_NOT_READY:
                said = journal(self.unit, since=system.memory.started[self.unit])
                hint = hint_for(self.unit, said) if is_release(self.unit) else ""
                raise Failed(f"{self.unit} did not start", hint, said) from None
            system.run(["systemctl", "start", self.unit])


def children(pid: str) -> set[str]:
    """Process IDs of a process's children: the workers of a runner or a proxy."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return set(file.read().split())
    except OSError:
        return set()


def wait_for_the_old(workers: set[str]) -> None:
    """Wait until no old worker accepts connections: each has ended, or is shutting down."""
    deadline = time.monotonic() + RELOAD_SECONDS
    while time.monotonic() < deadline:
        titles = [text_of(f"/proc/{pid}/cmdline") or "" for pid in workers]
        if not any(title and "shutting down" not in title for title in titles):
            return
        time.sleep(0.02)


def is_release(unit: str) -> bool:
    """Whether this is one of the kit's own units, one release running: its [Install] has one line, which we know."""
    return "@" in unit


@dataclass(frozen=True)
class UnitFile(Resource):
    """The file of a unit, and systemd knows it as it stands.

    One that systemd has not met yet is read when it starts, which saves the reload: a tenth of a second.
    """

    unit: str
    file: File

    @property
    def title(self) -> str:
        return f"unit file {self.unit}"

    @property
    def units(self) -> tuple[str, ...]:
        return (self.unit,)

    def check(self, system: System) -> list[Drift]:
        drifts = self.file.check(system)
        if system.unit(self.unit).get("NeedDaemonReload") == "yes":
            drifts.append(Drift("unit in systemd", "older than its file", "reloaded"))
        return drifts

    def apply(self, system: System) -> None:
        if self.file.check(system):
            met = system.unit(self.unit).get("LoadState") == "loaded"
            self.file.apply(system)
            if not met:
                return  # the check that follows asks whether this was right
            system.forget()
        if system.unit(self.unit).get("NeedDaemonReload") == "yes":
            system.run(["systemctl", "daemon-reload"])


def loaded(unit: str, properties: dict[str, str], paths: tuple[str, ...]) -> bool:
    """Whether the running process has read the files at and below these paths as they are now.

    By what our last refresh of this very process left in RUN, whatever clocks say since; a process that we have not
    refreshed has read what was there when it started.
    """
    marker = f"{RUN}/{unit}.loaded"
    if os.path.exists(marker):
        with open(marker, encoding="ascii") as file:
            invocation, _, seen = file.read().partition(" ")
        if invocation == properties.get("InvocationID"):
            return seen == fingerprint(paths)
    try:
        started = os.lstat(f"/run/systemd/units/invocation:{unit}").st_ctime  # of the same clock as the files' times
    except FileNotFoundError:  # it has none where it runs no process: a socket
        entered = int(properties.get("ActiveEnterTimestampMonotonic") or 0) / 1e6
        started = time.time() - time.clock_gettime(time.CLOCK_MONOTONIC) + entered if entered else 0.0
    return max((os.lstat(path).st_ctime for top in paths for path in walk(top)), default=0.0) <= started


def fingerprint(paths: tuple[str, ...]) -> str:
    """Another one for every change at or below the paths; by what lstat says, not by content."""
    seen = []
    for path in (path for top in paths for path in walk(top)):
        info = os.lstat(path)
        seen.append((path, info.st_ino, info.st_size, info.st_ctime_ns))
    return f"{zlib.crc32(repr(sorted(seen)).encode()):08x}{len(seen)}"


def walk(top: str) -> Iterator[str]:
    if not os.path.lexists(top):
        return
    yield top
    if os.path.isdir(top) and not os.path.islink(top):
        for entry in os.scandir(top):
            yield from walk(entry.path)
