"""What a deploy or a rollback comes to: the release that is to serve, and the plan that gets it there. Pure.

An operator's machine and the server's side of a CI key decide by this same code.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..agent.wire import Entry, Plan
from ..config.reader import App
from ..config.site import Site
from . import activate as switching
from . import record as build
from .provision import Facts, Release

Run = dict[str, Any]


@dataclass(frozen=True)
class By:
    """Who makes a change, when, and how visitors are to reach the site.

    address: the server's, as an operator reaches it; "" where that is not known.
    elsewhere: what the other hosts of the same command line have.
    confined: it is asked for over a CI key: what is built is for such releases only, and no certificate is asked for.
    """

    who: str
    now: datetime
    site: Site
    address: str = ""
    force: bool = False
    confined: bool = False
    elsewhere: tuple[Facts, ...] = ()

    def release(self, verb: str, facts: Facts, record: Run) -> Release:
        """A new release: its ID, and its record with what all records have."""
        release_id = self.agreed_id(verb, facts, record)
        made = {"id": release_id, "by": self.who, "at": self.now.isoformat(timespec="seconds"), "verb": verb}
        return Release(release_id, self.site, {**record, **made})

    def agreed_id(self, verb: str, facts: Facts, record: Run) -> str:
        """One that sorts after all releases of all hosts; or the one that another host serves this very deploy by."""
        newest = max(facts.records, default="")
        served = [other.current for other in self.elsewhere if other.record.get("digest") == record.get("digest")]
        if verb == "deploy" and served and max(served) > newest:
            return max(served)
        return next_id(self.now, tuple(name for each in (facts, *self.elsewhere) for name in each.records))

    def existing(self, facts: Facts, release_id: str) -> Release:
        return Release(release_id, self.site, facts.records.get(release_id, {}))


@dataclass(frozen=True)
class Brought:
    """What a deploy brings. requirements: text of each requirements file by its path."""

    entries: tuple[Entry, ...]
    requirements: dict[str, str]
    commit: str = ""


@dataclass(frozen=True)
class Change:
    """app: as it will run. done: the word for its success."""

    app: App
    release: Release
    plan: Plan
    done: str


def deploy(app: App, by: By, facts: Facts, brought: Brought, upload: str) -> Change:
    """upload: what travels, in words."""
    last = () if by.confined else switching.certified(app, by.site, by.address)
    key = build.venv_key(brought.entries, brought.requirements, facts.python, by.confined)
    digest = build.digest(app, by.site, brought.entries, key, facts.cpus)
    if digest == facts.record.get("digest"):
        release = by.existing(facts, facts.current)
        plan = switching.activate("deploy", app, release, facts, force=by.force, last=last)
        return Change(app, release, plan, "nothing new")
    record = {"digest": digest, "commit": brought.commit, "python": facts.python, "venv": key}
    release = by.release("deploy", facts, record | {"app": build.recorded(app)})
    built = switching.build(app, release, facts, upload)
    plan = switching.activate("deploy", app, release, facts, built, force=by.force, last=last)
    return Change(app, release, plan, "deployed")


def rollback(app: App, by: By, facts: Facts, wanted: str, last: Run, where: str) -> Change:
    """Back to the release `wanted`; "" is the newest good one before the current.

    last: the run before this one, if nobody heard how it ended. A rollback of which that is so is the same command: it
    is finished, not followed by another.
    """
    again = last.get("verb") == "rollback"
    target = switching.rollback_target(facts, wanted or (last["release"] if again else ""), where)
    app = build.as_recorded(app, facts.records[target])
    release = by.existing(facts, target)
    left = facts.current if target != facts.current else last.get("previous", "") if again else ""
    leave = {left: "rolled back"} if left > target and left in facts.records else {}
    plan = switching.activate("rollback", app, release, facts, leave=leave, force=by.force)
    return Change(app, release, plan, f"rolled back to {target}")


def run_of(app: App, release: Release, facts: Facts) -> Run:
    """What the server's history tells of a change, beside its verb and who made it."""
    run = {"app": app.name, "release": release.id, "previous": facts.current}
    return run | {"commit": release.record.get("commit", ""), "note": release.record.get("note", "")}


def next_id(now: datetime, releases: tuple[str, ...]) -> str:
    """A release ID that sorts after all there are, whatever this machine's clock says."""
    wanted = now.strftime("%Y%m%d-%H%M%S")
    last = max(releases, default="")
    if wanted > last:
        return wanted
    later = datetime.strptime(last, "%Y%m%d-%H%M%S") + timedelta(seconds=1)
    return later.strftime("%Y%m%d-%H%M%S")
