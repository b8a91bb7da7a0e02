"""`fab restart`: the same code and environment in new processes, as a new release."""

from ..agent.wire import Secret
from ..session.operation import Operation, change_each, nothing
from ..session.session import Call


def restart(call: Call) -> None:
    change_each(call, "restart", restart_on, nothing)


def restart_on(change: Operation, _: None) -> None:
    facts = change.survey()[0]
    change.require_release(facts)
    change.serve_copy(facts, change.copied(facts), Secret("{}"), "restarted", {facts.current: "restarted"})
