"""The units that stop older releases in the background, see `retired`: by their files, as systemd has them in /run."""

import os

from ...wire import Drift

TRANSIENT = "/run/systemd/transient"


def retiring(unit: str) -> str:
    """The unit that stops a release."""
    return f"ashore-retire-{unit.replace('@', '-')}"


def is_retiring(unit: str) -> bool:
    return os.path.exists(f"{TRANSIENT}/{retiring(unit)}")


def stop_of(unit: str, active: bool) -> list[Drift]:
    """What an instance that is to run must not have ahead of it: a rollback makes it the current one again."""
    return [Drift("stop", "under way", "cancelled")] if active and is_retiring(unit) else []


def retiring_releases(app: str) -> list[str]:
    names = os.listdir(TRANSIENT) if os.path.exists(TRANSIENT) else []
    return [name[-23:-8] for name in names if name[:-23] == f"ashore-retire-{app}-"]  # before it, the ID and .service
