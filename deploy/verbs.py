"""What each verb does on its hosts. What only planning needs is imported while the connection is being made."""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import layout
from .agent.wire import Plan
from .carry import Count, Options, agent_of, carry_out, title
from .config import App, Config
from .errors import NOTHING, ConfigError, DeployError, HostError, StepFailed
from .payload import pack_ahead
from .remote import Event
from .screen import Screen
from .session import Host, Session, each_told_of, wait_for
from .site import site_of

if TYPE_CHECKING:
    from .release import Change, Local
    from .rollout import Rollout

__all__ = [
    "Options", "deploy", "env", "env_set", "history", "logs", "maintenance", "provision", "releases", "restart",
    "rollback", "run", "shell", "tls", "tls_renew",
]  # fmt: skip


def provision(session: Session, context: Any, screen: Screen, options: Options) -> None:
    config = session.config()
    hosts = session.hosts(context, config)
    screen.several = len(hosts) > 1
    prepared: dict[str, Plan] = {}

    def prepare() -> None:
        wait_for(host.connected for host in hosts)  # two that want the CPU would wait for each other
        from . import plans

        prepared["plan"] = plans.provision(config.app, hosts[0].stage, options.force)
        pack_ahead(prepared["plan"])

    def job(host: Host) -> None:
        from .proof import require_key

        title(screen, "provision", host, options)
        if not options.check:
            require_key(host)
        try:
            run = {"app": config.app.name}
            carry_out(prepared["plan"], host, screen, options, "provisioned", run, Count())
        except StepFailed as error:
            error.state = error.state or "the steps before it stand; run again and it goes on from there"
            raise

    with each_told_of(hosts, "checked" if options.check else "provisioned"):
        session.on_each(hosts, job, screen, prepare=prepare, may_install=not options.check)


def changing(
    session: Session,
    context: Any,
    screen: Screen,
    options: Options,
    verb: str,
    job: Callable[["Change", Any], None],
    gather: Callable[[Config, App], Any] = lambda config, app: None,
) -> None:
    """Host after host, see `rollout`. `gather` runs while they connect."""
    config = session.config()
    hosts = session.hosts(context, config)
    screen.several = len(hosts) > 1
    app = config.app_on(hosts[0].stage)  # they are all of one stage
    sites = {host.key: site_of(host.stage, host.made.host, host.named, config.directory) for host in hosts}
    gathered: list[Any] = []
    rollouts: list[Rollout] = []

    def prepare() -> None:
        from . import release  # noqa: F401  its import takes as long as a connection
        from .rollout import Rollout

        rollouts.append(Rollout(hosts, session.now, session.interrupted))
        gathered.append(gather(config, app))

    def work(host: Host) -> None:
        from .release import Change

        job(Change(verb, host, app, sites[host.key], screen, options, rollouts[0]), gathered[0])

    try:
        session.on_each(hosts, work, screen, prepare=prepare, may_install=False)
    except DeployError as error:
        if rollouts and not options.check:
            error.state = rollouts[0].state(error)
        raise


def deploy(session: Session, context: Any, screen: Screen, options: Options) -> None:
    def gather(config: Config, app: App) -> "Local":
        from .release import gather

        return gather(config, app)

    def job(change: "Change", local: "Local") -> None:
        from .pins import note
        from .release import deploy

        first = change.rollout.hosts[0] is change.host  # once is enough
        if first and change.host.stage.name != "sandbox" and (said := note(local.requirements)):
            screen.say(f"note: {said}", "yellow")
        deploy(change, local)

    changing(session, context, screen, options, "deploy", job, gather)


def rollback(session: Session, context: Any, screen: Screen, options: Options, wanted: str) -> None:
    def job(change: "Change", _: None) -> None:
        from .release import rollback

        rollback(change, wanted)

    changing(session, context, screen, options, "rollback", job)


def restart(session: Session, context: Any, screen: Screen, options: Options) -> None:
    def job(change: "Change", _: None) -> None:
        from .release import restart

        restart(change)

    changing(session, context, screen, options, "restart", job)


def env_set(
    session: Session, context: Any, screen: Screen, options: Options, verb: str, changes: dict[str, str | None]
) -> None:
    def job(change: "Change", _: None) -> None:
        from .release import set_environment

        set_environment(change, changes)

    changing(session, context, screen, options, verb, job)


def maintenance(session: Session, context: Any, screen: Screen, options: Options, state: str, allow: str) -> None:
    if state not in ("on", "off"):
        raise ConfigError(f"maintenance is on or off, not {state}", state=NOTHING, hint="fab maintenance on")

    def job(change: "Change", _: None) -> None:
        from . import plans

        change.survey()
        own = agent_of(change.host).ask("history", "origin")
        through = plans.addresses(["127.0.0.1", "::1", own, *allow.replace(",", " ").split()])
        plan = plans.maintenance(change.app, through, state == "on")
        run = {"app": change.app.name, "note": plan.verb}
        others = ", ".join(address for address in through if address not in ("127.0.0.1", "::1")) or "the server itself"
        done = f"visitors get a 503; {others} still get through" if state == "on" else "the site is open"
        carry_out(plan, change.host, screen, options, done, run, Count())

    changing(session, context, screen, options, "maintenance", job)


