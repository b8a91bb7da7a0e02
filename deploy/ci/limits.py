"""The limits of an app's CI keys, stored on the server by `fab ci.key` and by each deploy of an operator."""

import json
from typing import Any

from ..agent import layout
from ..agent.dataclass import asdict, dataclass, replace
from ..agent.resources.files import File
from ..agent.wire import Plan
from ..config.reader import App
from ..config.site import Site

SWITCHES = ("outbound", "allow_jit")
LISTS = ("writable_paths", "devices", "apt", "build_apt")
PINNED = ("proxy",)
CEILINGS = (
    "memory_percent", "cpu_percent", "tasks_max", "tmp_megabytes", "max_body_megabytes", "keep_releases",
    "release_seconds", "build_seconds", "health_seconds", "watch_seconds", "timeout_seconds",
    "requests_per_second", "connections_per_address", "stream_drain_seconds", "stream_idle_seconds",
)  # fmt: skip
BESIDE = "processes"
# The value that means "as much as there is".
NO_LIMIT = {"cpu_percent": 0, "requests_per_second": 0, "connections_per_address": 0}


@dataclass(frozen=True)
class Limits:
    """allowed: settings of [app] that loosen its sandbox, or let it use more of the server."""

    site: Site
    allowed: dict[str, Any]


def recorded(app: App, site: Site) -> str:
    """As the server keeps it."""
    allowed = {key: getattr(app, key) for key in (*SWITCHES, *LISTS, *PINNED, *CEILINGS)} | {BESIDE: beside(app)}
    return json.dumps({"site": site_to_json(site), "allowed": allowed}, indent=1, sort_keys=True) + "\n"


def read(text: str) -> Limits:
    found = json.loads(text)
    unknown = App("", "")  # an older version of the kit recorded fewer settings: those are as by default
    allowed = {key: getattr(unknown, key) for key in (*SWITCHES, *LISTS, *PINNED, *CEILINGS)} | {BESIDE: 0}
    return Limits(site_from_json(found["site"]), allowed | found["allowed"])


def site_to_json(site: Site) -> Any:
    """What of a stage a CI key's side of the server, and its client, have to know: all but a certificate's key."""
    kept = ("certificate", "key", "ended", "authority", "logins")  # on the server, or of use to an operator only
    return {key: value for key, value in asdict(site).items() if key not in kept}


def site_from_json(found: Any) -> Site:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    return Site(**values)


def record(app: App, site: Site) -> File:
    return File(layout.ci_record(app.name), recorded(app, site), 0o600)


def kept(plan: Plan, app: App, site: Site) -> Plan:
    """The plan of an operator's deploy, which also records the new limits of CI keys."""
    return replace(plan, finish=(*plan.finish, record(app, site)))


def beyond(app: App, limits: Limits) -> list[str]:
    """The settings beyond the limits: "allow_jit = true (allowed: false)"."""
    found = []
    for key in SWITCHES:
        if getattr(app, key) and not limits.allowed[key]:
            found.append(f"{key} = true (allowed: false)")
    for key in PINNED:
        if getattr(app, key) != limits.allowed[key]:
            found.append(f"{key} = {json.dumps(getattr(app, key))} (allowed: {json.dumps(limits.allowed[key])})")
    for key in LISTS:
        more = [value for value in getattr(app, key) if value not in limits.allowed[key]]
        if more:
            found.append(f"{key} = {json.dumps(more)} (allowed: {json.dumps(limits.allowed[key])})")
    for key in CEILINGS:
        wanted, most, none = getattr(app, key), limits.allowed[key], NO_LIMIT.get(key)
        if most != none and (wanted > most or wanted == none):
            found.append(f"{key} = {wanted} (allowed: {most})")
    if beside(app) > limits.allowed[BESIDE]:
        found.append(f"{BESIDE} = {beside(app)} (allowed: {limits.allowed[BESIDE]})")
    return found


def beside(app: App) -> int:
    """How many processes and timers a release has besides its web server: each may use as much as that."""
    return sum(process.count for process in app.processes) + len(app.timers)
