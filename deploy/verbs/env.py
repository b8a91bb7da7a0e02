"""`fab env`: the names in the app's environment, and a release with a changed environment."""

import json
from dataclasses import replace

from ..agent import layout
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


def env_set(call: Call, verb: str, changes: dict[str, str | None]) -> None:
    """verb: "env.set" or "env.unset". None removes a name."""
    change_each(call, verb, lambda change, _: set_on(change, changes), nothing)


def set_on(change: Operation, changes: dict[str, str | None]) -> None:
    """Create a release with the current code and a changed environment."""
    facts, _ = change.survey()
    if not facts.current and not facts.good:
        set_for_the_first(change, changes)
        return
    change.require_release(facts)
    directory = layout.release(change.app.name, facts.current)
    found = agent_of(change.host).ask(news, directory=directory, change=changes)
    if not found:
        finish(change, facts)
        return
    names = ", ".join(f"{name} {how}" for name, how in found)
    release = change.copied(facts)
    release = replace(release, record={**release.record, "note": f"environment: {names}"})
    change.serve_copy(facts, release, changes, f"environment set: {names}")


def finish(change: Operation, facts: Facts) -> None:
    """Nothing is new, but an interrupted run may have left something unfinished."""
    app, release = as_recorded(change.app, facts.record), change.existing(facts, facts.current)
    plan = activate(change.verb, app, release, facts, force=change.options.force)
    change.serve(plan, facts, release, None, "nothing new: the environment already has these values")


def set_for_the_first(change: Operation, changes: dict[str, str | None]) -> None:
    """Before there is a release: store variables for the first one, which may not start without them."""
    app = change.app.name
    step = FirstEnvironment(layout.first_environment(app), Secret(json.dumps(changes)))
    run = {"app": app, "note": f"environment: {', '.join(sorted(changes))}"}
    plan = Plan(change.verb, (step,))
    done = "environment set; the first `fab deploy` uses it"
    carry_out(plan, change.host, change.screen, change.options, done, run, Count())
