"""What a project looks like, for its first deploy.toml: name, callable, requirements, static files, Python, Git."""

import re
from pathlib import Path
from typing import Any

from ..agent.dataclass import dataclass
from ..agent.resources.release.recipes import Recipe
from ..config.values import Wrong, app_name
from ..errors import SourceError
from .callables import Served, callables, health_path, read, to_choose
from .dependencies import FILES, LOCKS, PYTHON_FILES, Dependencies, chosen, dependencies, needed
from .locked.document import table
from .pythons import DEBIAN, chosen_python, document, wanted
from .requirements import text_of

KNOWN = (*LOCKS, *LOCKS.values(), *FILES, *PYTHON_FILES, "setup.py", "setup.cfg")

OTHER_LOCKS = {"Pipfile": "pipenv lock"}


@dataclass(frozen=True)
class Project:
    """choices: the callables among which to choose, see `to_choose`. every: all that were found.

    requirements: the file that says what is installed, "" if there is none. roots: where the code of a package is.
    """

    name: str
    choices: tuple[Served, ...]
    every: tuple[Served, ...]
    requirements: str
    health_path: str
    roots: tuple[str, ...]
    in_git: bool
    notes: tuple[str, ...]


def look_at(directory: Path) -> Project:
    modules = list(read(directory))  # once: a project may have thousands
    found = callables(directory, modules)
    metadata = project_table(directory)
    said, texts, wrong = dependencies_of(directory)
    return Project(
        name_of(directory, metadata),
        tuple(to_choose(found)),
        tuple(found),
        said.path if said else "",
        health_path(modules),
        said.recipe.roots if said else (),
        in_git(directory),
        tuple(notes(directory, said, texts, wrong)),
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


def dependencies_of(directory: Path) -> tuple[Dependencies | None, dict[str, str], str]:
    """What a deploy would install, the texts that say so, and what is wrong with them; None if the project has none."""
    names = {path for path in KNOWN if (directory / path).is_file()}
    try:
        texts = {path: text_of(directory, path) for path in PYTHON_FILES if path in names}
        path = chosen("", names, texts)
        if path not in names or (path == "pyproject.toml" and not says_something(document(texts, path))):
            return None, texts, ""
        read = {**needed(path, names, lambda each: text_of(directory, each)), **texts}
        modules = {each.relative_to(directory).as_posix() for each in directory.glob("*/*.py")}
        modules |= {each.relative_to(directory).as_posix() for each in directory.glob("*/*/*.py")}
        return dependencies(read, names | modules), texts, ""
    except SourceError as error:
        return Dependencies(path, {}, Recipe()), texts, f"{error.what}: {error.hint}"


def says_something(project: dict[str, object]) -> bool:
    """Whether a pyproject.toml without a lock names packages, or is one."""
    poetry = table(project, "tool", "poetry", "dependencies")
    return bool(table(project, "project").get("dependencies") or "build-system" in project or poetry)


def in_git(directory: Path) -> bool:
    """Whether the directory is in a repository. As Git does, the directories above count."""
    return any((above / ".git").exists() for above in (directory.resolve(), *directory.resolve().parents))


def notes(directory: Path, found: Dependencies | None, texts: dict[str, str], wrong: str) -> list[str]:
    """What the person should know about the project before the first deploy."""
    told = [wrong] if wrong else []
    if found and found.recipe.project:
        told.append(f"the project is a package: it is installed, with what {found.path} says")
    try:
        python = wanted("", texts)
    except SourceError as error:
        return [*told, f"{error.what}: {error.hint}"]
    others = {system: chosen_python(python, f"{three}.{minor}.0") for (three, minor), system in DEBIAN.items()}
    if python and (of_uv := next((other for other in others.values() if other), "")):
        own = [f"{system} has it" for system, other in others.items() if not other]
        so = ", ".join([*own, f"{'elsewhere ' if own else ''}uv installs Python {of_uv}"])
        told.append(f"the project wants Python {python.text} ({python.where}): {so}")
    if not in_git(directory):
        told.append("the project is not in Git: all its files are uploaded but those that look like secrets or data")
    return told
