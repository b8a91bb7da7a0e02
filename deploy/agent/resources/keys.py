"""Keys that may do a few things only, and the root-owned copy of the kit that does these for them."""

import os
import re
import shutil
from dataclasses import dataclass
from typing import Any

from ..system import System
from ..wire import Drift, Refused, Resource
from .files import replace, text_of
from .users import User

UNITS = "/etc/systemd/system"
LINE = re.compile(r'restrict,command="exec \S+ -ISB \S+ (\S+) (\S+)" (\S+) (\S+) (\S+)')


def keys_in(path: str) -> list[dict[str, Any]]:
    """The keys in an authorized_keys that `fab ci.key` wrote: {"app", "id", "type", "base64", "name"}."""
    found = []
    for line in (text_of(path) or "").splitlines():
        if match := LINE.fullmatch(line):
            found.append(dict(zip(("app", "id", "type", "base64", "name"), match.groups(), strict=True)))
    return found


@dataclass(frozen=True)
class LoginUser(User):
    """A user whom a key logs in, and who owns nothing, its home included: it cannot let others in."""

    shell: str = "/bin/sh"

    def check(self, system: System) -> list[Drift]:
        import pwd

        if len(self.name) > 32:
            hint = "CI keys are for apps whose name has 29 letters at most"
            raise Refused(f"a user's name has 32 letters at most, and {self.name} has {len(self.name)}", hint)
        try:
            found = pwd.getpwnam(self.name)
        except KeyError:
            return [Drift("user", "absent", "present")]
        if found.pw_dir != self.home:
            raise Refused(f"{self.name} is already somebody else on this server", f"its home is {found.pw_dir}")
        return [*super().check(system), *([] if self._unlocked() else [Drift("login by key", "locked", "possible")])]

    def apply(self, system: System) -> None:
        if any(drift.what != "login by key" for drift in self.check(system)):
            super().apply(system)
        system.run(["usermod", "--password", "*", self.name])  # none fits; "!", as useradd leaves it, can shut out keys

    def _proved(self) -> bool:
        return True  # its home, which is compared before, is below a directory of the kit

    def _unlocked(self) -> bool:
        return f"\n{self.name}:*:" in "\n" + (text_of("/etc/shadow") or "")


@dataclass(frozen=True)
class Tree(Resource):
    """A directory with these files and no others: root's, readable by all, complete once it has its name."""

    directory: str
    files: tuple[tuple[str, str], ...]
    name: str

    @property
    def title(self) -> str:
        return f"{self.name} in {self.directory}"

    def check(self, system: System) -> list[Drift]:
        if not os.path.isdir(self.directory):
            return [Drift("directory", "absent", "present")]
        wanted = dict(self.files)
        found = {path: text_of(f"{self.directory}/{path}") for path in self._paths()}
        changed = sorted(path for path in {*wanted, *found} if wanted.get(path) != found.get(path))
        return [Drift(path, "another text" if path in found else "absent", "as it was put there") for path in changed]

    def _paths(self) -> list[str]:
        found = []
        for top, directories, names in os.walk(self.directory):
            directories[:] = [name for name in directories if name != "__pycache__"]
            found += [os.path.relpath(f"{top}/{name}", self.directory) for name in names]
        return found

    def apply(self, system: System) -> None:
        building = f"{self.directory}.building"
        shutil.rmtree(building, ignore_errors=True)  # left by an interrupted run
        for path, text in self.files:
            os.makedirs(os.path.dirname(f"{building}/{path}"), 0o755, exist_ok=True)
            replace(f"{building}/{path}", text.encode(), 0o644, 0, 0)
        shutil.rmtree(self.directory, ignore_errors=True)
        os.rename(building, self.directory)
        system.run(["python3", "-ISm", "compileall", "-q", self.directory])


@dataclass(frozen=True)
class Unused(Resource):
    """No copy of the kit is left that no unit starts: those of older versions, and those of keys that are gone."""

    parent: str
    prefix: str

    @property
    def title(self) -> str:
        return "copies of the kit that no unit starts are removed"

    def check(self, system: System) -> list[Drift]:
        return [Drift(path, "present", "absent") for path in self._unused()]

    def apply(self, system: System) -> None:
        for path in self._unused():
            shutil.rmtree(path)

    def _unused(self) -> list[str]:
        copies = [name for name in os.listdir(self.parent) if name.startswith(self.prefix)]
        units = [name for name in os.listdir(UNITS) if name.startswith("ashore-ci-") and name.endswith("@.service")]
        texts = [text_of(f"{UNITS}/{name}") or "" for name in units] if copies else []
        return sorted(f"{self.parent}/{name}" for name in copies if not any(f"/{name}'" in text for text in texts))
