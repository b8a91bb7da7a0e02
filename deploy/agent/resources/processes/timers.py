"""Timers: a release's are started once it is the serving one."""

import os
import subprocess

from ...dataclass import dataclass
from ...system import ENVIRONMENT, System
from ...wire import Drift, Refused, Resource
from ..files import text_of
from ..release.at_work import STAMPS, stamps_of
from . import units


@dataclass(frozen=True)
class Schedules(Resource):
    """Schedules that the server's systemd understands. schedules: (name of the timer, schedule)."""

    schedules: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        return "schedules of the timers: valid"

    def check(self, system: System) -> list[Drift]:
        for name, schedule in self.schedules:
            argv = ["systemd-analyze", "calendar", "--iterations=1", "--", schedule]
            ran = subprocess.run(argv, capture_output=True, env=ENVIRONMENT)
            if ran.returncode:
                said = ran.stderr.decode(errors="replace").strip().splitlines()
                what = f"the server does not understand timers.{name}.schedule = {schedule!r}"
                hint = 'for example "03:00 Europe/Berlin", "hourly", "Mon 09:30", "*:0/15"; `fab explain schedule`'
                raise Refused(what, hint, "\n".join(said[-2:]))
            if b"Next elapse: never" in b" ".join(ran.stdout.split()):
                raise Refused(f"timers.{name}.schedule = {schedule!r} is never again", "give it a time that comes")
        return []


def schedule_of(timer: str) -> list[str]:
    lines = (text_of(f"{units.UNITS}/{timer}") or "").splitlines()
    return [line for line in lines if line.startswith("OnCalendar=")]


@dataclass(frozen=True)
class TimersRunning(Resource):
    """The timers of a release run, and start at boot; those of other releases have been stopped.

    A time that passed between the two is made up for: each goes on where the timer of that name in the release before
    has stopped.
    """

    app: str
    release: str
    timers: tuple[str, ...]

    @property
    def title(self) -> str:
        names = [unit.rpartition(".")[0].partition(".")[2] for unit in self.timers]
        return f"timers: {', '.join(names)} running"

    @property
    def units(self) -> tuple[str, ...]:
        return self.timers

    def check(self, system: System) -> list[Drift]:
        drifts = []
        for unit in self.timers:
            state = system.unit(unit).get("ActiveState", "unknown")
            if state != "active":
                drifts.append(Drift(unit, state, "active"))
            elif not units.enabled(unit):
                drifts.append(Drift(f"{unit} at boot", "disabled", "enabled"))
        return drifts

    def apply(self, system: System) -> None:
        for unit in self.timers:
            if system.unit(unit).get("ActiveState") != "active":
                self._take_over(unit)
            units.enable(unit, system)
        system.run(["systemctl", "start", *self.timers])

    def _take_over(self, unit: str) -> None:
        """Give a timer the stamp of the newest one of its name."""
        ending = unit.removeprefix(f"{self.app}@{self.release}")
        others = [path for path in stamps_of(self.app) if path.endswith(ending)]
        # With another schedule, it has another past: what it would make up for was never to be.
        before = [path for path in others if schedule_of(path.partition("stamp-")[2]) == schedule_of(unit)]
        if not before:
            return
        newest = max(os.stat(path).st_mtime for path in before)
        with open(f"{STAMPS}/stamp-{unit}", "a", encoding="ascii"):
            pass
        os.utime(f"{STAMPS}/stamp-{unit}", (newest, newest))
