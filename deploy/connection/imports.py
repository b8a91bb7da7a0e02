"""Which of the kit's modules a module needs, read from its text. So what is sent is derived, not listed.

A module is named as below `deploy`: "agent.loop", "plan.decide".
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from ..config.paths import PACKAGE

HOME = PACKAGE
IMPORT = re.compile(r"^( *)from (\.+)([\w.]*) import (?:\(([^)]*)\)|(.*))", re.M)
FOR_TYPES = re.compile(r"^if TYPE_CHECKING:\n(?:(?: .*)?\n)+", re.M)


@cache
def file_of(module: str) -> Path | None:
    """The file of a module or a package; None for what is neither."""
    path = HOME / module.replace(".", "/")
    found = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return found if found.exists() else None


@cache
def source(module: str) -> str:
    path = file_of(module)
    assert path, module
    return path.read_text("utf-8")


@cache
def module_named(last: str) -> str:
    """The agent's module by the last part of its name, of which there is one."""
    (path,) = (HOME / "agent").rglob(f"{last}.py")
    return ".".join(path.relative_to(HOME).with_suffix("").parts)


@cache
def imported(module: str, late: bool) -> frozenset[str]:
    """What a module imports itself. late: also inside of functions. What only a type checker imports does not count."""
    parts = module.split(".")
    path = file_of(module)
    package = parts if path and path.name == "__init__.py" else parts[:-1]
    found: set[str] = set()
    for indent, dots, target, several, names in IMPORT.findall(FOR_TYPES.sub("", source(module))):
        if indent and not late:
            continue
        base = [*package[: len(package) - len(dots) + 1], *filter(None, target.split("."))]
        inside = [".".join([*base, name.split()[0]]) for name in (several or names).split(",") if name.strip()]
        found |= {".".join(base), *(name for name in inside if file_of(name))} - {""}
    return frozenset(found)


def reached(modules: Iterable[str], late: bool) -> set[str]:
    """These modules, the packages that they are in, and all that they import."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module and module not in found:
            found.add(module)
            waiting += [*imported(module, late), module.rpartition(".")[0]]
    return found
