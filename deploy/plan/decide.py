"""Decide about a deploy or a rollback: the release to serve, and the plan for it. Pure.

An operator's machine and the server's side of a CI key both use this code.
"""

from datetime import datetime, timedelta
from typing import Any

from ..agent.constants import RELEASE_TIME
from ..agent.dataclass import dataclass, replace
from ..agent.resources.release.recipes import Recipe
from ..agent.wire import Entry, Plan
from ..config.reader import App
from ..config.site import Site
from ..errors import NOTHING, HostError
from ..source.dependencies import Dependencies, dependencies
from ..source.pythons import chosen_python, wanted
from ..source.requirements import added
from ..stack.runners import runner_of
from .activate import activate
from .build import build
from .certificates import certified
from .facts import Facts, Release
from .places import placed, recorded_place
from .record import as_recorded, digest, recorded, recorded_recipe, venv_key

Run = dict[str, Any]


@dataclass(frozen=True)
class By:
    """Who makes a change, when, and how visitors reach the site.

    address: the server's, as an operator reaches it; "" if unknown.
    elsewhere: the facts of the other hosts of the command line.
    confined: requested with a CI key: its virtualenv is for such releases only, and no certificate is requested.
    """

    who: str
    now: datetime
    site: Site
    address: str = ""
    force: bool = False
    confined: bool = False
    elsewhere: tuple[Facts, ...] = ()

    def release(self, verb: str, facts: Facts, record: Run) -> Release:
        """A new release: its ID, and its record with the common fields."""
        release_id = self.agreed_id(verb, facts, record)
        made = {"id": release_id, "by": self.who, "at": self.now.isoformat(timespec="seconds"), "verb": verb}
        site = placed(self.site, facts)
        record = {key: value for key, value in record.items() if key != "site"}
        return Release(release_id, site, {**record, **made, **recorded_place(site)})

    def agreed_id(self, verb: str, facts: Facts, record: Run) -> str:
        """An ID that sorts after all releases of all hosts; or the ID that another host has for this deploy."""
        newest = max(facts.records, default="")
        served = [other.current for other in self.elsewhere if other.record.get("digest") == record.get("digest")]
        if verb == "deploy" and served and max(served) > newest:
            return max(served)
        return next_id(self.now, tuple(name for each in (facts, *self.elsewhere) for name in each.records))

    def existing(self, facts: Facts, release_id: str) -> Release:
        return Release(release_id, placed(self.site, facts), facts.records.get(release_id, {}))


@dataclass(frozen=True)
class Brought:
    """The input of a deploy. requirements: texts of the files that say what is installed, see `source.dependencies`.

    advice, products: see `Framework`.
    """

    entries: tuple[Entry, ...]
    requirements: dict[str, str]
    commit: str = ""
    advice: tuple[str, ...] = ()
    products: tuple[str, ...] = ()

    def dependencies(self, app: App) -> Dependencies:
        names = {entry.path for entry in self.entries}
        return dependencies(self.requirements, names, app.extras, app.install_project)


@dataclass(frozen=True)
class Decision:
    """app: as it will run. done: the text for success."""

    app: App
    release: Release
    plan: Plan
    done: str


def uploaded(new: int, total: int, size: str = "") -> str:
    """What is uploaded, in words: "2 new of 13 files, 2.5 kB"."""
    files = f"{new} new of {total} file{'' if total == 1 else 's'}"
    return ", ".join(filter(None, (files, size))) if new else "nothing new"


