"""`fab env`: the names in the app's environment, and a release with a changed environment."""

import json
from collections.abc import Mapping

from ..agent import layout
from ..agent.dataclass import replace
from ..agent.resources.release.environment import FirstEnvironment, listing, news
from ..agent.wire import Plan, Secret
from ..plan.activate import activate
from ..plan.facts import Facts
from ..plan.record import as_recorded
from ..screen import tables
from ..session.execute import Count, carry_out
from ..session.operation import Operation, change_each, nothing
from ..session.session import Call, Host, agent_of


def env(call: Call) -> None:
    app = call.app.name

    def show(host: Host) -> None:
        found = agent_of(host).ask(
            listing,
            directory=layout.current(app),
            secrets=layout.secrets(app),
            first=layout.first_environment(app),
        )
        none = f"{host.name} is not provisioned for {app} yet; run `fab provision`"
        call.screen.table(host.name, tables.variable_rows(found), none)

    call.run(show)


def env_set(call: Call, verb: str, values: Mapping[str, Secret | None]) -> None:
    """verb: "env.set" or "env.unset". None removes a name."""
    text = Secret(json.dumps({name: value.value if value else None for name, value in values.items()}))
    change_each(call, verb, lambda change, _: set_on(change, text, sorted(values)), nothing)


def set_on(change: Operation, values: Secret, names: list[str]) -> None:
    """Create a release with the current code and a changed environment. values: JSON, for `plan.build.copy`."""
    facts, _ = change.survey()
    if not facts.current and not facts.good:
        set_for_the_first(change, values, names)
        return
    change.require_release(facts)
    directory = layout.release(change.app.name, facts.current)
    found = agent_of(change.host).ask(news, directory=directory, change=values)
    if not found:
        finish(change, facts)
        return
    told = ", ".join(f"{name} {how}" for name, how in found)
    release = change.copied(facts)
    release = replace(release, record={**release.record, "note": f"environment: {told}"})
    change.serve_copy(facts, release, values, f"environment set: {told}")


def finish(change: Operation, facts: Facts) -> None:
    """Nothing is new, but an interrupted run may have left something unfinished."""
    app, release = as_recorded(change.app, facts.record), change.existing(facts, facts.current)
    plan = activate(change.verb, app, release, facts, force=change.options.force)
    change.serve(plan, facts, release, None, "nothing new: the environment already has these values")


def set_for_the_first(change: Operation, values: Secret, names: list[str]) -> None:
    """Before there is a release: store variables for the first one, which may not start without them."""
    app = change.app.name
    step = FirstEnvironment(layout.first_environment(app), values)
    run = {"app": app, "note": f"environment: {', '.join(names)}"}
    plan = Plan(change.verb, (step,))
    done = "environment set; the first `fab deploy` uses it"
    carry_out(plan, change.host, change.screen, change.options, done, run, Count())
