"""The end of an app's units: all that run or start for it, whatever kind of process they are."""

import glob
import os
import re

from ...constants import RELEASE_ID
from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Resource
from ..serving.services import UNITS
from .trees_gone import remove_all

RUNTIME = "/run/systemd/system"
FIRST = (".timer", ".socket", ".path")  # units that start others
NOT_LOADED = 5  # systemctl's exit status


@dataclass(frozen=True)
class UnitsGone(Resource):
    """No unit of the app runs or is failed, starts at boot, or has a file.

    By pattern, so that processes of releases that an older or a newer kit made are found, too. drain_seconds: for open
    requests, whose visitors the proxy still serves after its reload.
    """

    app: str
    drain_seconds: float

    @property
    def title(self) -> str:
        return f"units of {self.app}: stopped and removed"

    def check(self, system: System) -> list[Drift]:
        drifts = [Drift(unit, "running", "stopped") for unit in self._loaded(system)]
        return drifts + [Drift(path, "present", "absent") for path in self._files()]

    def apply(self, system: System) -> None:
        for path in glob.glob(f"{UNITS}/*.wants/{self.app}@*"):  # first: after a power cut, nothing starts again
            os.unlink(path)
        loaded = self._loaded(system)
        starters = [unit for unit in loaded if unit.endswith(FIRST) or unit.startswith("ashore-retire-")]
        stop(system, starters)
        for unit in self._loaded(system):
            self._drain(system, unit)
        stop(system, self._loaded(system))
        for path in self._files():
            remove_all(path)
        system.run(["systemctl", "daemon-reload"])
        if left := self._loaded(system):
            system.run(["systemctl", "reset-failed", *left], accept=(0, 1))  # 1: not loaded any more

    def _drain(self, system: System, unit: str) -> None:
        """Wait for the open requests of a web process."""
        from ..serving.retired import drain

        if found := re.fullmatch(rf"{self.app}@({RELEASE_ID})\.service", unit):
            system.operator.progress(0, f"{unit}: waiting for open requests")
            drain(unit, f"/run/{self.app}/{found[1]}/", self.drain_seconds)

    def _loaded(self, system: System) -> list[str]:
        """Units that do something, or failed to."""
        listing = system.run(["systemctl", "list-units", "--all", "--plain", "--no-legend"])
        rows = [line.replace("●", " ").split() for line in listing.splitlines()]
        return sorted(row[0] for row in rows if len(row) > 2 and row[2] != "inactive" and is_of(self.app, row[0]))

    def _files(self) -> list[str]:
        """Their files, drop-ins and links in /etc and, until the next boot, /run."""
        patterns = (f"{self.app}@*", f"*.wants/{self.app}@*", f"ashore-data-{self.app}.*", f"ashore-ci-{self.app}*.*")
        found = {path for top in (UNITS, RUNTIME) for pattern in patterns for path in glob.glob(f"{top}/{pattern}")}
        found |= set(glob.glob(f"{UNITS}/*.wants/ashore-data-{self.app}.*"))
        return sorted(path for path in found if is_of(self.app, os.path.basename(path).removesuffix(".d")))


def is_of(app: str, unit: str) -> bool:
    """Whether a unit is the app's: its releases' and their processes', its commands', and the kit's for it."""
    own = rf"{app}@.*|{app}-(release|build|run-\d+|bridge-{RELEASE_ID})\.service|{re.escape(slice_of(app))}"
    kit = rf"ashore-(retire-{app}-{RELEASE_ID}.*|(data-{app}|ci-{app}(@.*)?)\.(service|timer|socket))"
    return bool(re.fullmatch(f"{own}|{kit}", unit))


def slice_of(app: str) -> str:
    """What systemd itself makes for the instances of a template."""
    return f"system-{app}.slice".replace(app, app.replace("-", r"\x2d"))


def stop(system: System, units: list[str]) -> None:
    if units:
        system.run(["systemctl", "stop", *units], accept=(0, NOT_LOADED))
        system.run(["systemctl", "reset-failed", *units], accept=(0, 1))  # 1: none has failed


@dataclass(frozen=True)
class JournalGone(Resource):
    """The app's own journal is closed, and its lines are removed. settings: its files and directories in /etc."""

    app: str
    settings: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"journal of {self.app}: removed"

    def check(self, system: System) -> list[Drift]:
        return [Drift(path, "present", "absent") for path in self._paths()]

    def apply(self, system: System) -> None:
        kinds = ("systemd-journald@{}.socket", "systemd-journald-varlink@{}.socket", "systemd-journald@{}.service")
        stop(system, [kind.format(self.app) for kind in kinds])
        for path in self._paths():
            remove_all(path)
        system.run(["systemctl", "daemon-reload"])

    def _paths(self) -> list[str]:
        lines = [path for top in ("/var/log", "/run/log") for path in glob.glob(f"{top}/journal/*.{self.app}")]
        there = [path for path in (*self.settings, f"/run/systemd/journal.{self.app}") if os.path.lexists(path)]
        return sorted([*lines, *there])
