"""How many of which process run, changed without a deploy."""

import json

from ..agent import layout
from ..agent.resources.files import Absent, File
from ..agent.resources.processes.running import OnlyProcessesOf, Running
from ..agent.wire import Plan
from ..config.reader import App
from ..errors import NOTHING, ConfigError, HostError
from ..stack.processes import workers
from ..stack.processes.base import memory_share
from .build import beside
from .facts import Facts
from .record import as_recorded

MOST = 100
MOST_MEMORY = 100  # percent
EXAMPLE = "fab scale worker=3"


def wanted(written: str) -> dict[str, int | None]:
    """The counts of "worker=3,mailer=0"; None for "worker=", which is what deploy.toml says."""
    found: dict[str, int | None] = {}
    for word in written.replace(",", " ").split():
        name, equals, count = word.partition("=")
        if not equals or not name or not (count.isdigit() or not count) or int(count or 0) > MOST:
            what = f"{word!r} is not NAME=COUNT, with a count from 0 to {MOST}"
            raise ConfigError(what, "fab scale", NOTHING, f"{EXAMPLE}; {name or 'worker'}= goes back to deploy.toml's")
        found[name] = int(count) if count else None
    return found


def scaled(app: App, facts: Facts, counts: dict[str, int | None], where: str) -> dict[str, int]:
    """All counts that `fab scale` has set, after a change. HostError if the current release has no such process."""
    made = {each.name: each for each in as_recorded(app, facts.record).processes}
    for name, count in counts.items():
        if name not in made:
            known = ", ".join(made) or "none"
            hint = f"its processes: {known}; of the web process, `workers` in deploy.toml says how many"
            raise HostError(f"the current release has no process {name}", where, NOTHING, hint)
        if made[name].singleton and (count or 0) > 1:
            raise HostError(f"{name} is a singleton: it runs once", where, NOTHING, f"remove `singleton` of {name}")
    after = {**facts.scale, **counts}
    return {name: count for name, count in sorted(after.items()) if count is not None}


def scaling(app: App, facts: Facts, after: dict[str, int], force: bool) -> Plan:
    """Those that are too many stop, those that lack are started; if one of these ends at once, all is as before."""
    release = facts.current
    made = as_recorded(app, facts.record)
    before, now = (workers.units(made, release, counts) for counts in (facts.scale, after))
    surplus, fresh = tuple(u for u in before if u not in now), tuple(u for u in now if u not in before)
    path = layout.scale_file(app.name)
    kept = File(path, text(facts.scale)) if facts.scale else Absent(path)
    steps = (
        *beside(app, release, facts.with_scale(after), force),
        File(path, text(after)) if after else Absent(path),
        Running(app.name, release, now),
        *((OnlyProcessesOf(app.name, release, surplus),) if surplus else ()),
        *(Absent(f"{layout.UNITS}/{unit}") for unit in surplus),
    )
    undo = (
        kept,
        *((OnlyProcessesOf(app.name, release, fresh),) if fresh else ()),
        *(Absent(f"{layout.UNITS}/{unit}") for unit in fresh),
    )
    return Plan("scale", steps, undo)


def memory_note(app: App, facts: Facts, after: dict[str, int]) -> str:
    """What the processes may use together, where that is more than there is; "" where it is not."""
    made = as_recorded(app, facts.record)
    parts = [float(memory_share(made))]
    parts += [float(memory_share(made, each.memory_percent)) for each, _ in workers.numbered(made, after)]
    if sum(parts) <= MOST_MEMORY:
        return ""
    return f"together, the processes may use {sum(parts):.0f} % of the server's memory: `memory_percent` limits each"


def text(counts: dict[str, int]) -> str:
    return json.dumps(counts) + "\n"
