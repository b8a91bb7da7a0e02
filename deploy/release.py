"""One deploy to one host: what travels, which release it makes, and the three answers at its end."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from . import archive, layout, plans
from .agent.resources.health import http_status
from .carry import Options, agent_of, carry_out, title
from .config import App, Config
from .errors import Interrupted, StepFailed
from .remote import Agent, Event
from .screen import Screen
from .session import Host, operator

OUTSIDE_SECONDS = 5
SETTLE_SECONDS = 2  # a worker of Nginx from before its reload may still take a connection, and know no such site


@dataclass(frozen=True)
class Local:
    """What a deploy takes from the operator's machine."""

    app: App
    source: archive.Source
    requirements: dict[str, str]


def gather(config: Config, host: Host) -> Local:
    app = config.app_on(host.stage)
    source = archive.collect(config.directory, app.include)
    read: dict[str, str] = {}
    waiting = [app.requirements]
    while waiting:
        path = waiting.pop()
        file = config.directory / path
        read[path] = file.read_text("utf-8") if file.is_file() else ""
        waiting += [name for name in plans.included(path, read[path]) if name not in read]
    plans.check_requirements(app, source.entries, read)
    return Local(app, source, read)


@dataclass
class Deploy:
    host: Host
    local: Local
    screen: Screen
    options: Options

    def run(self) -> None:
        agent, app, source = agent_of(self.host), self.local.app, self.local.source
        title(self.screen, "deploy", self.host, self.options)
        for note in source.notes:
            self.screen.say(f"note: {note}", "yellow", self.host.name)
        who = operator()
        lock = "" if self.options.check else "deploy"
        ask = {"request": "survey", "app_directory": layout.home(app.name), "lock": lock, "who": who}
        facts = plans.Facts.of(agent.request(ask, self._show))
        plans.require_provisioned(app, facts, agent.where)
        release = self._release(facts, who)
        try:
            if release.id != facts.current:
                self._upload(agent)
            plan = plans.deploy(app, release, facts, self.options.overwrite)
            carry_out(
                agent,
                plan,
                self.host,
                self.screen,
                self.options,
                "deployed" if release.id != facts.current else "nothing new",
            )
        except (StepFailed, Interrupted) as error:
            serving = f"traffic stays on {facts.current}" if facts.current else "no release serves yet"
            error.state = error.state or f"{serving}; the new release was stopped and removed"
            raise
        if not self.options.check:
            self._look_from_here(release)
            self._answers(facts, release)

    def _show(self, event: Event) -> None:
        self.screen.event(self.host.name, event)

    def _release(self, facts: plans.Facts, who: str) -> plans.Release:
        app, entries = self.local.app, self.local.source.entries
        key = plans.venv_key(app, entries, self.local.requirements, facts.python)
        digest = plans.digest(app, entries, key, facts.cpus)
        now = datetime.now(timezone.utc)
        return plans.Release(
            id=facts.current if digest == facts.digest else next_id(now, facts.releases),
            entries=entries,
            venv_key=key,
            digest=digest,
            commit=self.local.source.commit,
            by=who,
            at=now.isoformat(timespec="seconds"),
            names=site_names(self.host),
        )

    def _upload(self, agent: Agent) -> None:
        source = self.local.source
        home = layout.home(self.local.app.name)
        manifest = [list(entry) for entry in source.entries]
        if self.options.check:
            reply = agent.request({"request": "missing", "app_directory": home, "manifest": manifest})
            self.screen.say(f"{'would send':>12}  {amount(reply)} of {len(manifest)} files", "yellow", self.host.name)
            return
        sent = 0

        def blobs(indices: list[int]) -> Any:
            nonlocal sent
            total = sum(source.entries[index].size for index in indices) or 1
            for blob in archive.stream(source, indices):
                yield blob
                sent += len(blob)
                self._show({"event": "progress", "percent": min(100, 100 * sent / total), "what": "upload"})

        reply = agent.upload(home, manifest, blobs)
        state = "changed" if reply["files"] else "ok"
        packed = f", {size(sent)} packed" if reply["files"] else ""
        step = f"upload: {amount(reply)} of {len(manifest)} files{packed}"
        self._show({"event": "step", "step": step, "state": state, "seconds": 0.0, "drift": []})

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
            self._show({"event": "step", "step": step, "state": "ok", "seconds": 0.0, "drift": []})
        else:
            why = f"{host} does not answer on port 80 from here ({answer}): is it open in the provider's firewall?"
            self.screen.say(f"note: {why}", "yellow", self.host.name)

    def _answers(self, facts: plans.Facts, release: plans.Release) -> None:
        app, name = self.local.app, release.names[0]
        python = ".".join(facts.python.split(".")[:2])
        workers = app.workers or facts.cpus
        answers = {
            "where": f"{facts.hostname} ({self.host.made.host}), {facts.system}, in {layout.current(app.name)}",
            "what": f"{layout.unit(app.name, release.id)}: Gunicorn, {workers} workers × {app.threads} threads,"
            f" Python {python}" + (f", commit {release.commit}" if release.commit else ""),
            "how": f"http://{name}/ → Nginx, port 80 → unix socket → Gunicorn",
        }
        lines = [
            f"where is it running?    {answers['where']}",
            f"what is running it?     {answers['what']}",
            f"how do users reach it?  {answers['how']}",
        ]
        event = {"event": "answers", "host": self.host.name, "url": f"http://{name}/", "release": release.id, **answers}
        self.screen.result(event, "\n" + "\n".join(lines))


def site_names(host: Host) -> tuple[str, ...]:
    """The site's server names: the stage's domains; the host's own address where there are none or -H named it."""
    own = (host.made.host,) if host.named or not host.stage.domains else ()
    return (*own, *host.stage.domains) if host.named else (*host.stage.domains, *own)


def next_id(now: datetime, releases: tuple[str, ...]) -> str:
    """A release ID that sorts after all there are, whatever this machine's clock says."""
    wanted = now.strftime("%Y%m%d-%H%M%S")
    last = max(releases, default="")
    if wanted > last:
        return wanted
    later = datetime.strptime(last, "%Y%m%d-%H%M%S") + timedelta(seconds=1)
    return later.strftime("%Y%m%d-%H%M%S")


def amount(reply: Event) -> str:
    return f"{reply['files']} new files, {size(reply['bytes'])}" if reply["files"] else "nothing new"


def size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
