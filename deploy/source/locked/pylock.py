"""pylock.toml (PEP 751), which uv, PDM and pip write."""

import re
from typing import Any

from .document import refused, strings, table, toml
from .listing import Listing, Locked, normal

REFRESH = "make it again with the tool that wrote it, such as `uv export --format pylock.toml -o pylock.toml`"
CHOICE = re.compile(r"['\"]([\w.-]+)['\"]\s+(not\s+)?in\s+(extras|dependency_groups)")


def read(text: str, path: str, extras: tuple[str, ...]) -> Listing:
    lock = toml(text, path, REFRESH)
    if not lock.get("lock-version") or not isinstance(lock.get("packages"), list):
        raise refused(f"{path} is no lock: it lacks lock-version or packages", path, REFRESH)
    offered = [normal(extra) for extra in strings(lock.get("extras"))]
    if unknown := [extra for extra in extras if normal(extra) not in offered]:
        known = ", ".join(offered) or "none"
        raise refused(f"{path} has no extra {unknown[0]}", "app.extras in deploy.toml", f"extras: {known}")
    chosen = {*map(normal, extras), *map(normal, strings(lock.get("default-groups")))}
    packages = [package for package in lock["packages"] if isinstance(package, dict) and package.get("name")]
    found = tuple(locked(package, with_choice(str(package.get("marker", "")), chosen)) for package in packages)
    directories = tuple(package.source for package in found if package.source and "://" not in package.source)
    return Listing(found, directories)


def with_choice(marker: str, chosen: set[str]) -> str:
    """A marker in which extras and groups are decided: they are True or False there, as comparisons that uv knows."""

    def decided(found: re.Match[str]) -> str:
        holds = (normal(found[1]) in chosen) != bool(found[2])
        return 'python_version >= "3"' if holds else 'python_version < "3"'

    return CHOICE.sub(decided, marker)


def locked(package: dict[str, Any], marker: str) -> Locked:
    name, version = str(package["name"]), str(package.get("version", ""))
    vcs, archive, directory = table(package, "vcs"), table(package, "archive"), table(package, "directory")
    inside = f"#subdirectory={vcs['subdirectory']}" if vcs.get("subdirectory") else ""
    if vcs:
        return Locked(name, "", (), marker, f"{vcs.get('type', 'git')}+{vcs.get('url')}@{vcs.get('commit-id')}{inside}")
    if directory:
        return Locked(name, "", (), marker, str(directory.get("path", ".")))
    if archive:
        return Locked(name, "", hashes([archive]), marker, str(archive.get("url") or archive.get("path")))
    wheels = package.get("wheels", [])
    return Locked(
        name, version, hashes([table(package, "sdist"), *(wheels if isinstance(wheels, list) else [])]), marker
    )


def hashes(files: list[Any]) -> tuple[str, ...]:
    return tuple(sorted({f"sha256:{found}" for file in files if (found := table(file, "hashes").get("sha256"))}))