def run(session: Session, context: Any, screen: Screen, command: list[str]) -> int:
    """A one-off command on the stage's first host; its exit status. Nothing but its own output goes to stdout."""
    from .terminal import Joined

    config = session.config()
    host, *others = session.hosts(context, config)
    if others:
        sys.stderr.write(f"note: on {host.name} only, the first of {len(others) + 1} hosts\n")
    joined = Joined(config.app.name, command)
    statuses = []
    session.on_each(
        [host],
        lambda host: statuses.append(joined.run(agent_of(host))),
        screen,
        prepare=joined.follow_window,
        may_install=False,
    )
    return statuses[0]


def shell(session: Session, context: Any, screen: Screen) -> int:
    from .terminal import at_terminal

    if not at_terminal():
        raise ConfigError("a shell wants a terminal", "fab shell", NOTHING, 'for one command: fab run "COMMAND"')
    return run(session, context, screen, ["/bin/bash", "-i"])


def looking(session: Session, context: Any, screen: Screen, job: Callable[[Host, App], None]) -> None:
    """A verb that only asks, on all hosts at once."""
    config = session.config()
    hosts = session.hosts(context, config)
    screen.several = len(hosts) > 1
    session.on_each(hosts, lambda host: job(host, config.app), screen, prepare=lambda: None, may_install=False)


def releases(session: Session, context: Any, screen: Screen) -> None:
    def job(host: Host, app: App) -> None:
        from .listing import releases

        found = agent_of(host).ask("facts", "releases", app=app.name, app_directory=layout.home(app.name))
        screen.table(host.name, releases(found), f"no release of {app.name} is on {host.name} yet (`fab deploy`)")

    looking(session, context, screen, job)


def require_count(lines: int, command: str) -> None:
    if lines < 0:
        raise ConfigError(f"-n {lines} is no number of lines", f"fab {command}", NOTHING, "-n 50; -n 0 is all of them")


def history(session: Session, context: Any, screen: Screen, lines: int) -> None:
    require_count(lines, "history")

    def job(host: Host, app: App) -> None:
        from .listing import history

        found = agent_of(host).ask("history", "read", app=app.name, count=lines)
        screen.table(host.name, history(found), f"nothing was done yet to {app.name} on {host.name}")

    looking(session, context, screen, job)


def tls(session: Session, context: Any, screen: Screen) -> None:
    def job(host: Host, app: App) -> None:
        from .listing import certificates

        words = {"app": app.name, "directory": layout.certificates(app.name)}
        found = agent_of(host).ask("resources.certificates", "listing", **words)
        screen.table(host.name, certificates(found), f"{app.name} has no certificate on {host.name}")

    looking(session, context, screen, job)


def tls_renew(session: Session, context: Any, screen: Screen, options: Options, compromised: bool) -> None:
    def job(change: "Change", _: None) -> None:
        from .release import renew

        renew(change, compromised)

    changing(session, context, screen, options, "tls.renew", job)


def env(session: Session, context: Any, screen: Screen) -> None:
    def job(host: Host, app: App) -> None:
        from .listing import environment

        name = app.name
        words = {
            "directory": layout.current(name),
            "secrets": layout.secrets(name),
            "first": layout.first_environment(name),
        }
        found = agent_of(host).ask("resources.environment", "listing", **words)
        screen.table(host.name, environment(found), f"{host.name} is not provisioned for {name} yet (`fab provision`)")

    looking(session, context, screen, job)


def logs(
    session: Session, context: Any, screen: Screen, *, lines: int, since: str, follow: bool, release: str, nginx: bool
) -> None:
    require_count(lines, "logs")
    config = session.config()
    hosts = session.hosts(context, config)
    screen.several = len(hosts) > 1
    name = config.app.name
    files = [os.path.join(layout.nginx_logs(name), file).replace("\\", "/") for file in ("access.log", "error.log")]
    ask = {
        "request": "logs",
        "units": [layout.unit(name, release or "*"), *(["nginx.service"] if nginx else [])],
        "files": files if nginx else [],
        "lines": lines,
        "since": since,
        "follow": follow,
        "app": name,
    }

    def job(host: Host) -> None:
        shown = 0

        def show(event: Event) -> None:
            nonlocal shown
            shown += event["event"] == "line"
            screen.event(host.name, event)

        agent_of(host).request(ask, show)
        if not shown and not follow:
            hint = f"fab logs --since '1 week ago'; is {name} deployed there?"
            raise HostError(
                f"the journal has no lines of {layout.unit(name, release or '*')}", agent_of(host).where, hint=hint
            )

    session.on_each(hosts, job, screen, prepare=lambda: None, may_install=False)
