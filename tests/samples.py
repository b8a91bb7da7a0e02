"""Every kind of event: its type, what that consists of, and an event of it."""

import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from deploy.agent import events as agent
from deploy.screen import events as screen


def kind_of(typed: type) -> str:
    (kind,) = get_args(get_type_hints(typed)["event"])
    return str(kind)


SENT = {kind_of(typed): typed for typed in get_args(agent.Event)}  # by the agent
MADE = {kind_of(typed): typed for typed in get_args(screen.Made)}  # on the operator's side
KINDS = SENT | MADE


def names(typed: Any) -> Iterator[str]:
    """The fields of a type, those of the types within it, and the words that fields can have."""
    if is_typeddict(typed):
        for field, inside in get_type_hints(typed).items():
            if field not in ("event", "host"):
                yield field
                yield from names(inside)
    elif get_origin(typed) is Literal:
        yield from map(str, get_args(typed))
    else:
        for inside in get_args(typed):
            yield from names(inside)


def sample(typed: Any, text: str = "x") -> Any:
    """A value of a type, with all its fields; `text` is every text in it that may be any."""
    if is_typeddict(typed):
        return {field: sample(inside, text) for field, inside in get_type_hints(typed).items()}
    origin, inside = get_origin(typed), get_args(typed)
    if origin is Literal:
        return inside[0]
    if origin in (Union, types.UnionType):
        return sample(inside[0], text)
    if origin is list:
        return [sample(inside[0], text)]
    if origin is dict or typed is Any:
        return {}
    return {str: text, int: 1, float: 1.5, bool: True}[typed]
