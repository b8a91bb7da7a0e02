"""One change of the release that serves, on one host: deploy, rollback, another environment, a restart."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from . import archive, build, changes, layout, plans, preview, requirements, switching
from .agent.resources.acme import Revoked
from .agent.resources.environment import FirstEnvironment
from .agent.resources.host import Platform
from .agent.wire import Plan, Secret
from .answers import conclude, look_from_here, of_certificate, require_well, warn
from .carry import Count, Options, agent_of, carry_out, how_left, left_as, title
from .ci import kit
from .ci.limits import kept
from .config import App, Config
from .dns import Lookup
from .errors import HostError, Interrupted, StepFailed
from .remote import Event
from .rollout import Rollout
from .screen import Screen, size
from .session import Host, operator
from .site import Site

AHEAD_BYTES = 256 << 10  # an upload up to so much is sent without waiting to be asked for it


@dataclass(frozen=True)
class Local:
    """What a deploy takes from the operator's machine. requirements: text of each requirements file by its path."""

    source: archive.Source
    requirements: dict[str, str]

    @property
    def brought(self) -> changes.Brought:
        return changes.Brought(self.source.entries, self.requirements, self.source.commit)

    def blobs(self, indices: list[int], show: Callable[[Event], None]) -> Iterator[bytes]:
        """The bytes of files of the source, by their indices, as they are to be sent."""
        sent, total = 0, sum(self.source.entries[index].size for index in indices) or 1
        for blob in archive.stream(self.source, indices):
            yield blob
            sent += len(blob)
            show({"event": "progress", "percent": min(100, 100 * sent / total), "what": "upload"})


def gather(config: Config, app: App) -> Local:
    source = archive.collect(config.directory, app.include, app.include_anyway)
    read: dict[str, str] = {}
    waiting = [app.requirements]
    while waiting:
        path = waiting.pop()
        read[path] = requirements.text_of(config.directory, path)
        waiting += [name for name in requirements.included(path, read[path]) if name not in read]
    requirements.check(source.entries, read)
    return Local(source, read)


