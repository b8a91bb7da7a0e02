"""Typed words → verb: Fabric's tasks, their options and help. A fabfile imports `namespace` as `ns`."""

from typing import Any


def __getattr__(name: str) -> Any:
    """`namespace` is loaded when it is first asked for: what a fabfile.py imports as `ns`."""
    if name != "namespace":
        raise AttributeError(name)
    from ..session import interrupts

    interrupts.take_over()  # before all else: what follows takes a while to load
    from .program import namespace

    globals()[name] = made = namespace()  # an import asks twice
    return made
