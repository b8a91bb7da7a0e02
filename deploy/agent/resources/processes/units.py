"""The units of an app's processes and timers, as systemd has them: by their names, APP@RELEASE.NAME.NUMBER.service."""

import os
import re
import subprocess
from collections.abc import Iterable

from ...system import ENVIRONMENT, System, unit_blocks
from ..files import Link

UNITS = "/etc/systemd/system"
WANTS = {"service": f"{UNITS}/multi-user.target.wants", "timer": f"{UNITS}/timers.target.wants"}
STARTING = "/run/ashore/starting"  # APP@RELEASE in it: a deploy is starting its processes, so systemd may
NAME = re.compile(
    r"(?P<app>[a-z][a-z0-9-]*)@(?P<release>\d{8}-\d{6})\.(?P<name>[a-z0-9-]+)(?P<number>\.\d+)?\.(?P<kind>\w+)"
)
PROPERTIES = "Id,ActiveState,SubState,Result,NRestarts,ExecMainStatus"


def release_of(unit: str) -> str:
    """The release of the unit of a process, a timer or a job; "" for another unit."""
    found = NAME.fullmatch(unit)
    return found["release"] if found else ""


def is_job(unit: str) -> bool:
    """Whether this is what a timer runs: it ends by itself."""
    found = NAME.fullmatch(unit)
    return found is not None and found["kind"] == "service" and not found["number"]


def wanted_at_boot(unit: str) -> str:
    """The link that has systemd start a unit at boot."""
    return f"{WANTS[unit.rpartition('.')[2]]}/{unit}"


def states(units: Iterable[str]) -> dict[str, dict[str, str]]:
    """Unit → PROPERTIES, as they are now."""
    names = sorted(units)
    if not names:
        return {}
    argv = ["systemctl", "show", "-p", PROPERTIES, *names]
    return unit_blocks(subprocess.run(argv, capture_output=True, env=ENVIRONMENT).stdout.decode(errors="replace"))


def loaded(app: str) -> dict[str, str]:
    """The units of an app's processes, timers and jobs that systemd knows → ActiveState."""
    patterns = (f"{app}@*.*.service", f"{app}@*.*.timer")
    argv = ["systemctl", "list-units", "--all", "--plain", "--no-legend", *patterns]
    text = subprocess.run(argv, capture_output=True, env=ENVIRONMENT).stdout.decode(errors="replace")
    rows = [line.replace("●", " ").split() for line in text.splitlines()]
    return {row[0]: row[2] for row in rows if len(row) > 2 and NAME.fullmatch(row[0])}


def at_boot(app: str) -> list[str]:
    """The units of an app's processes and timers that systemd starts at boot."""
    names = [name for path in WANTS.values() if os.path.isdir(path) for name in os.listdir(path)]
    return sorted(name for name in names if name.startswith(f"{app}@") and NAME.fullmatch(name))


def enabled(unit: str) -> bool:
    return os.path.islink(wanted_at_boot(unit))


def enable(unit: str, system: System) -> None:
    """By hand: systemctl would have systemd read all units anew, a tenth of a second."""
    link = wanted_at_boot(unit)
    os.makedirs(os.path.dirname(link), exist_ok=True)
    Link(link, f"{UNITS}/{unit}").apply(system)


def disable(unit: str) -> None:
    if enabled(unit):
        os.unlink(wanted_at_boot(unit))
