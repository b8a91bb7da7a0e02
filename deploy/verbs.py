"""What each verb does on its hosts. What only planning needs is imported while the connection is being made."""

import os
from typing import TYPE_CHECKING, Any

from . import layout
from .agent.wire import Plan
from .carry import Options, agent_of, carry_out, title
from .errors import HostError, StepFailed
from .remote import Event, pack_ahead
from .screen import Screen
from .session import Host, Session, wait_for

if TYPE_CHECKING:
    from .release import Local

__all__ = ["Options", "deploy", "logs", "provision"]


def provision(session: Session, context: Any, screen: Screen, options: Options) -> None:
    config = session.config()
    hosts = session.hosts(context, config)
    screen.several = len(hosts) > 1
    prepared: dict[str, Plan] = {}

    def prepare() -> None:
        wait_for(host.connected for host in hosts)  # two that want the CPU would wait for each other
        from . import plans

        prepared["plan"] = plans.provision(config.app, options.overwrite)
        pack_ahead(prepared["plan"])

    def job(host: Host) -> None:
        title(screen, "provision", host, options)
        try:
            carry_out(agent_of(host), prepared["plan"], host, screen, options, "provisioned")
        except StepFailed as error:
            error.state = error.state or "the steps before it stand; run again and it goes on from there"
            raise

    session.on_each(hosts, job, screen, prepare=prepare, may_install=not options.check)


def deploy(session: Session, context: Any, screen: Screen, options: Options) -> None:
    """Host after host: a release that fails on the first does not reach the second."""
    config = session.config()
    hosts = session.hosts(context, config)
    screen.several = len(hosts) > 1
    for host in hosts:
        local: dict[str, Local] = {}

        def prepare(local: dict[str, "Local"] = local, host: Host = host) -> None:
            from .release import gather

            local["it"] = gather(config, host)

        def job(host: Host, local: dict[str, "Local"] = local) -> None:
            from .release import Deploy

            Deploy(host, local["it"], screen, options).run()

        session.on_each([host], job, screen, prepare=prepare, may_install=False)


def logs(
    session: Session, context: Any, screen: Screen, *, lines: int, since: str, follow: bool, release: str, nginx: bool
) -> None:
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
