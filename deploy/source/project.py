"""What a project looks like, for its first deploy.toml: name, callable, requirements, static files, Python, Git."""

import re
from pathlib import Path
from typing import Any

from ..agent.dataclass import dataclass
from ..config.values import Wrong, app_name
from .callables import Served, callables, health_path, read, to_choose
from .pythons import DEBIAN

REQUIREMENTS = (
    "requirements.txt", "requirements/production.txt", "requirements/prod.txt", "requirements/base.txt",
    "requirements-prod.txt",
)  # fmt: skip
OTHER_LOCKS = {"Pipfile": "pipenv requirements > requirements.txt", "poetry.lock": "poetry export -o requirements.txt"}


@dataclass(frozen=True)
class Project:
    """choices: the callables among which to choose, see `to_choose`. every: all that were found.

    requirements, python (as ">=3.12"): "" where the project has or names none.
    """

    name: str
    choices: tuple[Served, ...]
    every: tuple[Served, ...]
    requirements: str
    health_path: str
    python: str
    in_git: bool
    notes: tuple[str, ...]


def look_at(directory: Path) -> Project:
    modules = list(read(directory))  # once: a project may have thousands
    found = callables(directory, modules)
    metadata = project_table(directory)
    requirements = requirements_of(directory, metadata)
    python = str(metadata.get("requires-python", ""))
    return Project(
        name_of(directory, metadata),
        tuple(to_choose(found)),
        tuple(found),
        requirements,
        health_path(modules),
        python,
        in_git(directory),
        tuple(notes(directory, requirements, python)),
    )


def project_table(directory: Path) -> dict[str, Any]:
    """[project] of pyproject.toml; {} if there is none that can be read."""
    import tomllib

    try:
        found = tomllib.loads((directory / "pyproject.toml").read_text("utf-8")).get("project", {})
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def name_of(directory: Path, metadata: dict[str, Any]) -> str:
    """A name that the config takes, after the project's or its directory's; "" if neither makes one."""
    for written in (str(metadata.get("name", "")), directory.resolve().name):
        name = re.sub(r"[^a-z0-9]+", "-", written.lower()).strip("-").lstrip("0123456789-")[:30].rstrip("-")
        try:
            return app_name(name)
        except Wrong:
            continue
    return ""


def requirements_of(directory: Path, metadata: dict[str, Any]) -> str:
    for name in REQUIREMENTS:
        if (directory / name).is_file():
            return name
    return "pyproject.toml" if metadata.get("dependencies") else ""


def in_git(directory: Path) -> bool:
    """Whether the directory is in a repository. As Git does, the directories above count."""
    return any((above / ".git").exists() for above in (directory.resolve(), *directory.resolve().parents))


def notes(directory: Path, requirements: str, python: str) -> list[str]:
    """What the person should know about the project before the first deploy."""
    told = []
    least = re.search(r">=?\s*3\.(\d+)", python)
    systems = [
        f"{system} (Python 3.{minor})" for (_, minor), system in DEBIAN.items() if least and minor >= int(least[1])
    ]
    if least and int(least[1]) > 11:
        on = f"use a server with {' or '.join(systems)}" if systems else "no Debian release has such a Python yet"
        told.append(f"the project needs Python {python}: {on}")
    if not in_git(directory):
        told.append("the project is not in Git: all its files are uploaded but those that look like secrets or data")
    if requirements == "pyproject.toml" and (directory / "uv.lock").is_file():
        export = "uv export --no-dev --no-emit-project -o requirements.txt"
        told.append(f"uv.lock is not used: `{export}` makes a file of it with exact versions, for `requirements`")
    return told
