"""The processes of an app's current release: how many are wanted, and how many run."""

import os
from typing import Any

from ..resources.files import link_target
from ..resources.processes.units import NAME, UNITS, is_job, states
from .facts import record, scale_of


def workers(app: str) -> list[dict[str, Any]]:
    """For each process: name, count, running, configured (as its release says), restarts of those that run."""
    release = link_target(f"/srv/{app}/current")
    names = [name for name in os.listdir(UNITS) if release and name.startswith(f"{app}@{release}.")]
    units = [name for name in names if name.endswith(".service") and not is_job(name)]
    found = states(units)
    scale = scale_of(f"/srv/{app}")
    rows = []
    for made in record(f"/srv/{app}/releases/{release}").get("app", {}).get("processes", []):
        name = made["name"]
        own = [
            found[unit] for unit in units if unit in found and (match := NAME.fullmatch(unit)) and match["name"] == name
        ]
        active = [state for state in own if state["ActiveState"] == "active"]
        count = scale.get(name, made["count"])
        restarts = sum(int(state["NRestarts"] or 0) for state in own)
        rows.append(
            {"name": name, "count": count, "running": len(active), "configured": made["count"], "restarts": restarts}
        )
    return rows
