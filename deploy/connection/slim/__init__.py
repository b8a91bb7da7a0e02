"""A first look at a server, as it is sent: the checks of a plan without what applies it, and the plan without texts.

A look at a server that is as planned needs a quarter of the agent, and fits into the first packets that a new TCP
connection may send. What is sent of a module is what `reach` finds in what `stripped` leaves of it.
"""

from functools import cache, cached_property
from typing import Any

from ...agent import wire
from ...agent.dataclass import dataclass, fields, is_dataclass
from ...agent.resources.files import File
from ..payload import program, within
from .disk_cache import kept

LOOK = "agent.look"
ALWAYS = ("check", "step", "otherwise")  # what a look calls of each resource, and fields that it finds by name
SHORT = 40  # characters of a text that is sent as it is


@dataclass(frozen=True)
class Look:
    """sources: module → what is reached of its text. fields: kind → those of its fields that a check reads."""

    sources: dict[str, str]
    fields: dict[str, list[str]]

    @cached_property
    def program(self) -> bytes:
        """What BOOT reads, see `payload.program`."""
        return program(self.sources, LOOK)

    def plan(self, value: Any) -> Any:
        """The plan as a look takes it: {KIND: [values of those fields, in their order]}, without defaults at the end.

        Of a long text of a file, only the hash is sent.
        """
        if isinstance(value, tuple):
            return [self.plan(item) for item in value]
        if not is_dataclass(value) or isinstance(value, type):
            return value
        kind = type(value).__name__
        read = [field for field in fields(value) if field.name in self.fields[kind]]
        while read and getattr(value, read[-1].name) == read[-1].default:
            read.pop()
        values = [getattr(value, field.name) for field in read]
        if isinstance(value, File):
            values = [hashed(item) if item is value.content else item for item in values]
        return {kind: [self.plan(item) for item in values]}


def hashed(text: str | wire.Secret) -> str | wire.Secret | wire.Digest:
    return wire.Digest(wire.digest(text)) if isinstance(text, str) and len(text) > SHORT else text


@cache
def look(kinds: frozenset[type]) -> Look:
    """What looks at plans of these kinds. It is kept: to make it takes 0.2 s."""

    return kept(Look, lambda: (made_for(kinds), True), sorted(kind.__name__ for kind in kinds))


def kinds_of(plan: wire.Plan) -> frozenset[type]:
    parts = {type(part) for step in (*plan.steps, *plan.finish) for part in within(step)}
    return frozenset({wire.Plan, wire.Secret, wire.Digest, *parts})


def made_for(kinds: frozenset[type]) -> Look:
    from .reach import Reach, module_of

    reach = Reach()
    homes = [(module_of(kind), kind.__name__) for kind in kinds]
    reach.follow([(LOOK, "main"), *homes], ALWAYS)
    modules = {module for module, _ in reach.names}
    packages = {module.rpartition(".")[0] for module in modules}
    sources = {module: reach.text(module) for module in sorted(modules)}
    fields = {kind.__name__: sorted(reach.fields(kind)) for kind in kinds}
    return Look({**dict.fromkeys(sorted(packages - modules), ""), **sources}, fields)
