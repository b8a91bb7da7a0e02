"""The processes of a release: started with it, and those of other releases stopped."""

import os
import subprocess
import time

from ...dataclass import dataclass
from ...layout import PROCESS_SCRIPT
from ...system import ENVIRONMENT, System
from ...wire import Drift, Failed, Resource
from ..serving.traffic import Beside
from . import units

STEADY_SECONDS = 2  # one that ends sooner does not run; and before, a signal may find it without its handler
LOOK_SECONDS = 0.1
SOON_SECONDS = 5  # for processes that stop; later they go on by themselves
LATE_SECONDS = 15  # beyond its own time, by which systemd has killed it
RUNS = ("active", "reloading")


@dataclass(frozen=True)
class Running(Resource):
    """The processes of a release run, and start at boot. Should this run be killed, they follow the traffic.

    others: units of processes of the release before that must not run at the same time, and how many seconds each has
    to stop. timers: units that are to start at boot, as soon as the release has the traffic.
    """

    app: str
    release: str
    processes: tuple[str, ...]
    others: tuple[tuple[str, int], ...] = ()
    timers: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        names = [name_of(unit).partition(".")[0] for unit in self.processes]
        counted = [f"{name} × {names.count(name)}" if names.count(name) > 1 else name for name in dict.fromkeys(names)]
        return f"processes: {', '.join(counted) or 'none'} running"

    @property
    def units(self) -> tuple[str, ...]:
        return self.processes

    def check(self, system: System) -> list[Drift]:
        drifts = []
        for unit in self.processes:
            state = system.unit(unit).get("ActiveState", "unknown")
            if state not in RUNS:
                drifts.append(Drift(name_of(unit), state, "active"))
        missing = [unit for unit in (*self.processes, *self.timers) if not units.enabled(unit)]
        drifts += [Drift(f"{name_of(unit)} at boot", "disabled", "enabled") for unit in missing]
        # Those of the release before follow the traffic, too.
        if not drifts and self not in system.memory.done and self._before():
            drifts.append(Drift("processes of the release before", "running", "stopped after the switch"))
        return drifts

    def _before(self) -> bool:
        """Whether processes of another release run that has the traffic."""
        current = os.path.realpath(f"/srv/{self.app}/current")
        if os.path.basename(current) == self.release:
            return False
        return any(units.release_of(unit) != self.release for unit in units.at_boot(self.app))

    def apply(self, system: System) -> None:
        self._follow(system)
        for unit, seconds in self.others:
            system.operator.progress(0, f"{name_of(unit)} of the release before: stopping")
            stop(unit, seconds)
        os.makedirs(units.STARTING, 0o700, exist_ok=True)
        with open(f"{units.STARTING}/{self.app}@{self.release}", "w", encoding="ascii"):
            pass
        began = time.time()
        starting = [unit for unit in self.processes if system.unit(unit).get("ActiveState") not in RUNS]
        if starting:
            # All are started, whatever becomes of one of them: which one fails is seen below.
            system.run(["systemctl", "reset-failed", *starting], accept=(0, 1))
            system.run(["systemctl", "start", *starting], accept=(0, 1))
            self._steady(system, began)
        for unit in (*self.processes, *self.timers):
            units.enable(unit, system)
        system.memory.done.add(self)

    def _follow(self, system: System) -> None:
        """A unit of its own sees to it that one set of processes runs, whenever this process ends."""
        name = f"ashore-follow-{self.app}-{os.getpid()}"
        if not os.path.exists(f"/run/systemd/transient/{name}.service"):
            run = ["systemd-run", "--quiet", "--collect", f"--unit={name}", "/bin/sh", PROCESS_SCRIPT, "follow"]
            system.run([*run, self.app, str(os.getpid())])

    def _steady(self, system: System, began: float) -> None:
        """Failed, if one of them ends within STEADY_SECONDS."""
        ends = time.monotonic() + STEADY_SECONDS
        while (left := ends - time.monotonic()) > 0:
            system.operator.stop_if_cancelled()
            for unit, found in units.states(self.processes).items():
                if found["ActiveState"] not in (*RUNS, "activating") or has_ended(found):
                    self._fail(unit, found, began)
            system.operator.progress(100 * (1 - left / STEADY_SECONDS), "")
            time.sleep(LOOK_SECONDS)
        system.forget()

    def _fail(self, unit: str, found: dict[str, str], began: float) -> None:
        from ..serving.reasons import journal

        by_itself = found["Result"] == "success"
        exited = by_itself or found["Result"] == "exit-code"
        how = f"exit status {found['ExecMainStatus']}" if exited else found["Result"]
        said = journal(unit, since=began)
        what = f"the process {name_of(unit)} ended right after its start ({how})"
        hint = "a process runs until it is stopped: its command must not go to the background\n" if by_itself else ""
        raise Failed(what, hint + hint_on(self.app, self.release, unit, said), said)


