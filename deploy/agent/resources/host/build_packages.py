"""Debian packages that an app needs: at run time, and only while its packages are built.

What was installed for a build is removed after it. It is recorded before, so the next run cleans up after a crash.
"""

import glob
import json
import os
import re
from contextlib import suppress
from typing import Any

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Failed, Resource
from ..files import replace
from .packages import APT, apt, install, outside

RECORDS = "/var/lib/ashore"
NAME = "build-packages.json"
UNKNOWN = re.compile(r"Unable to locate package (\S+)|Package '?(\S+?)'? has no installation candidate")
UNRECOMMENDED = ("APT::AutoRemove::RecommendsImportant=false", "APT::AutoRemove::SuggestsImportant=false")


@dataclass(frozen=True)
class AppPackages(Resource):
    """Packages that an app needs while it runs: they stay. setting: the key of deploy.toml that names them."""

    names: tuple[str, ...]
    setting: str = "apt"

    @property
    def title(self) -> str:
        return f"packages of the app {', '.join(self.names)}"

    @property
    def shares(self) -> str:
        return "apt"

    def check(self, system: System) -> list[Drift]:
        passing = {name for found in records().values() for name in found["new"]} if os.path.isdir(RECORDS) else set()
        missing = [Drift(name, "absent", "installed") for name in self.names if not system.installed(name)]
        return missing or [Drift(name, "for a build", "installed") for name in self.names if name in passing]

    def apply(self, system: System) -> None:
        installed(system, list(self.names), self.setting)
        for path, found in records().items():
            if set(found["new"]) & set(self.names):
                left = [name for name in found["new"] if name not in self.names]
                write(path, found["names"], left)


@dataclass(frozen=True)
class BuildPackages(Resource):
    """Packages for a build, while one of `builds` is still to be made. `BuildPackagesRemoved` follows the builds."""

    names: tuple[str, ...]
    app: str
    builds: tuple[Resource, ...]

    @property
    def title(self) -> str:
        return f"packages for the build {', '.join(self.names)}"

    @property
    def shares(self) -> str:
        return "apt"

    def check(self, system: System) -> list[Drift]:
        if not any(step.check(system) for step in self.builds):
            return []
        missing = [Drift(name, "absent", "installed") for name in self.names if not system.installed(name)]
        recorded = set(self.names) <= set(record_of(self.app)["names"])
        return missing or ([] if recorded else [Drift("build", "not recorded", "recorded")])

    def apply(self, system: System) -> None:
        missing = [name for name in self.names if not system.installed(name)]
        new = record_of(self.app)["new"]  # of a run that died
        path = f"{RECORDS}/{self.app}/{NAME}"
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        write(path, list(self.names), new)
        if missing:
            with suppress(Failed):  # the package lists may be too old: `installed` fetches them, and says what is wrong
                write(path, list(self.names), [*new, *additions(system, missing)])
            before = all_installed(system)
            installed(system, missing, "build_apt")
            write(path, list(self.names), sorted({*new, *(all_installed(system) - before)}))


@dataclass(frozen=True)
class BuildPackagesRemoved(Resource):
    """Nothing is left of what was installed for a build of the app, but for what something else needs meanwhile."""

    app: str

    @property
    def title(self) -> str:
        return "packages for the build: removed"

    @property
    def shares(self) -> str:
        return "apt"

    def check(self, system: System) -> list[Drift]:
        path = f"{RECORDS}/{self.app}/{NAME}"
        return [Drift("packages", "installed for a build", "removed")] if os.path.exists(path) else []

    def apply(self, system: System) -> None:
        from ...locks import Locks

        mine = f"{RECORDS}/{self.app}/{NAME}"
        found = records()
        own = found.pop(mine, {"names": [], "new": []})
        busy = [path for path in found if Locks().busy(path.split("/")[-2])]
        if busy:  # another app is built now, maybe with the same ones: it removes them all
            other = found[busy[0]]
            write(busy[0], other["names"], sorted({*other["new"], *own["new"]}))
        else:
            remove(system, {name for each in (own, *found.values()) for name in each["new"]})
        for path in (mine, *(path for path in found if not busy)):
            with suppress(FileNotFoundError):
                os.unlink(path)


def installed(system: System, names: list[str], setting: str) -> None:
    """Install packages; Failed names those that the system does not have."""
    try:
        install(system, names)
    except Failed as failure:
        unknown = sorted({first or second for first, second in UNKNOWN.findall(failure.detail)})
        if not unknown:
            raise
        plural = "s" if len(unknown) > 1 else ""
        what = f"this server's system has no package{plural} {', '.join(unknown)}"
        hint = f"correct `{setting}` in deploy.toml; on the server, `apt-cache search WORD` finds packages"
        raise Failed(what, hint, failure.detail) from failure


def additions(system: System, names: list[str]) -> list[str]:
    """What apt would install for these: with all that they depend on."""
    said = system.run([*APT, "--simulate", "install", "--no-install-recommends", *names])
    return re.findall(r"^Inst (\S+)", said, re.M)


def all_installed(system: System) -> set[str]:
    said = system.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${binary:Package}\n"])
    return {line.split()[1].partition(":")[0] for line in said.splitlines() if line.startswith("installed ")}


def remove(system: System, names: set[str]) -> None:
    """Remove those of these packages that nothing else needs, as apt's autoremove does."""
    there = sorted(names & all_installed(system))
    if not there:
        return
    system.run([*outside(), "apt-mark", "auto", *there])
    options = [word for option in UNRECOMMENDED for word in ("-o", option)]
    said = system.run([*APT, *options, "--simulate", "autoremove"])
    needless = [name for name in re.findall(r"^Remv ([^\s:]+)", said, re.M) if name in there]
    if needless:
        apt(system, ["purge", *needless], "packages of the build")


def records() -> dict[str, dict[str, Any]]:
    """What apps have installed for builds that are not over, by the paths of the records."""
    found = {path: read(path) for path in sorted(glob.glob(f"{RECORDS}/*/{NAME}"))}
    return {path: record for path, record in found.items() if record}


def record_of(app: str) -> dict[str, Any]:
    return read(f"{RECORDS}/{app}/{NAME}") or {"names": [], "new": []}


def read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and {"names", "new"} <= found.keys() else {}


def write(path: str, names: list[str], new: list[str]) -> None:
    replace(path, json.dumps({"names": names, "new": new}).encode(), 0o600, 0, 0)
