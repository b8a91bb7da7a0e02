"""A project's own templates: files in its directory `ashore/`, used instead of the kit's of the same name.

Beside each is the kit's as it was when the copy was made, so that a later version of the kit can tell what has changed.
"""

import difflib
from collections.abc import Iterator
from pathlib import Path

from ..config.paths import OVERRIDES, TEMPLATES
from ..errors import ConfigError

ORIGINALS = ".original"  # in OVERRIDES: the kit's templates that the project's were made from


def names(directory: Path) -> list[str]:
    """The templates in a directory, by their paths in it."""
    found = (path.relative_to(directory) for path in directory.rglob("*.j2")) if directory.is_dir() else ()
    return sorted(path.as_posix() for path in found if path.parts[0] != ORIGINALS)


def own(name: str) -> Path:
    return Path(OVERRIDES) / name


def original(name: str) -> Path:
    return Path(OVERRIDES) / ORIGINALS / name


def used(name: str) -> Path:
    """The file that a template is read from."""
    return own(name) if own(name).is_file() else TEMPLATES / name


def shown(name: str) -> str:
    return own(name).as_posix() if own(name).is_file() else f"templates/{name}"


def advice(name: str) -> str:
    """What to do about a template that cannot be rendered."""
    if not own(name).is_file():
        return "fix the template; docs/how-it-works.md lists the values that it is given"
    change = f"Ashore's own has changed since (`fab eject {stem(name)}` shows how); " if changes(name) else ""
    return f"{change}fix the file, or remove it to use Ashore's own template"


def stem(name: str) -> str:
    return name.removesuffix(".j2")


def changes(name: str) -> list[str]:
    """How the kit's template has changed since the project's was made from it, as a diff; none where nobody knows."""
    if not original(name).is_file():
        return []
    before, now = (path.read_text("utf-8").splitlines() for path in (original(name), TEMPLATES / name))
    return list(difflib.unified_diff(before, now, f"templates/{name}, then", f"templates/{name}, now", lineterm=""))


def require_known() -> None:
    """Raise ConfigError for a file that is used nowhere: it would change nothing, and nobody would see why."""
    every = names(TEMPLATES)
    for name in names(Path(OVERRIDES)):
        if name not in every:
            near = difflib.get_close_matches(name, every, 1, 0.5)
            guess = f"did you mean {OVERRIDES}/{near[0]}? " if near else ""
            what = f"{own(name).as_posix()} has the name of no template, so it would not be used"
            raise ConfigError(what, own(name).as_posix(), hint=f"{guess}`fab eject` lists the templates")


def notes() -> Iterator[str]:
    """What to tell before a change: templates of the project's whose originals have changed with the kit."""
    for name in names(Path(OVERRIDES)):
        lines = changes(name)[2:]
        if lines:
            added, removed = (sum(line.startswith(sign) for line in lines) for sign in "+-")
            which = f"{own(name).as_posix()} replaces a template that Ashore has changed since"
            yield f"{which} (+{added} -{removed} lines): `fab eject {stem(name)}` shows how"
