"""Which releases still have something at work, so that they are not removed: processes, jobs of timers, commands."""

import os
import re

INVOCATIONS = "/run/systemd/units"  # systemd's: a link for each unit that runs
STAMPS = "/var/lib/systemd/timers"  # systemd's: their times are when each timer has last elapsed


def of_instance(unit: str) -> str:
    """The release of a unit of an app's template, APP@RELEASE.service or APP@RELEASE.NAME.service."""
    return unit.partition("@")[2].partition(".")[0]


def units_at_work() -> list[str]:
    """The units that run, of whomever."""
    names = os.listdir(INVOCATIONS) if os.path.isdir(INVOCATIONS) else []
    return [name.partition(":")[2] for name in names if name.startswith("invocation:")]


def releases_at_work(app: str) -> set[str]:
    units = units_at_work()
    run = re.compile(rf"{re.escape(app)}-run-(\d{{8}}-\d{{6}})-\d+\.service")  # of `fab run`
    commands = {match[1] for unit in units if (match := run.fullmatch(unit))}
    return commands | {of_instance(unit) for unit in units if unit.startswith(f"{app}@")}


def stamps_of(app: str) -> list[str]:
    """The paths of the stamps of an app's timers."""
    names = os.listdir(STAMPS) if os.path.isdir(STAMPS) else []
    return [f"{STAMPS}/{name}" for name in names if name.startswith(f"stamp-{app}@")]
