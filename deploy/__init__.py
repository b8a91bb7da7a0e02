"""The kit: see docs/developing.md for its rooms. A fabfile of one line has its commands: from ashore import ns"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "ns":
        raise AttributeError(name)
    from .cli import namespace

    return namespace
