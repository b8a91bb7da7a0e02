"""One change of the release that serves, on one host: deploy, rollback, another environment, a restart."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from . import archive, build, changes, layout, plans, preview, switching
from .agent.resources.health import http_status
from .agent.wire import Plan
from .carry import Count, Options, agent_of, carry_out, left_as, title
from .ci import kit
from .ci.limits import kept
from .config import App, Config
from .errors import HostError, Interrupted, StepFailed
from .remote import Event
from .screen import Screen, size
from .session import Host, operator

OUTSIDE_SECONDS = 5
SETTLE_SECONDS = 2  # a worker of Nginx from before its reload may still take a connection, and know no such site
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
        file = config.directory / path
        read[path] = file.read_bytes().decode() if file.is_file() else ""  # as its bytes are, for their hash
        waiting += [name for name in build.included(path, read[path]) if name not in read]
    build.check_requirements(source.entries, read)
    return Local(source, read)


@dataclass
class Change:
    """What the verbs below have in common. `facts` are known once `survey` has asked."""

    verb: str
    host: Host
    app: App
    screen: Screen
    options: Options
    who: str = field(default_factory=operator)
    last: Event = field(default_factory=dict)  # the run before this one, if nobody heard how it ended

    @property
    def by(self) -> changes.By:
        return changes.By(self.who, datetime.now(timezone.utc), site_names(self.host), self.options.force)

    def survey(self, manifest: list[Any] | None = None) -> tuple[plans.Facts, Event]:
        title(self.screen, self.verb, self.host, self.options)
        reply = agent_of(self.host).request(
            {
                "request": "survey",
                "app": self.app.name,
                "app_directory": layout.home(self.app.name),
                "lock": None if self.options.check else {"verb": self.verb, "who": self.who},
                "wait": self.options.wait,
                "manifest": manifest,
                "compare": self.options.check,
            },
            self.show,
        )
        facts = plans.Facts.of(reply)
        if not agent_of(self.host).ci:  # there the server's side judges by what it needs itself
            plans.require_provisioned(self.app, facts, agent_of(self.host).where)
        return facts, reply

    def show(self, event: Event) -> None:
        if event["event"] == "last":
            self.last = event["run"]
        self.screen.event(self.host.name, event)

    def release(self, facts: plans.Facts, **record: Any) -> plans.Release:
        return self.by.release(self.verb, facts, record)

    def existing(self, facts: plans.Facts, release_id: str) -> plans.Release:
        return self.by.existing(facts, release_id)

    def copied(self, facts: plans.Facts) -> plans.Release:
        """A new release with the code of the current one."""
        return self.release(
            facts, **{key: value for key, value in facts.record.items() if key not in ("state", "note")}
        )

    def require_release(self, facts: plans.Facts) -> None:
        if not facts.current:
            where = agent_of(self.host).where
            raise HostError(f"no release of {self.app.name} serves yet", where, "nothing was changed", "fab deploy")

    def carry_out(self, plan: Plan, facts: plans.Facts, release: plans.Release, done: str, **upload: Any) -> None:
        run = changes.run_of(self.app, release, facts)
        count = Count()
        try:
            carry_out(plan, self.host, self.screen, self.options, done, run, count, **upload)
        except (StepFailed, Interrupted) as error:
            error.state = error.state or left_as(count, release.id, facts.current, release.id not in facts.records)
            raise

    def tell(self, facts: plans.Facts, release: plans.Release, app: App) -> None:
        """Look at the site from here, and answer the three questions."""
        if self.options.check:
            return
        self._look_from_here(release)
        name = release.names[0]
        python = ".".join(release.record.get("python", facts.python).split(".")[:2])
        commit = release.record.get("commit", "")
        threads = f" × {app.threads} threads" if app.worker_class == "gthread" else f", {app.worker_class}"
        answers = {
            "where": f"{facts.hostname} ({self.host.made.host}), {facts.system}, in {layout.current(app.name)}",
            "what": f"{layout.unit(app.name, release.id)}: Gunicorn, {app.workers or facts.cpus} workers{threads},"
            f" Python {python}" + (f", commit {commit}" if commit else ""),
            "how": f"http://{name}/ → Nginx, port 80 → unix socket → Gunicorn",
        }
        if facts.maintenance:
            answers["how"] += " (in maintenance: visitors get a 503 until `fab maintenance off`)"
        lines = [
            f"where is it running?    {answers['where']}",
            f"what is running it?     {answers['what']}",
            f"how do users reach it?  {answers['how']}",
        ]
        event = {"event": "answers", "host": self.host.name, "url": f"http://{name}/", "release": release.id, **answers}
        self.screen.result(event, "\n" + "\n".join(lines))

    def _look_from_here(self, release: plans.Release) -> None:
        """Ask for the page as a visitor would: a firewall in front of the server shows only from outside."""
        if self.host.made.gateway:
            return  # visitors may well reach what this machine cannot
        host = self.host.made.host
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            began = time.monotonic()
            answer = http_status((host, 80), release.names[0], "/", OUTSIDE_SECONDS)
            seconds = time.monotonic() - began
            if answer.isdigit() or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        if answer.isdigit():
            step = f"from here, http://{release.names[0]}/ answers {answer} in {1000 * seconds:.0f} ms"
            self.show({"event": "step", "step": step, "state": "ok", "seconds": 0.0, "drift": []})
        else:
            why = f"{host} does not answer on port 80 from here ({answer}): is it open in the provider's firewall?"
            self.screen.say(f"note: {why}", "yellow", self.host.name)


def deploy(change: Change, local: Local) -> None:
    app, source, options = change.app, local.source, change.options
    facts, reply = change.survey([list(entry) for entry in source.entries])
    for note in source.notes:
        change.screen.say(f"note: {note}", "yellow", change.host.name)
    missing: list[int] = reply["missing"]
    size_bytes = sum(source.entries[index].size for index in missing)
    news = f"{len(missing)} new of {len(source.entries)} files, {size(size_bytes)}" if missing else "nothing new"
    if agent_of(change.host).ci:
        from .ci import client

        return client.deploy(change, local, facts, reply)
    made = changes.deploy(app, change.by, facts, local.brought, news)
    new = made.release.id not in facts.records
    if options.check and new:
        venv = made.release.record["venv"]
        preview.show(change.screen, change.host, app, facts, reply, local.requirements, venv, source)

    def blobs(indices: list[int]) -> Iterator[bytes]:
        return local.blobs(indices, change.show)

    ahead = missing if new and missing and size_bytes <= AHEAD_BYTES and not options.check else None
    plan = made.plan
    if facts.ci:
        plan = kept(plan, app, made.release.names)
        if facts.ci != kit.version():
            note = (
                "note: CI keys work with another version of the kit than this one; `fab ci.key` brings them up to date"
            )
            change.screen.say(note, "yellow", change.host.name)
    change.carry_out(plan, facts, made.release, made.done, blobs=blobs, ahead=ahead)
    return change.tell(facts, made.release, app)


def rollback(change: Change, wanted: str) -> None:
    """Back to the release `wanted`; "" is the newest good one before the current."""
    facts, _ = change.survey()
    if agent_of(change.host).ci:
        from .ci import client

        return client.rollback(change, wanted, facts)
    change.require_release(facts)
    where = agent_of(change.host).where
    made = changes.rollback(change.app, change.by, facts, wanted, change.last, where)
    change.carry_out(made.plan, facts, made.release, made.done)
    return change.tell(facts, made.release, made.app)


def set_environment(change: Change, changes: dict[str, str | None]) -> None:
    """The current release again, with another environment. None takes a name away."""
    facts, _ = change.survey()
    change.require_release(facts)
    directory = layout.release(change.app.name, facts.current)
    news = agent_of(change.host).ask("resources.environment", "news", directory=directory, change=changes)
    if not news:  # but a run that broke off may have left something undone
        app = build.as_recorded(change.app, facts.record)
        release = change.existing(facts, facts.current)
        plan = switching.activate(change.verb, app, release, facts, force=change.options.force)
        return change.carry_out(plan, facts, release, "nothing new: the environment is like that already")
    names = ", ".join(f"{name} {how}" for name, how in news)
    release = change.copied(facts)
    release = replace(release, record={**release.record, "note": f"environment: {names}"})
    return copy_of(change, facts, release, changes, f"environment set: {names}")


def restart(change: Change) -> None:
    facts, _ = change.survey()
    change.require_release(facts)
    copy_of(change, facts, change.copied(facts), {}, "restarted", {facts.current: "restarted"})


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
    change.carry_out(plan, facts, release, done)


def site_names(host: Host) -> tuple[str, ...]:
    """The site's server names: the stage's domains; the host's own address where there are none or -H named it."""
    own = (host.made.host,) if host.named or not host.stage.domains else ()
    return (*own, *host.stage.domains) if host.named else (*host.stage.domains, *own)
