"""The project itself where it is a package: its metadata and commands are in the virtualenv, its code in each release.

A virtualenv is shared by releases. So what it has of the project's code is removed: Python finds that in the release.
What a build has made and the source does not have, such as a compiled module, is kept and copied into each release.
"""

import csv
import glob
import json
import os
import shutil
from contextlib import suppress

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Resource
from ..files import required_ids
from .recipes import COPY, Recipe

GENERATED = "generated"


def unbind(venv: str, source: str, recipe: Recipe) -> None:
    """Remove from a virtualenv the code of the project that is in its source, and set aside what was generated."""
    for metadata in glob.glob(f"{venv}/lib/python*/site-packages/*.dist-info"):
        if is_own(metadata, recipe.directory):
            site = os.path.dirname(metadata)
            for path in code_of(metadata):
                place = next((root for root in recipe.roots if os.path.lexists(f"{source}/{root}/{path}")), None)
                home = next(
                    (root for root in recipe.roots if os.path.isdir(f"{source}/{root}/{path.partition('/')[0]}")), None
                )
                if place is not None:
                    os.unlink(f"{site}/{path}")
                elif home is not None and "/" in path:
                    kept = f"{venv}/{GENERATED}/{home}/{path}"
                    os.makedirs(os.path.dirname(kept), 0o755, exist_ok=True)
                    os.rename(f"{site}/{path}", kept)
            remove_empty(site, {path.partition("/")[0] for path in code_of(metadata, there=False) if "/" in path})


def is_own(metadata: str, directory: str) -> bool:
    """Whether a package was installed from this directory of the copied source; direct_url.json says from where."""
    place = f"/.scratch/{COPY}/{directory}".rstrip("/")
    try:
        with open(f"{metadata}/direct_url.json", encoding="utf-8") as file:
            return str(json.load(file).get("url", "")).rstrip("/").endswith(place)
    except (OSError, ValueError):
        return False


def code_of(metadata: str, there: bool = True) -> list[str]:
    """Files that a package has installed beside its metadata, from its RECORD: paths below site-packages."""
    site, own = os.path.split(metadata)
    with open(f"{metadata}/RECORD", encoding="utf-8", newline="") as file:
        paths = [row[0] for row in csv.reader(file) if row]
    inside = [path for path in paths if not path.startswith(("../", "/", f"{own}/")) and "__pycache__" not in path]
    return [path for path in inside if not there or os.path.lexists(f"{site}/{path}")]


def remove_empty(site: str, names: set[str]) -> None:
    """Remove the directories of a package that have no files any more but compiled ones."""
    for name in sorted(names):
        for directory, _, _ in os.walk(f"{site}/{name}", topdown=False):
            if os.path.basename(directory) == "__pycache__":
                modules = {os.path.basename(path).partition(".")[0] for path in os.listdir(os.path.dirname(directory))}
                for compiled in os.listdir(directory):
                    if compiled.partition(".")[0] not in modules:
                        os.unlink(f"{directory}/{compiled}")
            with suppress(OSError):
                os.rmdir(directory)


@dataclass(frozen=True)
class Generated(Resource):
    """What a build of the project has made is in the release's source, too. venv: its virtualenv."""

    venv: str
    source: str
    group: str

    @property
    def title(self) -> str:
        return "files that the project's build makes: in the release"

    def check(self, system: System) -> list[Drift]:
        lacking = [path for path in self._made() if not os.path.lexists(f"{self.source}/{path}")]
        return [Drift(path, "absent", "present") for path in lacking]

    def apply(self, system: System) -> None:
        _, gid = required_ids("root", self.group)
        for path in self._made():
            at = f"{self.source}/{path}"
            if os.path.lexists(at) or not os.path.realpath(os.path.dirname(at)).startswith(f"{self.source}/"):
                continue
            for directory in missing_above(at):
                os.mkdir(directory, 0o750)
                os.chown(directory, 0, gid)
            shutil.copyfile(f"{self.venv}/{GENERATED}/{path}", f"{at}.partial", follow_symlinks=False)
            os.chown(f"{at}.partial", 0, gid)
            os.chmod(f"{at}.partial", 0o640)
            os.rename(f"{at}.partial", at)

    def _made(self) -> list[str]:
        top = f"{self.venv}/{GENERATED}"
        files = [f"{directory}/{name}" for directory, _, names in os.walk(top) for name in names]
        return sorted(os.path.relpath(path, top) for path in files)


def missing_above(path: str) -> list[str]:
    """The directories above a path that do not exist, from the top."""
    found: list[str] = []
    while not os.path.isdir(path := os.path.dirname(path)):
        found.insert(0, path)
    return found
