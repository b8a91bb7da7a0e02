"""A first look at a server, as it is sent: the checks of a plan without what applies it, and the plan without texts.

A look at a server that is as planned needs a quarter of the agent, and fits into the first packets that a new TCP
connection may send. What is sent of a module is what `reach` finds in what `stripped` leaves of it.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from ...agent import wire
from ...agent.dataclass import asdict, dataclass, fields, is_dataclass
from ...agent.resources.files import File
from ...config.paths import caches, forget_old
from ..imports import HOME
from ..payload import program, within

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


def events(plan: wire.Plan, looked: Any) -> Iterator[Any]:
    """The events of a run with nothing to do, as `agent.engine` has them. looked: see `agent.look.look`."""
    for number, step in enumerate((*plan.steps, *plan.finish)):
        part = looked["parts"].get(str(number))
        title = getattr(step, part).title if part else step.title
        seconds = looked["seconds"][number]
        yield {"event": "step", "step": title, "state": "ok", "seconds": seconds, "drift": []}
    yield {"event": "end", "state": "ok", "changed": 0, "seconds": looked["took"]}


@cache
def look(kinds: frozenset[type]) -> Look:
    """What looks at plans of these kinds."""
    return read_or_made(kinds)


def read_or_made(kinds: frozenset[type]) -> Look:
    """From the user's cache, if it is there: to make it takes 0.2 s."""
    path = None
    with suppress(OSError, ValueError, TypeError, AttributeError, RuntimeError):  # no cache, a broken one, or no home
        path = cached_at(kinds)
        read = Look(**json.loads(path.read_text("utf-8")))
        if set(read.fields) == {kind.__name__ for kind in kinds} and LOOK in read.sources:
            return read
    made = made_for(kinds)
    with suppress(OSError):
        if path:
            keep(path, made)
    return made


def pack_ahead(plan: wire.Plan) -> None:
    """Make the program that a plan will need, while the connection is still being made."""
    look(kinds_of(plan)).program  # noqa: B018


def keep(path: Path, made: Look) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(asdict(made)), "utf-8")
    os.replace(fresh, path)
    forget_old(path.parent)


def kinds_of(plan: wire.Plan) -> frozenset[type]:
    parts = {type(part) for step in (*plan.steps, *plan.finish) for part in within(step)}
    return frozenset({wire.Plan, wire.Secret, wire.Digest, *parts})


def cached_at(kinds: frozenset[type]) -> Path:
    """A file for these kinds, as they and all that they could reach are now."""
    directories = (HOME / "agent", Path(__file__).parent)
    texts = [path.read_bytes() for directory in directories for path in sorted(directory.rglob("*.py"))]
    seen = (sys.version_info[:2], sorted(kind.__name__ for kind in kinds), texts)
    return caches() / "look" / f"{hashlib.sha256(repr(seen).encode()).hexdigest()[:16]}.json"


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
