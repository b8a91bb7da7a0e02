"""The agent as it travels: its source, packed, in the first bytes of the channel; nothing of it stays on the server."""

import re
import zlib
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from ..agent.constants import PROXY, RUNNER
from ..agent.wire import Resource, Value
from .imports import FOR_TYPES, module_named, reached, source

BOOT = "import sys,zlib;r=sys.stdin.buffer;exec(zlib.decompress(r.read(int(r.readline()))))"
LOADER = """
import sys, gc
if sys.version_info < (3, 10):
    sys.stderr.write("%d.%d" % sys.version_info[:2])
    sys.exit(92)
class Loader:
    def find_spec(self, name, path=None, target=None):
        if name in SOURCES:
            return type(sys.__spec__)(name, self, is_package=any(n.startswith(name + ".") for n in SOURCES))
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(compile(SOURCES[module.__name__], "<%s>" % module.__name__, "exec"), module.__dict__)
sys.meta_path.insert(0, Loader())
gc.disable()
try:
    from MAIN import main
except ImportError as error:
    if (error.name or "").split(".")[0] == "agent":
        raise  # ours is missing, not Python's
    sys.stderr.write(str(error))
    sys.exit(93)
gc.freeze()
gc.enable()
main()
"""
SELDOM = ("agent.resources.processes", "agent.resources.removal")  # they come with a plan that has such steps


class Status:
    """Exit statuses of what starts the agent."""

    NO_PYTHON, NO_SUDO, OLD_PYTHON, PARTIAL_PYTHON = 90, 91, 92, 93


PROMPT = "ashore-asks-for-the-password:"
READY = "ashore-is-root"  # said once sudo has what it wants, and reads our input no more


def plain(errors: str) -> str:
    """What was said on stderr, but for what sudo and the start of the agent say to us."""
    return errors.replace(PROMPT, "").replace(f"{READY}\n", "").strip()


def command(root: bool, password: bool) -> str:
    """The line that starts the agent. Constant but for how it becomes root; what varies travels on stdin."""
    checks = f"command -v python3 >/dev/null || exit {Status.NO_PYTHON}; "
    if root:
        return f"sh -c '{checks}exec python3 -ISc \"{BOOT}\"'"
    agent = f'sudo -n python3 -ISc "{BOOT}"'
    if password:
        agent = f'sudo -S -p "{PROMPT}" sh -c "echo {READY} >&2; exec python3 -ISc \\"{BOOT}\\""'
    return f"sh -c '{checks}command -v sudo >/dev/null || exit {Status.NO_SUDO}; exec {agent}'"


def install_python_command(root: bool, password: bool) -> str:
    """The one raw command of the kit: a server without Python 3 gets it, so that the agent can run."""
    script = "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -y -q install python3"
    check = f"command -v apt-get >/dev/null || exit {Status.NO_PYTHON}"
    become = "" if root else f'sudo -S -p "{PROMPT}" ' if password else "sudo -n "
    ready = f"echo {READY} >&2; " if password and not root else ""
    return f"sh -c '{check}; exec {become}sh -c \"{ready}{script}\"'"


@cache
def core() -> frozenset[str]:
    """What every conversation needs, so what is sent first."""
    return frozenset(reached(["agent.loop"], late=False))


def modules_for(message: dict[str, Any]) -> set[str]:
    """The agent's modules that a request needs beside the core: only those are sent."""
    if message["request"] == "logs":
        named = {"agent.questions.journal"}
    elif message["request"] == "run":
        named = {"agent.questions.oneoff"}
    elif message["request"] == "job":
        named = {"agent.questions.jobs", "agent.questions.journal"}
    elif message["request"] == "survey":
        named = {"agent.questions.facts"}
    elif message["request"] == "ask":
        named = {module_named(message["module"])}
    elif message["request"] != "plan":
        return set()  # what only the server's side of a CI key answers
    else:
        plan = message["plan"]
        every = [part for step in (*plan.steps, *plan.undo, *plan.finish) for part in within(step)]
        named = {type(part).__module__.partition(".")[2] for part in every}
        named |= {"agent.halting"} if message.get("halt") else set()
    return reached(named, late=True) - core()


def within(step: Resource | Value) -> Iterator[Resource | Value]:
    """The step, and those that it is made of."""
    yield step
    for value in vars(step).values():
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, (Resource, Value)):
                yield from within(part)


def sources(modules: Iterable[str]) -> dict[str, str]:
    """Module → its text as it is sent."""
    return {name: bare(name) for name in sorted(modules)}


@cache
def expected(planner: str, proxy: str = PROXY) -> frozenset[str]:
    """The modules that plans of a module of the planner's are likely to need, beside the core."""
    planners = (planner, f"stack.proxies.{proxy}", f"stack.runners.{RUNNER}")
    kinds = {module for module in reached(planners, late=False) if module.startswith("agent.resources.")}
    kinds = {module for module in kinds if not module.startswith(SELDOM)}
    return frozenset(reached(kinds, late=True) - core())


def pack_ahead(planner: str, proxy: str) -> None:
    """Pack what a survey needs, and what is `expected`, while there is time."""
    payload(frozenset(modules_for({"request": "survey"})))
    sources(expected(planner, proxy))


@cache
def payload(modules: frozenset[str]) -> bytes:
    """The whole agent: the core's and these modules' source."""
    return program(sources(core() | modules), "agent.loop")


def program(sources: dict[str, str], main: str) -> bytes:
    """What BOOT reads: a length line, and a packed program that calls `main` of that module."""
    text = f"SOURCES = {literal(sources)}\n{LOADER.replace('MAIN', main)}"
    packed = zlib.compress(text.encode(), 9)
    return b"%d\n" % len(packed) + packed


def literal(sources: dict[str, str]) -> str:
    """The mapping as Python, its texts as they stand: escaped ones pack worse."""
    text = "\f".join(f"{name}\n{source}" for name, source in sources.items())
    assert "'''" not in text and not text.endswith("\\")
    return f"dict(part.split('\\n', 1) for part in r'''{text}'''.split('\\f'))"


DOCSTRING = re.compile(r'^( *)""".*?"""$', re.M | re.S)
COMMENT = re.compile(r"^ *#.*$|  # .*$", re.M)


@cache
def bare(module: str) -> str:
    """A module's source without its prose, which is a third of it. Its lines keep their numbers."""
    text = FOR_TYPES.sub(lambda found: "\n" * found[0].count("\n"), source(module))
    return COMMENT.sub("", DOCSTRING.sub(lambda found: f"{found[1]}0" + "\n" * found[0].count("\n"), text))
