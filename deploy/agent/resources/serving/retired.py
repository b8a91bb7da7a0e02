"""The end of older instances: at once if nobody is connected, else in the background."""

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from ...constants import RELEASE_ID
from ...dataclass import dataclass
from ...layout import ROOM_SCRIPT
from ...system import ENVIRONMENT, System
from ...wire import Drift, Resource
from .background import is_retiring, retiring
from .services import WANTS

KEPT_SECONDS = 5  # the proxy keeps an idle connection for one, and uses none that is older than one
STOP_SECONDS = 5  # for an instance to which nobody is connected; later it goes on in the background
MOST_LEFT = 2  # instances that keep running at a time: each may take as much memory as the current one
OF_RELEASE = re.compile(rf"@{RELEASE_ID}\.service$")
NOT_LOADED = 5  # systemctl's exit status


@dataclass(frozen=True)
class Retired(Resource):
    """Only one instance of the template runs and starts at boot; the others finish their open requests first.

    stream_seconds: how long connections may stay open on them. Such an instance is stopped in the background, by a
    unit of its own, so neither a lost connection nor another run changes that; after a reboot it does not start. None:
    each is stopped now.
    """

    template: str  # "shop" for shop@.service
    keep: str  # the instance that stays
    drain_seconds: float
    stream_seconds: int | None = None

    @property
    def title(self) -> str:
        return f"older instances of {self.template}: stopped" + ("" if self.stream_seconds is None else ", or draining")

    def check(self, system: System) -> list[Drift]:
        return [Drift(unit, "running or enabled", "stopped") for unit in self._others(system) if not is_left(unit)]

    def apply(self, system: System) -> None:
        for unit in self._others(system):
            if is_left(unit):
                continue
            release = unit.partition("@")[2].removesuffix(".service")
            system.operator.progress(0, f"{unit}: waiting for open requests")
            still_open = drain(unit, f"/run/{self.template}/{release}/", self.drain_seconds)
            if self.stream_seconds is None:
                system.run(["systemctl", "stop", unit])
            elif still_open or not ends_soon(system, unit):
                self._leave(system, unit, self.stream_seconds if still_open else 0)
                continue
            with suppress(FileNotFoundError):
                os.unlink(f"{WANTS}/{unit}")
            system.run(["systemctl", "reset-failed", unit], accept=(0, 1))  # 1: nothing had failed
        for unit in [unit for unit in self._others(system) if is_left(unit)][:-MOST_LEFT]:
            self._leave(system, unit, 0)

    def _leave(self, system: System, unit: str, seconds: int) -> None:
        """Have it stopped in the background."""
        release, name = unit.partition("@")[2].removesuffix(".service"), retiring(unit)
        if is_retiring(unit):
            system.run(["systemctl", "stop", name], accept=(0, NOT_LOADED))
            wait_while(lambda: is_retiring(unit), STOP_SECONDS)  # its name is free a moment later
        run = ["systemd-run", "--quiet", "--collect", f"--unit={name}", "/bin/sh", ROOM_SCRIPT]
        system.run([*run, "retire", self.template, release, str(seconds), *in_network_of(unit)])
        with suppress(FileNotFoundError):
            os.unlink(f"{WANTS}/{unit}")

    def _others(self, system: System) -> list[str]:
        listing = ["systemctl", "list-units", "--all", "--plain", "--no-legend", f"{self.template}@*.service"]
        loaded = [line.replace("●", " ").split() for line in system.run(listing).splitlines()]
        units = {words[0] for words in loaded if words[2] != "inactive"}
        if os.path.isdir(WANTS):
            units |= {name for name in os.listdir(WANTS) if name.startswith(f"{self.template}@")}
        units = {unit for unit in units if OF_RELEASE.search(unit)}  # not what a release runs beside its web server
        return sorted(units - {f"{self.template}@{self.keep}.service"})


def is_left(unit: str) -> bool:
    """Whether an instance is being stopped in the background, and does not start at boot."""
    return is_retiring(unit) and not os.path.lexists(f"{WANTS}/{unit}")


def ends_soon(system: System, unit: str) -> bool:
    """Stop a unit, and whether that took no longer than a moment: a stream that has lost its visitor may go on."""
    system.run(["systemctl", "stop", "--no-block", unit])
    return wait_while(lambda: shown(unit, "ActiveState") not in ("inactive", "failed"), STOP_SECONDS)


def wait_while(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it ended in time."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(0.05)
    return True


def drain(unit: str, directory: str, seconds: float) -> int:
    """Wait until nobody is connected to a socket of the unit's there, and nobody waits to be; how many still are.

    A sync worker would lose those who wait at its stop. And at a stop, most runners close a kept connection that is
    idle, into which the proxy may just be writing: a POST is then lost. The proxy ends those itself, within two
    seconds; who is connected longer than KEPT_SECONDS has a request open, or a stream.
    """
    began, pause, inside = time.monotonic(), threading.Event(), in_network_of(unit)
    connected = 0
    # Where the unit has a network of its own, its socket is in that, and connections to it are in the proxy's.
    looks = [["ss", "-Hxa"], *([[*inside, "ss", "-Hxa"]] if inside else [])]
    while (waited := time.monotonic() - began) < seconds:
        listings = [subprocess.run(look, capture_output=True, env=ENVIRONMENT).stdout for look in looks]
        queued, connected = connections(b"".join(listings).decode(errors="replace"), directory)
        if not queued and (not connected or waited > KEPT_SECONDS):
            break
        pause.wait(0.05)
    return connected


def shown(unit: str, name: str) -> str:
    """A property of a unit."""
    argv = ["systemctl", "show", "-p", name, "--value", unit]
    return subprocess.run(argv, capture_output=True, env=ENVIRONMENT).stdout.decode().strip()


def in_network_of(unit: str) -> list[str]:
    """What a command begins with that is to see the sockets of a unit, which may have a network of its own."""
    pid = shown(unit, "MainPID")
    with suppress(OSError):
        if os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net"):
            return ["nsenter", f"--net=/proc/{pid}/ns/net"]
    return []


def connections(listing: str, directory: str) -> tuple[int, int]:
    """How many connections wait in the queues of the sockets in a directory, and how many are open. listing: of ss."""
    rows = [
        words for words in map(str.split, listing.splitlines()) if len(words) > 4 and words[4].startswith(directory)
    ]
    queued = sum(int(words[2]) for words in rows if words[1] == "LISTEN")
    return queued, sum(words[1] == "ESTAB" for words in rows)
