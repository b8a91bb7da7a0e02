"""What a key of deploy.toml is: a field of a dataclass that knows what it takes, its topic and an example."""

from collections.abc import Mapping
from typing import Any, TypeVar

from ..agent.dataclass import MISSING, dataclass, field, fields
from .values import Kind

T = TypeVar("T")
DEPLOY, PROVISION = ("deploy",), ("provision",)
BOTH = (*PROVISION, *DEPLOY)


@dataclass(frozen=True)
class ConfigKey:
    """unset: what holds where the default is empty. applied_by: the commands that bring a change to the server."""

    name: str
    default: Any
    kind: Kind[Any]
    topic: str
    example: Any
    unset: str
    applied_by: tuple[str, ...]

    @property
    def required(self) -> bool:
        return self.default is MISSING

    @property
    def is_empty(self) -> bool:
        """Whether its default is nothing, so that an example shows more."""
        return self.default in ("", ())


def attributes(
    kind: Kind[Any], topic: str, *, example: Any, unset: str = "none", applied_by: tuple[str, ...] = DEPLOY
) -> Mapping[str, Any]:
    """What makes a key of a field, as its metadata; for a key without a default: field(metadata=attributes(…))."""
    return {"kind": kind, "topic": topic, "example": example, "unset": unset, "applied_by": applied_by}


def key(default: T, kind: Kind[T], topic: str, **more: Any) -> T:
    """A field with a default. more: see `attributes`."""
    return field(default=default, metadata=attributes(kind, topic, **more))


def keys(table: type) -> dict[str, ConfigKey]:
    """The keys of a table by name; fields that deploy.toml cannot set are left out."""
    return {made.name: ConfigKey(made.name, made.default, **made.metadata) for made in fields(table) if made.metadata}


def texts(table: type) -> dict[str, tuple[str, ...]]:
    """What is written below each field of a table, in paragraphs. The first one is enough for a comment.

    Python drops these strings, so they are read from the source.
    """
    import ast
    import inspect
    from itertools import pairwise

    from ..agent.constants import ASGI_RUNNER, OTHER_PROXY, PROXY, RUNNER

    (defined,) = ast.parse(inspect.getsource(table)).body
    assert isinstance(defined, ast.ClassDef)
    found = {}
    for above, below in pairwise(defined.body):
        if isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name) and isinstance(below, ast.Expr):
            written = inspect.cleandoc(ast.literal_eval(below.value))
            words = {"ASGI_RUNNER": ASGI_RUNNER, "RUNNER": RUNNER, "OTHER_PROXY": OTHER_PROXY, "PROXY": PROXY}
            for word, name in words.items():
                written = written.replace(word, name.capitalize())
            found[above.target.id] = tuple(" ".join(part.split()) for part in written.split("\n\n"))
    return found
