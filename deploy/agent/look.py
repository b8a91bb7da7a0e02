"""The first look at a server that is likely to be as planned: nothing is changed, and no lock is taken.

`connection.slim` sends this module and what it reaches: the checks, without what applies. Where nothing is to be done,
it tells what only the server knows of that. In any other case, it says nothing of what it saw and asks for the whole
agent, which takes over this process and looks by itself.
"""

import gc
import json
import os
import signal
import sys
import time
import zlib
from functools import cache
from importlib import import_module
from typing import Any

from . import history, operators
from .locks import DIRECTORY, HOST, owner
from .system import ThisServer
from .wire import Refused

Event = dict[str, Any]
LINGER_SECONDS = 900  # for the next request; a look that hangs ends then, too


def made(value: Any) -> Any:
    """The plan, from what `connection.slim` makes of it."""
    if isinstance(value, list):
        return tuple(map(made, value))
    if isinstance(value, dict):
        ((kind, values),) = value.items()
        return named(kind)(*made(values))
    return value


@cache
def named(kind: str) -> Any:
    """A class of the modules that were sent."""
    sent = sys.modules["__main__"].SOURCES.items()
    return next(getattr(import_module(module), kind) for module, text in sent if f"\nclass {kind}" in text)


def main() -> None:
    """Answer one request for a plan; then become the whole agent if its source comes, or end."""
    signal.alarm(LINGER_SECONDS)
    gc.disable()  # a look makes no garbage worth 2 ms
    say({"event": "hello"})
    _, size = sys.stdin.buffer.readline().split()  # of a frame, see `wire`
    say(looked(json.loads(unpacked(size))))
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
    gc.enable()
    for name in [name for name in sys.modules if name.partition(".")[0] == "agent"]:
        del sys.modules[name]
    exec(program, vars(sys.modules["__main__"]))


def looked(message: Any) -> Event:
    """The event "looked"; or "whole", where something is to be done, or is not as usual."""
    try:
        return look(**message)
    except Exception:  # drift, or what the whole agent will meet, too, and explain
        return {"event": "whole"}


def look(request: str, plan: Any, units: list[str], asks: list[list[str]], check: bool, run: dict[str, str]) -> Event:
    """seconds: of each step. parts: number of a step → its part that has the title here.

    A step gets no more than the server: what asks for the run's memory or its operator is a matter of the whole agent.
    """
    began = time.monotonic()
    seconds: list[float] = []
    parts: dict[int, str] = {}
    server: Any = ThisServer(units)
    server.ask(server.states, *map(tuple, asks))
    plan = made(plan)
    if os.path.exists(history.last_run(run["app"])) or not (check or (alone(run) and operators.is_welcome())):
        raise Refused("not as usual")
    for number, step in enumerate((*plan.steps, *plan.finish)):
        looked = time.monotonic()
        if step.check(server):
            raise Refused("drift")
        seconds.append(round(time.monotonic() - looked, 3))
        if step.titled:
            parts[number] = step.titled
    took = time.monotonic() - began
    return {"event": "looked", "seconds": seconds, "parts": parts, "took": took}


def alone(run: dict[str, str]) -> bool:
    """Whether nobody holds a lock that this run would take."""
    names = (HOST,) if run["verb"] == "provision" else ()
    for name in (*names, f"app-{run['app']}"):
        path = f"{DIRECTORY}/{name}.lock"
        if os.path.exists(path) and owner(os.stat(path)) is not None:
            return False
    return True
