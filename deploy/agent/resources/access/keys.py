"""CI keys, which may do only a few things, and the root-owned copy of the kit that does these for them."""

import os
import re
import shutil
from contextlib import suppress

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Failed, Refused, Resource
from ..files import File, replace, seal, text_of, unified, untouched
from ..host.users import User

UNITS = "/etc/systemd/system"
LINE = re.compile(r'restrict,command="exec \S+ -ISB \S+ (\S+) (\S+)" (\S+) (\S+) (\S+)')
HEAD = "# Written by Ashore: `fab ci.key` adds a key, `fab ci.key --revoke` takes one away.\n"
EVERY = "all"
Key = dict[str, str]


def keys_in(path: str) -> list[Key]:
    """The keys in an authorized_keys that `fab ci.key` wrote: {"app", "id", "type", "base64", "name"}."""
    found = []
    for line in (text_of(path) or "").splitlines():
        if match := LINE.fullmatch(line):
            found.append(dict(zip(("app", "id", "type", "base64", "name"), match.groups(), strict=True)))
    return found


def line_of(key: Key, kit: str) -> str:
    """A key's line in authorized_keys. kit: the directory of the copy of the kit that is to serve it."""
    relay = f"exec /usr/bin/python3 -ISB {kit}/deploy/ci/relay.py {key['app']} {key['id']}"
    return f'restrict,command="{relay}" {key["type"]} {key["base64"]} {key["name"]}\n'


@dataclass(frozen=True)
class Keyring(Resource):
    """The keys in an authorized_keys: those that are there, with `add`, and without those of the IDs in `revoke`.

    The file is read at the moment of writing, so of two operators at the same time, one cannot restore a key that the
    other has revoked. kit: the copy of the kit that serves them; "": unchanged. add: (type, base64, name, ID) of each.
    """

    path: str
    app: str
    kit: str
    add: tuple[tuple[str, str, str, str], ...] = ()
    revoke: tuple[str, ...] = ()
    force: bool = False

    @property
    def title(self) -> str:
        return f"keys in {self.path}"

    @property
    def shares(self) -> str:
        return f"keys-{self.app}"

    def check(self, system: System) -> list[Drift]:
        text = self._text()
        found = text_of(self.path)
        if found is not None and not untouched(found) and not self.force and not self.revoke:
            return File(self.path, text).check(system)  # edited by hand: refused, with the difference
        if found == text or (found is None and not self._keys()):
            return []
        return [Drift("keys", "different", "as wanted", unified(self.path, found or "", text))]

    def apply(self, system: System) -> None:
        replace(self.path, self._text().encode(), 0o644, 0, 0)

    def _keys(self) -> list[Key]:
        named = ("type", "base64", "name", "id")
        more = [{"app": self.app, **dict(zip(named, values, strict=True))} for values in self.add]
        known = {key["id"]: key for key in (*keys_in(self.path), *more)}
        return [key for id_, key in known.items() if id_ not in self.revoke and EVERY not in self.revoke]

    def _text(self) -> str:
        """Only our own lines: revoking a key also removes edits by hand from the file."""
        if self.kit:
            return seal(HEAD + "".join(line_of(key, self.kit) for key in self._keys()))
        left = {(key["id"], key["base64"]) for key in self._keys()}
        lines = (text_of(self.path) or "").splitlines(keepends=True)
        kept = [line for line in lines if (match := LINE.fullmatch(line.rstrip("\n"))) and (match[2], match[4]) in left]
        return seal(HEAD + "".join(kept))


@dataclass(frozen=True)
class Disconnected(Resource):
    """Connections and runs of revoked keys are ended."""

    app: str
    path: str

    @property
    def title(self) -> str:
        return "runs and connections of revoked keys: ended"

    def check(self, system: System) -> list[Drift]:
        from ...overrule import at_work, connections

        holder = at_work(self.app)
        if holder and holder["ci"] not in {key["id"] for key in keys_in(self.path)}:
            return [Drift(str(holder.get("verb")), "running", "ended")]
        return (
            [Drift("connections", "open", "ended")] if self not in system.memory.done and connections(self.app) else []
        )

    def apply(self, system: System) -> None:
        from ...locks import described
        from ...overrule import KEYS_CHANGED, Overrule, at_work, connections

        for pid in connections(self.app):
            with suppress(ProcessLookupError):
                os.kill(pid, KEYS_CHANGED)  # each checks whether its own key is still valid
        system.memory.done.add(self)
        overrule = Overrule(self.app, system.operator.emit, KEYS_CHANGED)
        while self.check(system):
            holder = at_work(self.app)
            if holder and not overrule(holder):
                raise Failed(f"{described(holder)}, and does not end", "end its process on the server", str(holder))


@dataclass(frozen=True)
class LoginUser(User):
    """A user for logins by key, who owns nothing, not even its home, so it cannot add keys."""

    shell: str = "/bin/sh"

    def check(self, system: System) -> list[Drift]:
        import pwd

        if len(self.name) > 32:
            hint = "CI keys need an app name of at most 29 characters"
            raise Refused(f"the user name {self.name} has {len(self.name)} characters; the maximum is 32", hint)
        try:
            found = pwd.getpwnam(self.name)
        except KeyError:
            return [Drift("user", "absent", "present")]
        if found.pw_dir != self.home:
            raise Refused(
                f"the user {self.name} exists on this server for another purpose", f"its home is {found.pw_dir}"
            )
        return [*super().check(system), *([] if self._unlocked() else [Drift("login by key", "locked", "possible")])]

    def apply(self, system: System) -> None:
        if any(drift.what != "login by key" for drift in self.check(system)):
            super().apply(system)
        system.run(["usermod", "--password", "*", self.name])  # no password matches; useradd's "!" can block keys

    def _proved(self) -> bool:
        return True  # its home, which is compared before, is below a directory of the kit

    def _unlocked(self) -> bool:
        return f"\n{self.name}:*:" in "\n" + (text_of("/etc/shadow") or "")


@dataclass(frozen=True)
class Tree(Resource):
    """A directory of root with exactly these files, readable by all; it gets its name when it is complete."""

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
        return [Drift(path, "changed" if path in found else "absent", "as installed") for path in changed]

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
    """Copies of the kit that no unit uses are removed: of older versions, and of removed keys."""

    parent: str
    prefix: str

    @property
    def title(self) -> str:
        return "unused copies of the kit: removed"

    def check(self, system: System) -> list[Drift]:
        return [Drift(path, "present", "absent") for path in self._unused()]

    def apply(self, system: System) -> None:
        for path in self._unused():
            shutil.rmtree(path)

    def _unused(self) -> list[str]:
        present = os.listdir(self.parent) if os.path.isdir(self.parent) else []
        copies = [name for name in present if name.startswith(self.prefix)]
        units = [name for name in os.listdir(UNITS) if name.startswith("ashore-ci-") and name.endswith("@.service")]
        texts = [text_of(f"{UNITS}/{name}") or "" for name in units] if copies else []
        return sorted(f"{self.parent}/{name}" for name in copies if not any(f"/{name}'" in text for text in texts))
