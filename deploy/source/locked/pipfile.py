"""Pipfile.lock: the packages of `default`."""

import hashlib
import json
from typing import Any

from .document import jsonic, refused, strings, table
from .listing import Listing, Locked, other_indexes

REFRESH = "pipenv lock"
KNOWN = ("source", "packages", "dev-packages", "requires", "scripts", "pipfile", "pipenv", "default", "develop")


def content_hash(pipfile: dict[str, Any]) -> str:
    data = {
        "_meta": {"sources": pipfile.get("source", []), "requires": pipfile.get("requires", {})},
        "default": pipfile.get("packages", {}),
        "develop": pipfile.get("dev-packages", {}),
    }
    data |= {name: value for name, value in pipfile.items() if name not in KNOWN}
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()


def read(text: str, path: str, pipfile: dict[str, Any] | None) -> Listing:
    """pipfile: None where there is none: then nobody can say whether the lock is stale."""
    lock = jsonic(text, path, REFRESH)
    meta, default = table(lock, "_meta"), lock.get("default")
    if not isinstance(default, dict):
        raise refused(f"{path} has no table of packages `default`", path, REFRESH)
    recorded = str(table(meta, "hash").get("sha256", ""))
    if pipfile is not None and recorded and pipfile.get("source") and recorded != content_hash(pipfile):
        raise refused(f"{path} is stale: Pipfile has changed since it was made", path, f"{REFRESH}, then commit {path}")
    found = [locked(name, entry) for name, entry in default.items() if isinstance(entry, dict)]
    directories = tuple(package.source for package in found if package.source and "://" not in package.source)
    return Listing(tuple(found), directories, other_indexes(meta.get("sources")))


def locked(name: str, entry: dict[str, Any]) -> Locked:
    marker, extras = str(entry.get("markers", "")), tuple(strings(entry.get("extras")))
    hashes = tuple(strings(entry.get("hashes")))
    if entry.get("git"):
        inside = f"#subdirectory={entry['subdirectory']}" if entry.get("subdirectory") else ""
        return Locked(name, "", (), marker, f"git+{entry['git']}@{entry.get('ref', '')}{inside}", extras)
    if entry.get("file"):
        return Locked(name, "", hashes, marker, str(entry["file"]), extras)
    if entry.get("path"):
        return Locked(name, "", (), marker, str(entry["path"]), extras)
    version = str(entry.get("version", "")).removeprefix("==")
    return Locked(name, "" if version == "*" else version, hashes, marker, "", extras)