@dataclass
class Change:
    """What the verbs below have in common. `facts` are known once `survey` has asked."""

    verb: str
    host: Host
    app: App
    site: Site
    screen: Screen
    options: Options
    rollout: Rollout
    who: str = field(default_factory=operator)
    last: Event = field(default_factory=dict)  # the run before this one, if nobody heard how it ended
    switched: bool = False  # a failed run had come as far as that
    count: Count = field(default_factory=Count)  # of the last plan

    def __post_init__(self) -> None:
        self.lookup = Lookup.of((*self.site.names, *self.site.aliases))  # answered by the time that it is needed

    @property
    def by(self) -> changes.By:
        now, elsewhere = self.rollout.now, self.rollout.elsewhere(self.host)
        return changes.By(self.who, now, self.site, self.host.reached_at, self.options.force, elsewhere=elsewhere)

    def survey(self, manifest: list[Any] | None = None) -> tuple[plans.Facts, Event]:
        """What is on the server, once it is this host's turn to be changed."""
        title(self.screen, self.verb, self.host, self.options)
        lock = {"verb": self.verb, "who": self.who, "break_lock": self.options.break_lock}
        reply = agent_of(self.host).request(
            {
                "request": "survey",
                "app": self.app.name,
                "app_directory": layout.home(self.app.name),
                "lock": None if self.options.check or self.verb == "ci.key" else lock,
                "wait": self.options.wait,
                "manifest": manifest,
                "compare": self.options.check,
            },
            self.show,
        )
        facts = plans.Facts.of(reply)
        if not agent_of(self.host).ci:  # there the server's side judges by what it needs itself
            plans.require_provisioned(self.app, self.site, facts, agent_of(self.host).where)
        elif self.options.break_lock:
            what, hint = "a CI key cannot take the lock of anybody", "--wait waits for the end of what is under way"
            raise HostError(what, agent_of(self.host).where, "nothing was changed", hint)
        self.rollout.looked(self.host, facts, self.last)
        return facts, reply

    def show(self, event: Event) -> None:
        if event["event"] == "last":
            self.last = event["run"]
        self.screen.event(self.host.name, event)

    def existing(self, facts: plans.Facts, release_id: str) -> plans.Release:
        return self.by.existing(facts, release_id)

    def copied(self, facts: plans.Facts) -> plans.Release:
        """A new release with the code of the current one."""
        record = {key: value for key, value in facts.record.items() if key not in ("state", "note")}
        return self.by.release(self.verb, facts, record)

    def require_release(self, facts: plans.Facts) -> None:
        if facts.current:
            return
        where = agent_of(self.host).where
        if not facts.good:
            raise HostError(f"no release of {self.app.name} serves yet", where, "nothing was changed", "fab deploy")
        what = f"no release of {self.app.name} has the traffic: {layout.current(self.app.name)} is not there"
        hint = "fab rollback gives it to the newest good release, fab deploy to a new one; then run this again"
        raise HostError(what, where, "nothing was changed", hint)

    def carry_out(self, plan: Plan, facts: plans.Facts, release: plans.Release, done: str, **upload: Any) -> None:
        run = changes.run_of(self.app, release, facts)
        count = self.count = Count()
        try:
            carry_out(plan, self.host, self.screen, self.options, done, run, count, **upload)
        except (StepFailed, Interrupted) as error:
            self.switched = bool(count.end.get("switched"))
            error.state = error.state or left_as(count, release.id, facts.current, release.id not in facts.records)
            self.rollout.leave(self.host, how_left(count.end, release.id, facts.current))
            raise
        self.rollout.leave(self.host, f"on {release.id}")

    def serve(
        self, plan: Plan, facts: plans.Facts, release: plans.Release, app: App | None, done: str, **upload: Any
    ) -> None:
        """Carry it out, and tell of what then serves; also where only what comes after the switch has failed.

        app: None where the three answers are not asked for.
        """
        try:
            self.carry_out(plan, facts, release, done, **upload)
        except StepFailed:
            if self.switched:
                self.conclude(facts, release, app)
            raise
        answer = self.conclude(facts, release, app)
        if not self.options.check:
            require_well(self.host, facts, release, self.count, answer)

    def conclude(self, facts: plans.Facts, release: plans.Release, app: App | None) -> str:
        if self.options.check:
            warn(self.screen, self.host, self.count, of_certificate(release.site, self.count))
            return ""
        return conclude(self.screen, self.host, facts, release, self.count, self.lookup, app)


def deploy(change: Change, local: Local) -> None:
    app, source, options = change.app, local.source, change.options
    facts, reply = change.survey([list(entry) for entry in source.entries])
    for note in source.notes:
        change.screen.say(f"note: {note}", "yellow", change.host.name)
    if facts.data:
        hint = f'fab run "du -sh /var/lib/{app.name}/*" shows it, fab run "rm …" makes room'
        change.screen.say(f"note: {facts.data}; {hint}", "yellow", change.host.name)
    missing: list[int] = reply["missing"]
    size_bytes = sum(source.entries[index].size for index in missing)
    news = f"{len(missing)} new of {len(source.entries)} files, {size(size_bytes)}" if missing else "nothing new"
    if agent_of(change.host).ci:
        from .ci import client

        client.deploy(change, local, facts, reply)
        return
    made = changes.deploy(app, change.by, facts, local.brought, news)
    new = made.release.id not in facts.records
    if options.check and new:
        venv = made.release.record["venv"]
        preview.show(change.screen, change.host, app, facts, reply, local.requirements, venv, source)

    def blobs(indices: list[int]) -> Iterator[bytes]:
        return local.blobs(indices, change.show)

    ahead = missing if new and missing and size_bytes <= AHEAD_BYTES and not options.check else None
    plan = kept(made.plan, app, change.site) if facts.ci else made.plan
    if facts.ci not in ("", kit.version()):
        note = "note: CI keys work with another version of the kit than this one; `fab ci.key` brings them up to date"
        change.screen.say(note, "yellow", change.host.name)
    change.serve(plan, facts, made.release, app, made.done, blobs=blobs, ahead=ahead)


