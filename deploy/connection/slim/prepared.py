"""A look at a plan, ready to be sent. It is kept: a run with nothing to do, from the same values, makes no plan."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

from ...agent.dataclass import dataclass
from ...agent.wire import Plan, Resource, pack
from . import kinds_of, look
from .disk_cache import kept


@dataclass(frozen=True)
class Prepared:
    """program: what BOOT reads, in base64. request: what it is asked. titles: of each step, and of its parts by field.

    The step's own title is that of "".
    """

    program: str
    request: dict[str, Any]
    titles: list[dict[str, str]]

    @property
    def code(self) -> bytes:
        return base64.b64decode(self.program)

    def events(self, looked: Any) -> Iterator[Any]:
        """The events of a run with nothing to do, as `agent.engine` has them. looked: see `agent.look.look`."""
        for number, titles in enumerate(self.titles):
            title, seconds = titles[looked["parts"].get(str(number), "")], looked["seconds"][number]
            yield {"event": "step", "step": title, "state": "ok", "seconds": seconds, "drift": []}
        yield {"event": "end", "state": "ok", "changed": 0, "seconds": looked["took"]}


def remembered(make: Callable[[], Plan], *values: Any) -> Prepared:
    """The look at the plan that `make` makes of these values. One with secrets is not kept."""

    def made() -> tuple[Prepared, bool]:
        look = prepare(make())
        return look, not has_secret(look.request)

    return kept(Prepared, made, pack(values))


def prepare(plan: Plan) -> Prepared:
    looking = look(kinds_of(plan))
    request = {"units": plan.units, "asks": plan.asks, "plan": looking.plan(plan)}
    titles = [titles_of(step) for step in (*plan.steps, *plan.finish)]
    return Prepared(base64.b64encode(looking.program).decode(), request, titles)


def has_secret(request: Any) -> bool:
    """Whether a secret is sent along. request: as JSON."""
    if isinstance(request, dict):
        return "Secret" in request or any(map(has_secret, request.values()))
    return isinstance(request, (list, tuple)) and any(map(has_secret, request))


def titles_of(step: Resource) -> dict[str, str]:
    parts = {name: part.title for name, part in vars(step).items() if isinstance(part, Resource)}
    return {"": step.title, **parts}
