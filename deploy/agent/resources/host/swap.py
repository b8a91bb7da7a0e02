"""Swap for small machines: a peak in memory use makes them slow instead of killing a process."""

import os
from contextlib import suppress

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Failed, Resource
from ..files import beside, replace, text_of

GIGABYTE = 1 << 30
ENOUGH_BYTES = 2 * GIGABYTE  # of memory


def kilobytes(meminfo: str, name: str) -> int:
    """A line of /proc/meminfo: `MemTotal:  2014520 kB`."""
    return next((int(line.split()[1]) for line in meminfo.splitlines() if line.startswith(f"{name}:")), 0)


def wanted_bytes(meminfo: str) -> int:
    """How much swap the machine should get: as much as it has memory, from 1 to 2 GB; 0 where it needs none."""
    memory = kilobytes(meminfo, "MemTotal") * 1024
    if memory >= ENOUGH_BYTES * 0.95 or kilobytes(meminfo, "SwapTotal"):  # "2 GB" of a provider is a little less
        return 0
    return min(max(memory >> 20 << 20, GIGABYTE), 2 * GIGABYTE)


def with_swap(fstab: str, path: str) -> str:
    """The text of /etc/fstab with a line for the swap file, if it has none."""
    if any(line.split()[:1] == [path] for line in fstab.splitlines()):
        return fstab
    start = fstab if not fstab or fstab.endswith("\n") else f"{fstab}\n"
    return f"{start}{path} none swap sw 0 0\n"


@dataclass(frozen=True)
class Swap(Resource):
    """A swap file where there is little memory, no swap at all, and a disk that has room for it; not in containers."""

    path: str = "/swapfile"
    fstab: str = "/etc/fstab"

    @property
    def title(self) -> str:
        return "swap: configured if needed"

    def check(self, system: System) -> list[Drift]:
        if os.path.exists("/run/systemd/container"):
            return []
        size = wanted_bytes(text_of("/proc/meminfo") or "")
        if not size:
            return []
        from .swap_room import hindrance

        if reason := hindrance(self.path, size):
            if self not in system.memory.done:
                system.operator.emit({"event": "said", "text": f"no swap file created: {reason}"})
                system.memory.done.add(self)
            return []
        return [Drift("swap", "none", f"{size >> 20} MB in {self.path}")]

    def apply(self, system: System) -> None:
        size = wanted_bytes(text_of("/proc/meminfo") or "")
        if not os.path.exists(self.path):
            make(system, self.path, size, whole=False)
        fstab = text_of(self.fstab) or ""
        if with_swap(fstab, self.path) != fstab:
            replace(self.fstab, with_swap(fstab, self.path).encode(), 0o644, 0, 0)
        try:
            system.run(["swapon", self.path])
        except Failed:  # it may not like the holes of a file that was only allocated
            make(system, self.path, size, whole=True)
            system.run(["swapon", self.path])


def make(system: System, path: str, size: int, *, whole: bool) -> None:
    """A swap file, under its name only once it is one. whole: written byte for byte."""
    building = beside(path)
    with suppress(FileNotFoundError):
        os.unlink(building)
    try:
        with open(os.open(building, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            if whole:
                for _ in range(size >> 20):
                    file.write(bytes(1 << 20))
            else:
                os.posix_fallocate(file.fileno(), 0, size)
        system.run(["mkswap", building])
        os.replace(building, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(building)
