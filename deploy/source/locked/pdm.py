"""pdm.lock: the packages of the group default, and of the extras wanted."""

import hashlib
import json
from typing import Any

from .document import refused, strings, table, toml
from .listing import Listing, Locked, normal, other_indexes
from .reached import Wanted, reached, requirement

REFRESH = "pdm lock"


def content_hashes(project: dict[str, Any]) -> set[str]:
    """What versions of PDM write into a lock as the hash of the dependencies in pyproject.toml."""
    own, settings = table(project, "project"), table(project, "tool", "pdm")
    groups: dict[str, list[Any]] = {
        normal(name): list(each) for name, each in table(project, "dependency-groups").items()
    }
    for name, each in table(settings, "dev-dependencies").items():
        groups.setdefault(normal(name), []).extend(each)
    common = {
        "sources": settings.get("source", []),
        "dependencies": own.get("dependencies", []),
        "optional-dependencies": own.get("optional-dependencies", {}),
        "requires-python": own.get("requires-python", ""),
    }
    resolution = table(settings, "resolution")
    found = []
    for development in (groups, table(settings, "dev-dependencies")):
        found.append({**common, "dev-dependencies": development, "resolution": resolution})
        found.append({**common, "dev-dependencies": development, "overrides": table(resolution, "overrides")})
    return {hashlib.sha256(json.dumps(each, sort_keys=True, default=str).encode()).hexdigest() for each in found}


def read(text: str, path: str, project: dict[str, Any], extras: tuple[str, ...]) -> Listing:
    lock = toml(text, path, REFRESH)
    packages = [package for package in lock.get("package", []) if isinstance(package, dict) and package.get("name")]
    metadata = table(lock, "metadata")
    if not metadata.get("lock_version"):
        raise refused(f"{path} is not a lock of PDM", path, REFRESH)
    own = table(project, "project")
    listed = [requirement(line) for line in strings(own.get("dependencies"))]
    optional = {normal(name): strings(lines) for name, lines in table(own, "optional-dependencies").items()}
    if unknown := [extra for extra in extras if normal(extra) not in optional]:
        known = ", ".join(optional) or "none"
        raise refused(f"pyproject.toml has no extra {unknown[0]}", "app.extras in deploy.toml", f"extras: {known}")
    listed += [requirement(line) for extra in extras for line in optional[normal(extra)]]
    algorithm, _, recorded = str(metadata.get("content_hash", "")).partition(":")
    there = {normal(package["name"]) for package in packages}
    missing = [each.name for each in listed if each.name and each.name not in there and not each.marker]
    recent = str(metadata["lock_version"]).startswith(("4.4", "4.5", "4.6"))  # others may be hashed in another way
    known_hash = algorithm == "sha256" and recorded and own and recent
    if missing or (known_hash and recorded not in content_hashes(project)):
        what = f"{path} is stale: the dependencies in pyproject.toml have changed since it was made"
        raise refused(what, path, f"{REFRESH}, then commit {path}")
    if all("groups" in package for package in packages):
        groups = {"default", *map(normal, extras)}
        chosen = [(each, str(each.get("marker", ""))) for each in packages if groups & set(strings(each["groups"]))]
    else:
        markers = reached(listed, needs_of(packages))
        named = [(package, normal(package["name"])) for package in packages]
        chosen = [(package, markers[name]) for package, name in named if name in markers]
    found = [locked(package, marker) for package, marker in chosen if not package.get("extras")]
    directories = tuple(package.source for package in found if package.source and "://" not in package.source)
    return Listing(tuple(found), directories, other_indexes(table(project, "tool", "pdm").get("source")))


def needs_of(packages: list[dict[str, Any]]) -> dict[str, dict[str, list[Wanted]]]:
    """A package with extras is listed in a table of its own, which needs the package itself, too."""
    needs: dict[str, dict[str, list[Wanted]]] = {}
    for package in packages:
        of_it = needs.setdefault(normal(package["name"]), {"": []})
        lines = [requirement(line) for line in strings(package.get("dependencies"))]
        for extra in map(normal, strings(package.get("extras"))):
            of_it.setdefault(extra, []).extend(lines)
        if not package.get("extras"):
            of_it[""] += lines
    return needs


def locked(package: dict[str, Any], marker: str) -> Locked:
    files = package.get("files", [])
    hashes = tuple(sorted({str(file["hash"]) for file in files if isinstance(file, dict) and file.get("hash")}))
    name = str(package["name"])
    if package.get("git"):
        inside = f"#subdirectory={package['subdirectory']}" if package.get("subdirectory") else ""
        return Locked(name, "", (), marker, f"git+{package['git']}@{package.get('revision', '')}{inside}")
    if package.get("url"):
        return Locked(name, "", hashes, marker, str(package["url"]))
    if package.get("path"):
        return Locked(name, "", (), marker, str(package["path"]))
    return Locked(name, str(package.get("version", "")), hashes, marker)
