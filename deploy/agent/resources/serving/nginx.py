"""Nginx's main config file, which is not the kit's: its limit of connections."""

import os
import re
import stat
from contextlib import suppress

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Failed, Refused, Resource
from ..config_files import Before
from ..files import replace, unified

CONFIG = "/etc/nginx/nginx.conf"
OPEN_FILES = 65536  # as LimitNOFILE= in templates/systemd/nginx.conf.j2, which holds from Nginx's next start on
COMMENT = re.compile(r"#[^\n]*")
EVENTS = re.compile(r"(?<![\w.$])events\s*\{([^{}]*)\}")
NUMBER = re.compile(r"(?<![\w.$])worker_connections\s+(\d+)\s*;")


@dataclass(frozen=True)
class WorkerConnections(Resource):
    """Each worker of Nginx can hold this many connections, and has the open files for them.

    The number is in Debian's file and cannot be repeated in one of ours, so it is raised there, and nothing else in
    that file is changed. A larger one stays. test: Nginx's own check, after which the file stays or is put back.
    """

    number: int
    path: str = CONFIG
    test: tuple[str, ...] = ("nginx", "-t", "-q")

    @property
    def title(self) -> str:
        return f"nginx: {self.number} connections per worker"

    @property
    def units(self) -> tuple[str, ...]:
        return ("nginx.service",)

    @property
    def shares(self) -> str:
        return "nginx"

    def check(self, system: System) -> list[Drift]:
        if not os.path.exists(self.path):  # an earlier step of the plan installs Nginx
            return [Drift("worker_connections", "absent", self.number)]
        found = self._read()
        start, end = place_of(found)
        drifts = []
        if int(found[start:end]) < self.number:
            wanted = f"{found[:start]}{self.number}{found[end:]}"
            diff = unified(self.path, found, wanted)
            drifts.append(Drift("worker_connections", found[start:end], self.number, diff))
        if files := too_few_files(self._master(system)):
            drifts.append(Drift("open files of the running Nginx", files, OPEN_FILES))
        return drifts

    def apply(self, system: System) -> None:
        import resource

        master = self._master(system)
        for pid in (master, *workers_of(master)) if too_few_files(master) else ():
            with suppress(OSError, ValueError):  # in a container only the master's; its next workers inherit it
                _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))
        found = self._read()
        start, end = place_of(found)
        if int(found[start:end]) >= self.number:
            return
        info = os.stat(self.path)
        kept = stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid
        path = os.path.realpath(self.path)
        before = Before(path)
        try:
            replace(path, encoded(f"{found[:start]}{self.number}{found[end:]}"), *kept)
            system.run(self.test, hint="nothing was reloaded, and the file was restored")
        except (Failed, OSError):
            before.restore()
            raise
        before.forget()

    def _read(self) -> str:
        with open(self.path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()

    def _master(self, system: System) -> int:
        return int(system.unit("nginx.service").get("MainPID") or 0)


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def place_of(text: str) -> tuple[int, int]:
    """Where in the text of nginx.conf the number of worker_connections is; Refused if that is not one place."""
    bare = COMMENT.sub(lambda comment: " " * len(comment[0]), text)
    blocks = list(EVENTS.finditer(bare))
    numbers = list(NUMBER.finditer(bare, *blocks[0].span(1))) if len(blocks) == 1 else []
    if len(numbers) != 1:
        raise Refused(
            f"{CONFIG} does not set worker_connections exactly once, as Debian's does",
            "write `events { worker_connections 16384; }` in it, then run again",
        )
    return numbers[0].span(1)


def too_few_files(master: int) -> int:
    """How many files a process may open, if that is too few and it may be given more; else 0."""
    import resource

    try:
        soft, hard = resource.prlimit(master, resource.RLIMIT_NOFILE) if master else (OPEN_FILES, OPEN_FILES)
    except OSError:
        return 0
    unlimited = resource.RLIM_INFINITY
    wanted = OPEN_FILES if hard == unlimited else min(hard, OPEN_FILES)
    return 0 if soft == unlimited else soft * (soft < wanted)


def workers_of(master: int) -> list[int]:
    try:
        with open(f"/proc/{master}/task/{master}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []
