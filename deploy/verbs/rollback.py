"""`fab rollback`: go back to the previous release, or another one: code, packages and environment."""

from ..session.operation import Operation, change_each, nothing
from ..session.planner import planner_of
from ..session.session import Call


def rollback(call: Call, wanted: str) -> None:
    """wanted: the ID of a release; "" is the newest good one before the current."""

    def roll_back(change: Operation, _: None) -> None:
        facts = change.survey()[0]
        planner_of(change).rollback(change.rollout.target(wanted), facts)

    change_each(call, "rollback", roll_back, nothing)
