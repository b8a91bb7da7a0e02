"""The copy of the kit that makes plans on a server: its files and its version."""

import hashlib
from functools import cache

from ..agent import layout
from ..config.paths import TEMPLATES
from ..connection.imports import HOME, file_of, reached
from ..stack import overrides

PROGRAMS = ("ci.server", "ci.relay")  # what is started there; the copy has all that they import, and the whole agent
BY_NAME = ("stack.runners", "stack.proxies")  # packages whose modules are found by name
PACKAGES = ("python3-jinja2",)  # Debian's; all else is in the standard library


@cache
def files() -> tuple[tuple[str, str], ...]:
    """(path in the copy, text), sorted: the package as deploy/, and beside it templates/, with a project's own."""
    named = [
        f"{package}.{path.stem}" for package in BY_NAME for path in (HOME / package.replace(".", "/")).glob("[a-z]*.py")
    ]
    needed = [file_of(module) for module in reached((*PROGRAMS, *named), late=True)]
    paths = {HOME / "__init__.py", *filter(None, needed), *(HOME / "agent").rglob("*.py")}
    code = [(f"deploy/{path.relative_to(HOME).as_posix()}", path.read_text("utf-8")) for path in paths]
    templates = [(f"templates/{name}", overrides.used(name).read_text("utf-8")) for name in overrides.names(TEMPLATES)]
    return tuple(sorted([*code, *templates]))


def version() -> str:
    return hashlib.sha256(repr(files()).encode()).hexdigest()[:12]


def directory() -> str:
    """A directory per version, so a copy in use is never changed."""
    return f"{layout.KIT}/ci-{version()}"