@dataclass(frozen=True)
class Together(Beside):
    """The processes of a release, for the watch after a switch."""

    processes: tuple[str, ...]

    def look(self) -> None:
        from ..serving.reasons import journal

        for unit, found in units.states(self.processes).items():
            if ended(found):
                app, release, said = unit.partition("@")[0], units.release_of(unit), journal(unit)
                what = f"after the switch, the process {name_of(unit)} ended with an error"
                raise Failed(what, hint_on(app, release, unit, said), said)


@dataclass(frozen=True)
class OnlyProcessesOf(Resource):
    """No process or timer of another release runs or starts at boot; jobs come to their end by themselves.

    release: "" for none at all. A process that takes its time to stop goes on by itself: systemd kills it in the end.
    beyond: processes of that release that are not to run, either. waits: names of processes that must have stopped, and
    how many seconds each has.
    """

    app: str
    release: str
    beyond: tuple[str, ...] = ()
    waits: tuple[tuple[str, int], ...] = ()

    @property
    def title(self) -> str:
        return f"processes of other releases of {self.app}: stopped"

    def check(self, system: System) -> list[Drift]:
        found = units.loaded(self.app)
        running = [unit for unit in found if found[unit] in (*RUNS, "activating") and self._is_other(unit)]
        running += [unit for unit in found if found[unit] == "failed" and units.release_of(unit) != self.release]
        booting = [unit for unit in units.at_boot(self.app) if self._is_other(unit)]
        return [Drift(unit, "running or enabled", "stopped") for unit in sorted({*running, *booting})]

    def _is_other(self, unit: str) -> bool:
        return unit in self.beyond or (units.release_of(unit) != self.release and not units.is_job(unit))

    def apply(self, system: System) -> None:
        names = [drift.what for drift in self.check(system)]
        for unit in names:
            units.disable(unit)
        timers = [unit for unit in names if unit.endswith(".timer")]
        processes = [unit for unit in names if unit not in timers]
        if timers:
            system.run(["systemctl", "stop", *timers])
        if processes:
            system.run(["systemctl", "stop", "--no-block", *processes])
        seconds = dict(self.waits)
        for unit in processes:
            if (name := name_of(unit).partition(".")[0]) in seconds:
                stop(unit, seconds[name])
        ends = time.monotonic() + SOON_SECONDS
        while time.monotonic() < ends and still_there(processes):
            time.sleep(LOOK_SECONDS)
        gone = [unit for unit in processes if unit not in still_there(processes)]
        if gone:
            system.run(["systemctl", "reset-failed", *gone], accept=(0, 1))  # 1: nothing had failed


def name_of(unit: str) -> str:
    """A process as people know it: "worker.1"."""
    found = units.NAME.fullmatch(unit)
    return f"{found['name']}{found['number'] or ''}" if found else unit


def has_ended(found: dict[str, str]) -> bool:
    """Whether a unit's process has ended in any way, by its properties."""
    return ended(found) or found["SubState"] == "auto-restart" or found["NRestarts"] not in ("", "0")


def ended(found: dict[str, str]) -> bool:
    """Whether a unit's process has ended with an error, by its properties."""
    return found["Result"] != "success" or (found["NRestarts"] not in ("", "0") and found["ExecMainStatus"] != "0")


def still_there(names: list[str]) -> list[str]:
    return [unit for unit, found in units.states(names).items() if found["ActiveState"] not in ("inactive", "failed")]


def stop(unit: str, seconds: int) -> None:
    """Stop a process and wait until it has ended; Failed if even systemd cannot end it."""
    asked = subprocess.Popen(["systemctl", "stop", unit], env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    try:
        asked.wait(seconds + LATE_SECONDS)
    except subprocess.TimeoutExpired:
        asked.kill()
        asked.wait()
    if still_there([unit]):
        what = f"{name_of(unit)} of the release before does not stop, although it was killed"
        raise Failed(what, f"find out what it waits for on the server: systemctl status '{unit}'")


def hint_on(app: str, release: str, unit: str, said: str) -> str:
    from ..serving.reasons import advice

    logs = f"fab logs --process {name_of(unit).partition('.')[0]}"
    return "\n".join(filter(None, (advice(app, release, said), logs)))
