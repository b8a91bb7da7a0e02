"""The first look at a server that is likely to be as planned: nothing is changed, and no lock is taken.

`connection.slim` sends this module and what it reaches: the checks, without what applies. Where nothing is to be done,
it says so as the engine would. In any other case, it says nothing of what it saw and asks for the whole agent, which
takes over this process and looks by itself.
"""

import json
import os
import signal
import sys
import time
import zlib
from importlib import import_module
from typing import Any

from . import history, operators
from .locks import DIRECTORY, HOST, owner
from .system import System
from .wire import unpack

Event = dict[str, Any]
LINGER_SECONDS = 900  # for the next request; a look that hangs ends then, too


class Kinds(dict[str, type]):
    """Kind name → class, of the modules that were sent."""

    def __missing__(self, name: str) -> type:
        sent = sys.modules["__main__"].SOURCES.items()
        (module,) = [module for module, text in sent if f"\nclass {name}(" in text]
        found: type = getattr(import_module(module), name)
        return found


def main() -> None:
    """Answer one request for a plan; then become the whole agent if its source comes, or end."""
    signal.alarm(LINGER_SECONDS)
    say({"event": "hello"})
    _, size = sys.stdin.buffer.readline().split()  # of a frame, see `wire`
    for event in looked(json.loads(unpacked(size))) or [{"event": "whole"}]:
        say(event)
    size = sys.stdin.buffer.readline()
    if size.strip().isdigit():
        signal.alarm(0)
        become(unpacked(size))


def unpacked(size: bytes) -> bytes:
    return zlib.decompress(sys.stdin.buffer.read(int(size)))


def say(event: Event) -> None:
    sys.stdout.buffer.write(json.dumps(event).encode() + b"\n")
    sys.stdout.buffer.flush()


def become(program: bytes) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "agent"]:
        del sys.modules[name]
    exec(program, vars(sys.modules["__main__"]))


def looked(message: Any) -> list[Event]:
    """The events of a run that finds nothing to do; [] where something is to be done, or is not as usual."""
    try:
        return events(message["plan"], message["units"], message["check"], message["run"])
    except Exception:  # the whole agent will meet it, too, and explain it
        return []


def events(packed: Any, units: list[str], check: bool, run: dict[str, str]) -> list[Event]:
    began = time.monotonic()
    noticed: list[Event] = []
    steps: list[Event] = []
    system = System(units, noticed.append)
    system.ask_systemd()
    plan = unpack(packed, Kinds())
    if history.unheard(run["app"]) or not (check or (alone(run) and operators.is_welcome())):
        return []
    for step in (*plan.steps, *plan.finish):
        looked = time.monotonic()
        if step.check(system):
            return []
        seconds = round(time.monotonic() - looked, 3)
        steps.append({"event": "step", "step": step.title, "state": "ok", "seconds": seconds, "drift": []})
    return [*noticed, *steps, {"event": "end", "state": "ok", "changed": 0, "seconds": time.monotonic() - began}]


def alone(run: dict[str, str]) -> bool:
    """Whether nobody holds a lock that this run would take."""
    names = (HOST,) if run["verb"] == "provision" else ()
    for name in (*names, f"app-{run['app']}"):
        path = f"{DIRECTORY}/{name}.lock"
        if os.path.exists(path) and owner(os.stat(path)) is not None:
            return False
    return True
