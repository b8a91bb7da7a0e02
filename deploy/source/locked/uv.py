"""uv.lock: whether it is stale, and which parts of the source it builds. uv itself reads the rest, on the server."""

import re
from typing import Any

from .document import refused, strings, table, toml
from .listing import Listing, Locked, normal, other_indexes
from .reached import Wanted, reached

REFRESH = "uv lock"
LOCAL = ("editable", "directory", "virtual", "path")


def read(text: str, path: str, project: dict[str, Any], extras: tuple[str, ...]) -> Listing:
    """The names and versions only: uv exports the rest, hashes and markers. project: its pyproject.toml."""
    lock = toml(text, path, REFRESH)
    packages = [package for package in lock.get("package", []) if isinstance(package, dict)]
    if not lock.get("version") or not project:
        raise refused(f"{path} is not a lock of uv, or there is no pyproject.toml beside it", path, REFRESH)
    require_linux(strings(lock.get("supported-markers")), path)
    own = next((each for each in packages if local(each) == "."), None)
    if changed := own and difference(table(own, "metadata"), table(project, "project"), project):
        what = f"{path} is stale: it has been made before {changed} was changed in pyproject.toml"
        raise refused(what, path, f"{REFRESH}, then commit {path}")
    known = {normal(name) for name in table(project, "project", "optional-dependencies")}
    if unknown := [extra for extra in extras if normal(extra) not in known]:
        there = ", ".join(sorted(known)) or "none"
        raise refused(f"pyproject.toml has no extra {unknown[0]}", "app.extras in deploy.toml", f"extras: {there}")
    directories = tuple(sorted({found for each in packages if (found := local(each)) and found != "."}))
    name = normal(str((own or {}).get("name", "")))
    markers = reached([Wanted(name, "", extras)], needs_of(packages))
    listed = tuple(
        Locked(str(each["name"]), str(each.get("version", "")))
        for each in packages
        if each is not own and normal(str(each.get("name", ""))) in markers
    )
    return Listing(listed, directories, other_indexes(table(project, "tool", "uv").get("index")))


ELSEWHERE = re.compile(r"""(sys_platform|platform_system|os_name)\s*==\s*['"](win32|darwin|Windows|Darwin|nt)['"]""")


def require_linux(markers: list[str], path: str) -> None:
    """Refuse a lock whose project has told uv to lock for other systems only."""
    if markers and all(ELSEWHERE.search(marker) and " or " not in marker for marker in markers):
        what = f"{path} is for other platforms only ({markers[0]})"
        hint = f"add \"sys_platform == 'linux'\" to tool.uv.environments in pyproject.toml, then {REFRESH}"
        raise refused(what, path, hint)


def needs_of(packages: list[dict[str, Any]]) -> dict[str, dict[str, list[Wanted]]]:
    needs: dict[str, dict[str, list[Wanted]]] = {}
    for package in packages:
        of_it = needs.setdefault(normal(str(package.get("name", ""))), {"": []})
        of_it[""] += wanted(package.get("dependencies"))
        for extra, listed in table(package, "optional-dependencies").items():
            of_it.setdefault(normal(extra), []).extend(wanted(listed))
    return needs


def wanted(listed: object) -> list[Wanted]:
    tables = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return [
        Wanted(normal(str(each.get("name", ""))), str(each.get("marker", "")), tuple(strings(each.get("extra"))))
        for each in tables
    ]


def sources(package: dict[str, Any]) -> dict[str, Any]:
    return table(package, "source")


def local(package: dict[str, Any]) -> str:
    """The path in the project that a package is from; "" for one from elsewhere."""
    found = [str(value) for key, value in sources(package).items() if key in LOCAL]
    return found[0] if found else ""


def difference(recorded: dict[str, Any], own: dict[str, Any], project: dict[str, Any]) -> str:
    """A package whose requirement is another one than when the lock was made; "" where there is none for certain.

    recorded: the lock's [package.metadata] of the project.
    """
    if "dependencies" in strings(own.get("dynamic")):
        return ""
    before = [each for each in recorded.get("requires-dist", []) if isinstance(each, dict)]
    elsewhere = {normal(name) for name in table(project, "tool", "uv", "sources")}
    optional = [line for lines in table(own, "optional-dependencies").values() for line in strings(lines)]
    now = [split(line) for line in (*strings(own.get("dependencies")), *optional)]
    name_of_own = normal(str(own.get("name", "")))
    then = {(normal(str(each.get("name", ""))), specifier(str(each.get("specifier", "")))) for each in before}
    there = {name for name, _ in then}
    for name, wanted in now:
        if not name or name == name_of_own:
            continue
        if name not in there or (name not in elsewhere and wanted is not None and (name, wanted) not in then):
            return name
    gone = sorted(there - {name for name, _ in now} - {name_of_own})
    return gone[0] if gone else ""


# A part of a specifier that uv writes as it is: without leading zeros, and no other spelling of the same version.
PLAIN = re.compile(r"(?:===|[=~!<>]=|<|>)(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))*(?:\.\*)?")


def split(line: str) -> tuple[str, frozenset[str] | None]:
    """The name in a requirement, and its specifier; None for one that uv may write in another way."""
    found = re.match(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*([^;]*)", line)
    if not found:
        return "", None
    written = found[2].strip().strip("()")
    name, parts = normal(found[1].rstrip(".-_")), specifier(written)
    return name, None if written.startswith("@") or not all(map(PLAIN.fullmatch, parts)) else parts


def specifier(text: str) -> frozenset[str]:
    return frozenset(re.sub(r"\s", "", part) for part in text.split(",") if part.strip())
