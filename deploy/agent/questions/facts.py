"""Facts about this host and its apps, for plans and lists."""

import glob
import json
import os
import re
import sys
from typing import Any

from .. import history
from ..constants import PROXIES, RELEASE_ID
from ..resources.files import link_target, text_of
from ..resources.host.machine import os_release
from ..resources.release.pythons import there as pythons
from ..system import System

UV = "/usr/local/lib/ashore"


def survey(app: str, app_directory: str) -> dict[str, Any]:
    """Facts of the host and of one app on it; shape: `plan.facts.Facts`."""
    from .places import places

    current, there = link_target(f"{app_directory}/current"), places()
    return {
        "hostname": os.uname().nodename,
        "system": os_release().get("PRETTY_NAME", "unknown"),
        "python": "{}.{}.{}".format(*sys.version_info),
        "cpus": len(os.sched_getaffinity(0)),
        **versions(System()),
        "records": records(app_directory),
        "current": current,
        "previous": link_target(f"{app_directory}/previous"),
        "maintenance": os.path.exists(f"{app_directory}/maintenance/on"),
        "provisioned": (text_of(f"{app_directory}/provisioned") or "").strip(),
        "ci": ci_kit(app),
        "data": (text_of(f"/run/ashore/data-{app}") or "").strip(),
        "scale": scale_of(app_directory),
        "place": next((one for one in there if one["app"] == app), None),
        "neighbours": [one for one in there if one["app"] != app],
        "pythons": sorted(pythons()),
        "uv": [os.path.basename(path)[3:] for path in glob.glob(f"{UV}/uv-*") if "building" not in path],
    }


def scale_of(app_directory: str) -> dict[str, int]:
    """What `fab scale` has set: {name of a process: count}."""
    try:
        found = json.loads(text_of(f"{app_directory}/scale.json") or "{}")
    except ValueError:
        return {}
    return {str(name): count for name, count in found.items() if isinstance(count, int)}


def versions(system: System) -> dict[str, str]:
    """Of the proxies' packages, by name; "" for one that is not installed."""
    return {name: system.version(name) for name in PROXIES}


def ci_kit(app: str) -> str:
    """Which version of the kit makes plans for CI keys of the app; "" where there are none."""
    found = re.search(r"/ci-([0-9a-f]+)'", text_of(f"/etc/systemd/system/ashore-ci-{app}@.service") or "")
    return found[1] if found else ""


def records(app_directory: str) -> dict[str, dict[str, Any]]:
    """Map release ID to what its release.json says, and its `state`. A release without a record is half of one."""
    releases = f"{app_directory}/releases"
    found = {}
    for name in sorted(os.listdir(releases)) if os.path.isdir(releases) else []:
        if re.fullmatch(RELEASE_ID, name):
            found[name] = record(f"{releases}/{name}")
    return found


def record(directory: str) -> dict[str, Any]:
    try:
        with open(f"{directory}/release.json", encoding="utf-8") as file:
            read: dict[str, Any] = json.load(file)
    except (OSError, ValueError):
        read = {}
    try:
        with open(f"{directory}/state", encoding="utf-8") as file:
            state = file.read().strip()
    except OSError:
        state = ""
    return {**read, "state": state}


def missing(app_directory: str, manifest: list[Any], compare: bool) -> dict[str, Any]:
    """Which entries of a manifest this server lacks, and with `compare` how it differs from the current release's."""
    from ..resources.release.uploads import manifest_of, missing_from
    from ..wire import Entry

    entries = [Entry(*item) for item in manifest]
    found: dict[str, Any] = {"missing": missing_from(app_directory, entries)}
    if compare:
        before = {entry.path: entry[1:] for entry in manifest_of(f"{app_directory}/current")}
        after = {entry.path: entry[1:] for entry in entries}
        found["added"] = sorted(after.keys() - before.keys())
        found["removed"] = sorted(before.keys() - after.keys())
        found["changed"] = sorted(path for path in after.keys() & before.keys() if after[path] != before[path])
    return found


def releases(app: str, app_directory: str) -> dict[str, Any]:
    """For `fab releases`: the records with their size, and the history, which knows of those that failed."""
    from ..resources.release.uploads import manifest_of
    from ..resources.serving.background import retiring_releases

    found, retiring = records(app_directory), retiring_releases(app)
    for name, read in found.items():
        read["retiring"] = name in retiring
        read["size_bytes"] = sum(entry.size for entry in manifest_of(f"{app_directory}/releases/{name}"))
    return {"records": found, "current": link_target(f"{app_directory}/current"), "history": history.read(app)}
