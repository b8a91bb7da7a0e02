"""The timers of an app: when each runs next, and how its last run ended. And running one now."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..resources.files import link_target, text_of
from ..resources.processes.units import UNITS
from ..resources.release.at_work import units_at_work
from ..system import ENVIRONMENT
from ..wire import Refused

if TYPE_CHECKING:
    from ..events import End, LogLine

RECORDS = "/var/lib/ashore/{app}/timers"  # by PROCESS_SCRIPT
WRITTEN_SECONDS = 0.5  # after a job's end, its last lines are in the journal


def timers(app: str) -> list[dict[str, Any]]:
    """The timers of the current release: name, schedule, next (epoch seconds or None), running, last (see `last`)."""
    release = link_target(f"/srv/{app}/current")
    argv = ["systemctl", "list-timers", "--all", "--output=json", f"{app}@{release}.*.timer"]
    ran = subprocess.run(argv, capture_output=True, env=ENVIRONMENT)
    try:
        rows = json.loads(ran.stdout or b"[]")
    except ValueError:
        rows = []
    due = {row.get("unit"): row.get("next") for row in rows}
    found = []
    prefix = f"{app}@{release}."
    for unit in sorted(os.listdir(UNITS) if release else []):
        if not (unit.startswith(prefix) and unit.endswith(".timer")):
            continue
        name = unit.removeprefix(prefix).removesuffix(".timer")
        lines = (text_of(f"{UNITS}/{unit}") or "").splitlines()
        schedule = next((line.partition("=")[2] for line in lines if line.startswith("OnCalendar=")), "")
        when = due.get(unit)
        made = {"name": name, "schedule": schedule, "active": unit in due, "running": is_running(app, name)}
        found.append(made | {"next": when / 1e6 if isinstance(when, int) and when else None, "last": last(app, name)})
    return found


def is_running(app: str, name: str) -> bool:
    """Whether a timer's job is at work, of whichever release."""
    return any(unit.startswith(f"{app}@") and unit.endswith(f".{name}.service") for unit in units_at_work())


def last(app: str, name: str) -> dict[str, Any]:
    """How its last run ended, {} before the first: release, began, ended, result (systemd's word), status."""
    try:
        found: dict[str, Any] = json.loads(text_of(f"{RECORDS.format(app=app)}/{name}.last") or "{}")
    except ValueError:
        return {}
    return found


def run_now(emit: "Callable[[LogLine], None]", unwanted: Callable[[], bool], app: str, name: str) -> "End":
    """Run a timer's job, or join it if it is at work, and emit what it writes until it has ended."""
    from .journal import follow

    release = link_target(f"/srv/{app}/current")
    unit = f"{app}@{release}.{name}.service"
    if not release or not os.path.exists(f"{UNITS}/{unit.removesuffix('.service')}.timer"):
        raise Refused(
            f"the current release of {app} has no timer {name}", "fab timers lists them; fab deploy brings new ones"
        )
    began = time.time()
    ran = subprocess.run(["systemctl", "start", "--no-block", unit], capture_output=True, env=ENVIRONMENT)
    if ran.returncode:
        raise Refused(f"{unit} could not be started", "", ran.stderr.decode(errors="replace"))
    gone_at = 0.0

    def over() -> bool:
        nonlocal gone_at
        if unwanted():
            return True
        gone_at = 0.0 if is_running(app, name) else gone_at or time.monotonic()
        return bool(gone_at) and time.monotonic() > gone_at + WRITTEN_SECONDS

    end = follow(emit, over, [unit], [], 0, f"@{began:.0f}", True, app)
    return end | {"seconds": time.time() - began}
