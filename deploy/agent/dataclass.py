"""Dataclasses that share their methods. Python's writes and compiles those for each class: 0.7 ms, in every start.

To a type checker these are the standard library's. Not offered: ClassVar, InitVar, keyword-only fields, order, slots.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace  # instead of those below

__all__ = ["MISSING", "asdict", "dataclass", "field", "fields", "is_dataclass", "replace"]
MISSING: Any = object()  # type: ignore[no-redef]


class Field:
    """One field. default: if all instances share it. make: gives it to a new instance; None if it must be given."""

    def __init__(self, name: str, default: Any, make: Callable[[], Any] | None, metadata: Mapping[str, Any]) -> None:
        self.name, self.default, self.make, self.metadata = name, default, make, metadata


def field(  # type: ignore[no-redef]
    *,
    default: Any = MISSING,
    default_factory: Callable[[], Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Any:
    return Field("", default, default_factory if default is MISSING else lambda: default, metadata or {})


def dataclass(cls: type | None = None, *, frozen: bool = False) -> Any:  # type: ignore[no-redef]
    """A class whose fields are its annotations. Instances of a frozen one have a hash and cannot be changed."""
    return (lambda cls: prepared(cls, frozen)) if cls is None else prepared(cls, frozen)


def prepared(cls: Any, frozen: bool) -> Any:
    cls.FIELDS = {**getattr(cls, "FIELDS", {}), **{name: declared(cls, name) for name in cls.__annotations__}}
    cls.__init__ = initialise
    add_methods(cls, METHODS | FROZEN if frozen else METHODS)
    return cls


def declared(cls: type, name: str) -> Field:
    """A field as the body of its class has it."""
    value = vars(cls).get(name, MISSING)
    if not isinstance(value, Field):
        return Field(name, value, None if value is MISSING else lambda: value, {})
    value.name = name
    delattr(cls, name)
    if value.default is not MISSING:
        setattr(cls, name, value.default)
    return value


def initialise(self: Any, *values: Any, **named: Any) -> None:
    require_fitting(self, values, named)
    given = {**dict(zip(self.FIELDS, values, strict=False)), **named}
    for name, each in self.FIELDS.items():
        vars(self)[name] = given[name] if name in given else each.make()


def require_fitting(instance: Any, values: tuple[Any, ...], named: dict[str, Any]) -> None:
    names = tuple(instance.FIELDS)
    given = [*names[: len(values)], *named]
    lacking = [name for name, each in instance.FIELDS.items() if not each.make and name not in given]
    if (
        lacking
        or len(values) > len(names)
        or len(set(given)) < len(given)
        or not instance.FIELDS.keys() >= named.keys()
    ):
        raise TypeError(f"{type(instance).__name__} has the fields {', '.join(names)}; given: {values}, {named}")


def add_methods(cls: Any, methods: dict[str, Any]) -> None:
    for name, method in methods.items():
        if vars(cls).get(name) is None:  # Python sets __hash__ to None beside an __eq__
            setattr(cls, name, method)


def values_of(self: Any) -> tuple[Any, ...]:
    return tuple(getattr(self, name) for name in self.FIELDS)


def equal(self: Any, other: object) -> bool:
    return values_of(self) == values_of(other) if type(self) is type(other) else NotImplemented


def hashed(self: Any) -> int:
    return hash(values_of(self))


def shown(self: Any) -> str:
    return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.FIELDS)})"


def refuse(self: Any, name: str, *value: object) -> None:
    raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be changed")


METHODS: dict[str, Any] = {"__eq__": equal, "__hash__": None, "__repr__": shown}
FROZEN: dict[str, Any] = {"__hash__": hashed, "__setattr__": refuse, "__delattr__": refuse}


def fields(instance_or_class: Any) -> tuple[Field, ...]:  # type: ignore[no-redef]
    return tuple(instance_or_class.FIELDS.values())


def is_dataclass(value: object) -> bool:  # type: ignore[no-redef]
    """Whether it is an instance or a class of this kind."""
    return hasattr(value, "FIELDS")


def replace(instance: Any, /, **changes: Any) -> Any:  # type: ignore[no-redef]
    return type(instance)(**{name: getattr(instance, name) for name in instance.FIELDS} | changes)


def asdict(value: Any) -> Any:  # type: ignore[no-redef]
    """With the dataclasses in its fields as mappings, too."""
    if hasattr(value, "FIELDS"):
        return {name: asdict(getattr(value, name)) for name in value.FIELDS}
    if isinstance(value, dict):
        return {key: asdict(each) for key, each in value.items()}
    return type(value)(map(asdict, value)) if type(value) in (list, tuple) else value
