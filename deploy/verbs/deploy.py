"""`fab deploy`: the app's source becomes a new release, which runs next to the old one until it answers."""

from ..agent.dataclass import dataclass
from ..config.reader import App, Config, usual_host
from ..connection.payload import pack_ahead
from ..plan.decide import uploaded
from ..plan.facts import Facts
from ..screen.columns import size
from ..session.operation import Operation, change_each
from ..session.planner import planner_of
from ..session.session import Call
from ..source import pins
from ..source.checks import imported
from ..source.dependencies import USUAL_FILES
from ..source.pythons import note as python_note
from ..source.pythons import wanted
from ..source.requirements import added
from ..source.upload import Local, gather
from ..stack.finding import Finding
from ..stack.proxies import proxy_of
from ..stack.render import load
from ..stack.runners import runner_of
from ..stack.runners.base import UNIT

MOST_SHOWN = 5
LOOK_SECONDS = 3


def deploy(call: Call) -> None:
    change_each(call, "deploy", deploy_on, prepared)


@dataclass(frozen=True)
class ReadyToSend:
    """What a deploy has read. looking: a look inside the app, which goes on. notes: on its config."""

    local: Local
    looking: imported.Looking | None
    notes: tuple[str, ...] = ()

    def seen(self) -> list[Finding]:
        """What the look inside has found; an app that takes long to import is not waited for."""
        if not self.looking or not self.looking.has_ended(LOOK_SECONDS):
            return []
        found = self.looking.findings(LOOK_SECONDS)
        if all(each.level == "ok" for each in found):
            imported.remember(self.local.app, self.local.source.directory, self.local.source.entries)
        return [each for each in found if each.level in ("warning", "error")]


def prepared(config: Config, app: App) -> ReadyToSend:
    """What is uploaded; and what the plan is made with and sent as is loaded, all while the hosts are connected to."""
    local = gather(config, app)
    source = local.source
    at = (source.directory, usual_host(config), local.roots, source.entries)
    looking = imported.begin(local.app, *at) if local.app.served else None
    pack_ahead("plan.activate", app.proxy)
    load(UNIT, proxy_of(app).site_template)
    return ReadyToSend(local, looking, config.notes)


def deploy_on(change: Operation, read: ReadyToSend) -> None:
    local = read.local
    change.app = local.app
    app, host, source = change.app, change.host, local.source
    notes = [*read.notes, *source.notes, *notes_on_settings(local, app)]
    first = change.rollout.hosts[0] is host  # once is enough
    if first and host.stage.name != "sandbox":
        warn_of_pins(change, local)
    migrates = bool(local.framework.migrations([entry.path for entry in source.entries]))
    facts, reply = change.survey([list(entry) for entry in source.entries], compare=migrates)
    notes += notes_on_packages(local, app, facts)
    if migrates and facts.current:
        notes += notes_on_migrations(local, reply["added"])
    notes += notes_on_scale(app, facts)
    if facts.data:
        hint = f'fab run "du -sh /var/lib/{app.name}/*" shows what is large, fab run "rm …" deletes it'
        notes.append(f"{facts.data}; {hint}")
    for note in notes:
        change.screen.say(f"note: {note}", "yellow", host.name)
    for finding in (*local.findings, *read.seen()) if first else ():
        word = "note" if finding.level == "note" else "warning"
        change.screen.say(f"{word}: {finding.text}", "yellow", host.name)
    missing: list[int] = reply["missing"]
    news = uploaded(len(missing), len(source.entries), size(local.size_bytes(missing)))
    planner_of(change).deploy(local, facts, reply, news)


def notes_on_settings(local: Local, app: App) -> list[str]:
    """What the app's own file of settings for the runner says that does not go with the kit."""
    own, source = runner_of(app).own_file, local.source
    if not own or all(entry.path != own for entry in source.entries):
        return []
    return runner_of(app).notes_on((source.directory / own).read_text("utf-8", errors="replace"), app)


def notes_on_migrations(local: Local, added: list[str]) -> list[str]:
    """Which migrations the release brings. added: paths that the current release does not have."""
    found = local.framework.migrations(added)
    if not found:
        return []
    shown = ", ".join(found[:MOST_SHOWN]) + (", …" if len(found) > MOST_SHOWN else "")
    runs = local.framework.migrates in local.app.release_command
    how = "`release_command` applies them" if runs else "no `release_command` applies them"
    return [f"{len(found)} new migration{'' if len(found) == 1 else 's'} ({shown}): {how}"]


def notes_on_packages(local: Local, app: App, facts: Facts) -> list[str]:
    """Which files and which Python count, where a reader of the project could think of others."""
    found, package = local.found, runner_of(app).package_for(app)
    told = [python_note(wanted(app.python, local.requirements), facts.python)]
    if not app.requirements:
        others = [path for path in USUAL_FILES if path in {entry.path for entry in local.source.entries}]
        others = [path for path in others if path not in found.read]
        told += [f"{found.path} says what is installed; {', '.join(others)} is not used"] if others else []
    if added(found.texts, package) and ((found.recipe.how and not found.recipe.resolves) or found.recipe.hashed):
        told.append(f"{found.path} has no {package.name}: Ashore installs it with the versions in the lock, not pinned")
    return [note for note in told if note]


def notes_on_scale(app: App, facts: Facts) -> list[str]:
    """Where `fab scale` has another count than deploy.toml says."""
    return [
        f"{each.name}: {facts.scale[each.name]} of it, by `fab scale` (deploy.toml: {each.count})"
        for each in app.processes
        if facts.scale.get(each.name, each.count) != each.count
    ]


def warn_of_pins(change: Operation, local: Local) -> None:
    if said := pins.note(local.found.texts):
        change.screen.say(f"note: {said}", "yellow")