def deploy(app: App, by: By, facts: Facts, brought: Brought, upload: str) -> Decision:
    """upload: what is uploaded, as text."""
    site = placed(by.site, facts)
    last = () if by.confined else certified(app, site, by.address)
    found = brought.dependencies(app)
    app = replace(app, requirements=found.path)
    adds = "\n".join(filter(None, (added(found.texts, runner_of(app).package_for(app)), *app.extra_requirements)))
    python = chosen_python(wanted(app.python, brought.requirements), facts.python)
    if by.confined and python and not is_there(python, facts):
        what = f"a CI key cannot install Python {python} on the server"
        raise HostError(what, facts.hostname, NOTHING, "an operator's `fab deploy` installs it")
    found = replace(found, recipe=replace(found.recipe, python=python))
    key = venv_key(brought.entries, found, f"uv-{python}" if python else facts.python, by.confined, adds)
    made_of = digest(app, site, brought.entries, key, facts.cpus)
    if made_of == facts.record.get("digest"):
        release = by.existing(facts, facts.current)
        plan = activate("deploy", app, release, facts, force=by.force, last=last)
        return Decision(app, release, plan, "nothing new")
    record: Run = {"digest": made_of, "commit": brought.commit, "python": python or facts.python, "venv": key}
    record |= {"adds": adds} if adds else {}
    record |= {"recipe": recorded_recipe(found.recipe)} if found.recipe != Recipe() else {}
    release = by.release("deploy", facts, record | {"app": recorded(app)})
    built = build(app, release, facts, upload, found.listing, brought.advice, brought.products)
    plan = activate("deploy", app, release, facts, built, force=by.force, last=last)
    return Decision(app, release, plan, "deployed")


def is_there(python: str, facts: Facts) -> bool:
    """Whether the server has a Python of a version ("3.12" or "3.12.4") that uv has installed."""
    return any(f"{version}.".startswith(f"{python}.") for version in facts.pythons)


def rollback(app: App, by: By, facts: Facts, wanted: str, last: Run, where: str) -> Decision:
    """Back to the release `wanted`; "" is the newest good one before the current.

    last: the previous run, if nobody was told how it ended. If that was a rollback, this is the same command: it is
    finished, and no second rollback is made.
    """
    again = last.get("verb") == "rollback"
    target = rollback_target(facts, wanted or (last["release"] if again else ""), where)
    app = as_recorded(app, facts.records[target])
    release = by.existing(facts, target)
    left = facts.current if target != facts.current else last.get("previous", "") if again else ""
    leave = {left: "rolled back"} if left > target and left in facts.records else {}
    plan = activate("rollback", app, release, facts, leave=leave, force=by.force)
    return Decision(app, release, plan, f"rolled back to {target}")


def rollback_target(facts: Facts, wanted: str, where: str) -> str:
    """The release to go back to: `wanted`, or the newest good one older than the current.

    If none is current, because somebody removed the link, the newest good one.
    """
    ready = {name: record for name, record in facts.records.items() if record["state"] in ("good", "rolled back")}
    older = [name for name in facts.good if name < facts.current or not facts.current]
    there = ", ".join(sorted(ready.keys() - {facts.current})) or "none"
    if wanted and wanted not in ready and wanted != facts.current:
        what = (
            f"there is no release {wanted} to go back to" if wanted not in facts.records else f"{wanted} never served"
        )
        raise HostError(what, where, NOTHING, f"releases: {there} (`fab releases`)")
    if not wanted and not older:
        if not facts.records:
            raise HostError("there is no release to go back to", where, NOTHING, "fab deploy")
        what = "there is no good release before the current one" if facts.current else "there is no good release"
        raise HostError(what, where, NOTHING, f"other releases: {there} (`fab rollback ID`)")
    return wanted or older[-1]


def run_of(app: App, release: Release, facts: Facts) -> Run:
    """The fields of a change in the server's history, besides its verb and who made it."""
    run = {"app": app.name, "release": release.id, "previous": facts.current}
    return run | {"commit": release.record.get("commit", ""), "note": release.record.get("note", "")}


def next_id(now: datetime, releases: tuple[str, ...]) -> str:
    """A release ID that sorts after all existing ones, even if this machine's clock is wrong."""
    wanted = now.strftime(RELEASE_TIME)
    last = max(releases, default="")
    if wanted > last:
        return wanted
    later = datetime.strptime(last, RELEASE_TIME) + timedelta(seconds=1)
    return later.strftime(RELEASE_TIME)