def rollback(change: Change, wanted: str) -> None:
    """Back to the release `wanted`; "" is the newest good one before the current."""
    facts, _ = change.survey()
    wanted = change.rollout.target(wanted)
    if agent_of(change.host).ci:
        from .ci import client

        client.rollback(change, wanted, facts)
        return
    where = agent_of(change.host).where
    made = changes.rollback(change.app, change.by, facts, wanted, change.last, where)
    change.serve(made.plan, facts, made.release, made.app, made.done)


def set_environment(change: Change, changes: dict[str, str | None]) -> None:
    """The current release again, with another environment. None takes a name away."""
    facts, _ = change.survey()
    if not facts.current and not facts.good:
        return set_for_the_first(change, changes)
    change.require_release(facts)
    directory = layout.release(change.app.name, facts.current)
    news = agent_of(change.host).ask("resources.environment", "news", directory=directory, change=changes)
    if not news:  # but a run that broke off may have left something undone
        app = build.as_recorded(change.app, facts.record)
        release = change.existing(facts, facts.current)
        plan = switching.activate(change.verb, app, release, facts, force=change.options.force)
        return change.serve(plan, facts, release, None, "nothing new: the environment is like that already")
    names = ", ".join(f"{name} {how}" for name, how in news)
    release = change.copied(facts)
    release = replace(release, record={**release.record, "note": f"environment: {names}"})
    return copy_of(change, facts, release, changes, f"environment set: {names}")


def set_for_the_first(change: Change, changes: dict[str, str | None]) -> None:
    """Before there is a release: what the first one is to find in its environment, which may not start without it."""
    app = change.app.name
    step = FirstEnvironment(layout.first_environment(app), Secret(json.dumps(changes)))
    run = {"app": app, "note": f"environment: {', '.join(sorted(changes))}"}
    plan = Plan(change.verb, (step,))
    done = "environment set; the first `fab deploy` takes it"
    carry_out(plan, change.host, change.screen, change.options, done, run, Count())


def restart(change: Change) -> None:
    facts, _ = change.survey()
    change.require_release(facts)
    copy_of(change, facts, change.copied(facts), {}, "restarted", {facts.current: "restarted"})


def renew(change: Change, compromised: bool) -> None:
    """A new certificate with a new key, now. compromised: the old one is declared void, since its key is not secret."""
    facts, _ = change.survey()
    change.require_release(facts)
    where = agent_of(change.host).where
    if change.site.tls != "acme":
        what = f'the stage {change.host.stage.name} has tls = "{change.site.tls}": there is nothing to renew'
        hint = "put the new certificate into its files, then: fab deploy" if change.site.encrypted else ""
        raise HostError(what, where, "nothing was changed", hint)
    app = change.app.name
    words = {"app": app, "directory": layout.certificates(app)}
    old = agent_of(change.host).ask("resources.certificates", "listing", **words)
    steps = switching.certified(change.app, change.site, change.host.reached_at, anew=True)
    if compromised and old and old["state"] != "self-signed":
        steps += (Revoked(app, old["serial"], change.site.acme_directory),)
    plan = Plan("tls.renew", (Platform(plans.SYSTEMS), *steps))
    carry_out(plan, change.host, change.screen, change.options, "renewed", {"app": app}, Count())
    look_from_here(change.screen, change.host, change.site, change.lookup)


def copy_of(
    change: Change,
    facts: plans.Facts,
    release: plans.Release,
    changes: dict[str, str | None],
    done: str,
    leave: dict[str, str] | None = None,
) -> None:
    app = build.as_recorded(change.app, facts.record)
    built = switching.copy(app, release, facts.current, changes)
    plan = switching.activate(change.verb, app, release, facts, built, leave, change.options.force)
    change.serve(plan, facts, release, None, done)
