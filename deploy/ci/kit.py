"""The copy of the kit that makes plans on a server: its files, and the name that they have together."""

import hashlib
from functools import cache
from pathlib import Path

from .. import layout

ROOT = Path(__file__).resolve().parents[2]
MODULES = (
    "__init__", "errors", "paths", "values", "schema", "config", "layout", "render", "requirements", "site", "build",
    "hardening", "plans", "switching", "changes", "ci/__init__", "ci/limits", "ci/inputs", "ci/frames", "ci/server",
    "ci/relay",
)  # fmt: skip  # beside the whole agent
PACKAGES = ("python3-jinja2",)  # Debian's; all else is in the standard library


@cache
def files() -> tuple[tuple[str, str], ...]:
    """(path in the copy, text), sorted."""
    paths = [ROOT / "deploy" / f"{module}.py" for module in MODULES]
    paths += [*(ROOT / "deploy" / "agent").rglob("*.py"), *(ROOT / "templates").rglob("*.j2")]
    return tuple(sorted((path.relative_to(ROOT).as_posix(), path.read_text("utf-8")) for path in paths))


def version() -> str:
    return hashlib.sha256(repr(files()).encode()).hexdigest()[:12]


def directory() -> str:
    """Another one for each version: one that is at work is not changed under its feet."""
    return f"{layout.KIT}/ci-{version()}"
