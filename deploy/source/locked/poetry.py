"""poetry.lock, of Poetry 1 and 2. Which packages are installed: those of the group main, and of the extras wanted."""

import hashlib
import json
import re
from typing import Any

from .document import refused, strings, table, toml
from .listing import Listing, Locked, normal, other_indexes
from .ranges import as_marker
from .reached import Wanted, reached, requirement

REFRESH = "poetry lock"
LEGACY = ("dependencies", "source", "extras", "dev-dependencies")
OF_PROJECT = ("requires-python", "dependencies", "optional-dependencies")


def content_hashes(project: dict[str, Any]) -> set[str]:
    """The hashes of a pyproject.toml's dependencies that versions of Poetry write into a lock."""
    own, groups, poetry = (
        table(project, "project"),
        table(project, "dependency-groups"),
        table(project, "tool", "poetry"),
    )
    of_project = {key: own[key] for key in OF_PROJECT if own.get(key) is not None}
    found = []
    for counted in ({}, groups):
        extra = {
            **({"project": of_project} if of_project else {}),
            **({"dependency-groups": counted} if counted else {}),
        }
        keys = [key for key in (*LEGACY, "group") if poetry.get(key) is not None or (key in LEGACY and not extra)]
        relevant = {key: poetry.get(key) for key in keys}
        found.append({**extra, "tool": {"poetry": relevant}} if extra else relevant)
    found.append({key: poetry.get(key) for key in (*LEGACY, "group") if key in LEGACY or poetry.get(key) is not None})
    found.append({key: poetry.get(key) for key in LEGACY})  # before there were groups
    return {hashlib.sha256(json.dumps(each, sort_keys=True, default=str).encode()).hexdigest() for each in found}


def read(text: str, path: str, project: dict[str, Any], extras: tuple[str, ...]) -> Listing:
    """project: its pyproject.toml."""
    lock = toml(text, path, REFRESH)
    packages = lock.get("package", [])
    recorded = str(table(lock, "metadata").get("content-hash", ""))
    if not isinstance(packages, list) or not recorded:
        raise refused(f"{path} is not a lock of Poetry", path, REFRESH)
    if recorded not in content_hashes(project):
        what = f"{path} is stale: the dependencies in pyproject.toml have changed since it was made"
        raise refused(what, path, f"{REFRESH}, then commit {path}")
    offered = {normal(name): strings(names) for name, names in table(lock, "extras").items()}
    if unknown := [extra for extra in extras if normal(extra) not in offered]:
        raise refused(f"{path} has no extra {unknown[0]}", "app.extras in deploy.toml", f"extras: {', '.join(offered)}")
    packages = [package for package in packages if isinstance(package, dict) and package.get("name")]
    if all("groups" in package for package in packages):
        chosen = [(package, marker_of(package)) for package in packages if is_main(package, extras)]
    else:
        markers = reached(wanted(project, extras, offered), needs_of(packages))
        named = [(package, normal(package["name"])) for package in packages]
        chosen = [(package, markers[name]) for package, name in named if name in markers]
    old = table(lock, "metadata", "files")  # before Poetry 1.5
    found = [locked(package, marker, old) for package, marker in chosen]
    directories = [package.source for package in found if package.source and "://" not in package.source]
    return Listing(tuple(found), tuple(directories), other_indexes(table(project, "tool", "poetry").get("source")))


def is_main(package: dict[str, Any], extras: tuple[str, ...]) -> bool:
    if "main" not in strings(package.get("groups")):
        return False
    if not package.get("optional"):
        return True
    marker = package.get("markers", "")
    text = marker.get("main", "") if isinstance(marker, dict) else str(marker)
    wanted = {normal(extra) for extra in extras}
    return bool(wanted & {normal(name) for name in re.findall(r"extra\s*==\s*[\"']([^\"']+)", text)})


def marker_of(package: dict[str, Any]) -> str:
    """The marker of the group main. Extras have been decided by `is_main`."""
    marker = package.get("markers", "")
    text = str(marker.get("main", "") if isinstance(marker, dict) else marker)
    return re.sub(r"extra\s*==\s*[\"'][^\"']+[\"']", 'python_version >= "3"', text)  # which always holds


def wanted(project: dict[str, Any], extras: tuple[str, ...], offered: dict[str, list[str]]) -> list[Wanted]:
    """What the project itself needs: by [project], or by [tool.poetry.dependencies]."""
    own = strings(table(project, "project").get("dependencies"))
    listed = [requirement(line) for line in own]
    chosen = {normal(re.split(r"[\s(\[<>=!~;]", line)[0]) for extra in extras for line in offered[normal(extra)]}
    listed += [Wanted(name) for name in sorted(chosen)]
    for name, constraint in table(project, "tool", "poetry", "dependencies").items():
        listed += [] if name.lower() == "python" else needed(name, constraint, chosen)
    return listed


def needed(name: str, constraint: Any, chosen: set[str] | None = None) -> list[Wanted]:
    """A dependency as Poetry writes it: a string, a table, or a list of these. chosen: the wanted optional ones."""
    found = []
    for each in constraint if isinstance(constraint, list) else [constraint]:
        if not isinstance(each, dict):
            found.append(Wanted(normal(name)))
        elif not each.get("optional") or chosen is None or normal(name) in chosen:
            python = as_marker(str(each["python"])) if each.get("python") else ""
            marker = " and ".join(filter(None, (python, str(each.get("markers", "")))))
            found.append(Wanted(normal(name), marker, tuple(map(normal, strings(each.get("extras"))))))
    return found


def needs_of(packages: list[dict[str, Any]]) -> dict[str, dict[str, list[Wanted]]]:
    needs: dict[str, dict[str, list[Wanted]]] = {}
    for package in packages:
        of_it = needs.setdefault(normal(package["name"]), {"": []})
        listed = table(package, "dependencies")
        for name, constraint in listed.items():
            of_it[""] += needed(name, constraint, set())
        for extra, lines in table(package, "extras").items():
            of_it.setdefault(normal(extra), []).extend(requirement(line) for line in strings(lines))
    return needs


def locked(package: dict[str, Any], marker: str, old: dict[str, Any]) -> Locked:
    source = table(package, "source")
    files = package.get("files") or old.get(package["name"], [])
    hashes = tuple(sorted({str(file["hash"]) for file in files if isinstance(file, dict) and file.get("hash")}))
    where, kind = str(source.get("url", "")), source.get("type", "")
    if kind == "git":
        inside = f"#subdirectory={source['subdirectory']}" if source.get("subdirectory") else ""
        return Locked(package["name"], "", (), marker, f"git+{where}@{source.get('resolved_reference', '')}{inside}")
    if kind == "url":
        return Locked(package["name"], "", hashes, marker, where)
    if kind in ("directory", "file"):
        return Locked(package["name"], "", (), marker, where)
    return Locked(package["name"], str(package.get("version", "")), hashes, marker)
