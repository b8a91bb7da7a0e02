"""Dataclasses for a `look`, which stands in for Python's there: those take 15 ms of a start, a quarter of it."""

from collections.abc import Callable
from typing import Any


class Fresh:
    """The default of a field that each instance gets anew."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def field(*, default_factory: Callable[[], Any]) -> Fresh:
    return Fresh(default_factory)


def dataclass(cls: type | None = None, **settings: bool) -> Any:
    """A class whose instances take the values of its fields; nothing is frozen, compared or printed."""
    return prepared if cls is None else prepared(cls)


def prepared(cls: type) -> type:
    every = [name for each in reversed(cls.__mro__) for name in vars(each).get("__annotations__", ())]
    names = list(dict.fromkeys(every))
    made = {name: value for name in names if isinstance(value := getattr(cls, name, None), Fresh)}

    def __init__(self: Any, *values: Any, **named: Any) -> None:
        vars(self).update({name: fresh.make() for name, fresh in made.items()})
        vars(self).update(zip(names, values, strict=False), **named)

    cls.__init__ = __init__  # type: ignore[misc]
    return cls
