"""`fab provision`: prepare a bare server for the app, and close it except for the app and SSH keys."""

from collections.abc import Callable
from functools import cache

from ..agent.events import End, Event
from ..agent.wire import Plan
from ..connection.slim.prepared import remembered
from ..errors import StepFailed
from ..session.execute import Count, see_through, title, told_of
from ..session.second_login import require_key
from ..session.session import Call, Host, agent_of, each_told_of


def provision(call: Call) -> None:
    app, stage, options = call.app, call.hosts[0].stage, call.options

    @cache
    def plan() -> Plan:
        from ..plan import provision as plans  # only for a plan that is new, or has something to do: 50 ms

        return plans.provisioning(app, stage, options.force)

    @cache
    def whole() -> Plan:
        from ..plan import provision as plans

        return plans.by_this_version(plan(), options.force)

    look = remembered(plan, app, stage, options.force)

    def provision_on(host: Host) -> None:
        title(call.screen, "provision", host, options)
        if not options.check:
            require_key(host)
        run = {"app": app.name, **told_of("provision", options)}

        def ask(show: Callable[[Event], None]) -> End:
            agent = agent_of(host)
            looked = agent.look(look, check=options.check, run=run, on_event=show)
            return looked or agent.plan(whole(), check=options.check, run=run, wait=options.wait, on_event=show)

        try:
            see_through(ask, host, call.screen, options, "provisioned", Count())
        except StepFailed as error:
            error.state = error.state or "earlier steps stay done; the next run continues from here"
            raise

    with each_told_of(call.hosts, "checked" if options.check else "provisioned"):
        call.run(provision_on)
