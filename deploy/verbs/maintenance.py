"""`fab maintenance on|off`: the site is closed to visitors, who get a 503 page, or open again."""

from ..agent import history
from ..plan.maintenance import addresses, closing
from ..session.execute import Count, carry_out
from ..session.operation import Operation, change_each, nothing
from ..session.session import Call, agent_of

OWN = ("127.0.0.1", "::1")


def maintenance(call: Call, on: bool, allow: str) -> None:
    """allow: addresses that can still reach the site, besides the operator's own; separated by commas or spaces."""
    change_each(call, "maintenance", lambda change, _: set_on(change, on, allow), nothing)


def set_on(change: Operation, on: bool, allow: str) -> None:
    change.survey(activates=False)
    own = agent_of(change.host).ask(history.origin)
    through = addresses([*OWN, own, *allow.replace(",", " ").split()], change.app.proxy)
    plan = closing(change.app, through, on)
    run = {"app": change.app.name, "note": plan.verb}
    others = ", ".join(address for address in through if address not in OWN) or "the server itself"
    done = f"visitors get a 503, except from {others}" if on else "the site is open"
    carry_out(plan, change.host, change.screen, change.options, done, run, Count())
