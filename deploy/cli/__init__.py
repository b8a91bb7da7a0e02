"""Typed words → verb: Fabric's tasks, their options and help. A fabfile imports `namespace` as `ns`."""

import sys
from typing import Any


def __getattr__(name: str) -> Any:
    """`namespace` is loaded when it is first asked for: what a fabfile.py imports as `ns`."""
    if name != "namespace":
        raise AttributeError(name)
    sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)  # Invoke sets it; to compile all of this takes 70 ms
    from ..session import interrupts

    interrupts.take_over()  # before all else: what follows takes a while to load
    from .program import namespace

    globals()[name] = made = namespace()  # an import asks twice
    return made
