"""Which Python a project wants, and which one it gets: the server's own, or one that uv installs. Pure."""

import re
from collections.abc import Mapping

from ..agent import layout
from ..agent.dataclass import dataclass
from ..errors import SourceError
from .locked.document import refused, table, toml
from .locked.ranges import Range, Unreadable, Version, admits, parsed

DEBIAN = {(3, 11): "Debian 12", (3, 13): "Debian 13"}  # the Python of each
# Minor version → the last patch release that uv knows: `uv python list --only-downloads`, with layout.UV_VERSION.
OF_UV = {8: 20, 9: 25, 10: 22, 11: 18, 12: 16, 13: 18, 14: 10, 15: 2}
PREFERRED = (13, 12, 14, 11, 10, 15, 9, 8)  # of several that fit: packages have files for these, most of all
SETTING = "app.python in deploy.toml"


@dataclass(frozen=True)
class WantedPython:
    """text, where: as written. accepts: the versions. exact: also the patch release counts."""

    text: str
    where: str
    accepts: Range
    exact: bool = False


def wanted(setting: str, read: Mapping[str, str]) -> WantedPython | None:
    """What the project says: None if nothing. setting: of deploy.toml. read: texts of files, by path.

    SourceError where no Python is both what is pinned and what is required, or where there is none.
    """
    pin = pinned(setting, read)
    needs = required(read)
    if pin and needs:
        minor = minors(pin.accepts)
        if minor and not any(fits(needs.accepts, each, whole=not pin.exact) for each in minor):
            what = f"{pin.where} says Python {pin.text}, but {needs.where} requires {needs.text}"
            raise refused(what, pin.where, f"change one of them, or set {SETTING.partition(' ')[0].partition('.')[2]}")
    found = pin or needs
    if found and not minors(found.accepts):
        raise nowhere(found)
    return found


def pinned(setting: str, read: Mapping[str, str]) -> WantedPython | None:
    if setting:
        return WantedPython(setting, SETTING, parsed(setting), setting.count(".") > 1)
    for path, pattern in ((".python-version", r"(?:cpython-?)?v?(\d[\w.]*)"), ("runtime.txt", r"python-(\d[\w.]*)")):
        line = first_line(read.get(path, ""))
        if re.match(r"(pypy|graalpy|jython)", line, re.I):
            hint = f'set `python` in deploy.toml, as in python = "3.{max(OF_UV) - 2}"'
            raise refused(f"{path} names {line}: Ashore has CPython only", path, hint)
        if (found := re.fullmatch(pattern, line, re.I)) and (accepts := readable(found[1])):
            return WantedPython(found[1], path, accepts)
    return None


def required(read: Mapping[str, str]) -> WantedPython | None:
    """The range that pyproject.toml or Pipfile requires."""
    project, pipfile = document(read, "pyproject.toml"), document(read, "Pipfile")
    said = [
        (table(project, "project").get("requires-python"), "requires-python in pyproject.toml"),
        (table(project, "tool", "poetry", "dependencies").get("python"), "python in pyproject.toml"),
        (table(pipfile, "requires").get("python_full_version"), "python_full_version in Pipfile"),
        (table(pipfile, "requires").get("python_version"), "python_version in Pipfile"),
    ]
    for text, where in said:
        if isinstance(text, str) and text.strip():
            if accepts := readable(text):
                return WantedPython(text, where, accepts)
            raise refused(f"{where} is {text!r}, which is no range of versions", where, 'write it like ">=3.11"')
    return None


def document(read: Mapping[str, str], path: str) -> dict[str, object]:
    try:
        return toml(read[path], path) if path in read else {}
    except SourceError:
        return {}  # where it counts, `dependencies` says so; a CI key's deploy on an older server goes without


def first_line(text: str) -> str:
    lines = (line.partition("#")[0].strip() for line in text.removeprefix("\ufeff").splitlines())
    return next((line for line in lines if line), "")


def readable(text: str) -> Range | None:
    try:
        return parsed(text)
    except Unreadable:
        return None


def fits(accepts: Range, minor: int, whole: bool = False) -> bool:
    """Whether a version of 3.MINOR is accepted, the last one that uv has or Debian's. whole: any of them will do."""
    last = OF_UV.get(minor, 0)
    tried = range(last + 1) if whole else (last, *range(last))
    return any(admits(accepts, (3, minor, patch)) for patch in tried)


def minors(accepts: Range) -> list[int]:
    """The minor versions of which there is one that is accepted, the preferred first."""
    return [minor for minor in PREFERRED if fits(accepts, minor)]


def nowhere(found: WantedPython) -> SourceError:
    first, last = min(OF_UV), max(OF_UV)
    debian = ", ".join(f"{system} has {'.'.join(map(str, version))}" for version, system in DEBIAN.items())
    hint = f"{debian}; uv {layout.UV_VERSION} can install 3.{first} to 3.{last}"
    return refused(f"there is no Python {found.text} ({found.where})", found.where, hint)


def version_of(text: str) -> Version:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def chosen_python(found: WantedPython | None, server: str) -> str:
    """The version that uv installs, "3.12" or "3.12.4"; "" for the server's own. server: its version."""
    if found is None:
        return ""
    own = version_of(server)
    if admits(found.accepts, own) or (not found.exact and is_pin(found.accepts) and same_minor(found.accepts, own)):
        return ""
    if is_pin(found.accepts):
        return ".".join(map(str, found.accepts[0][0].version))
    minor = minors(found.accepts)[0]
    return f"3.{minor}" if admits(found.accepts, (3, minor, 0)) else f"3.{minor}.{OF_UV[minor]}"


def is_pin(accepts: Range) -> bool:
    return len(accepts) == 1 and len(accepts[0]) == 1 and accepts[0][0].operator == "=="


def same_minor(accepts: Range, own: Version) -> bool:
    return accepts[0][0].version[:2] == own[:2]


def note(found: WantedPython | None, server: str) -> str:
    """For the operator, if another patch release is used than is named."""
    if found is None or chosen_python(found, server) or admits(found.accepts, version_of(server)):
        return ""
    return f"{found.where} says {found.text}; the server's own Python {server} is used"
