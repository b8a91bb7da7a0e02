"""Files, directories and links: written completely or not at all, and never over an edit by hand."""

import os
import re
import stat
from contextlib import suppress

from ..dataclass import dataclass
from ..system import System
from ..wire import Drift, Failed, Refused, Resource, Secret

SEAL = re.compile(r" \[seal ([0-9a-f]{12})\]")


def seal(text: str) -> str:
    """The text with its checksum at the end of the first line, so a later run can detect an edit by hand."""
    import hashlib  # late, as all that a look at a server as it should be does not need

    first, newline, rest = text.partition("\n")
    return f"{first} [seal {hashlib.sha256((first + newline + rest).encode()).hexdigest()[:12]}]{newline}{rest}"


def untouched(text: str) -> bool:
    """Whether the text is unchanged since the kit wrote it. Text without a seal is not from the kit."""
    first, newline, rest = text.partition("\n")
    found = SEAL.search(first)
    return bool(found) and seal(SEAL.sub("", first) + newline + rest) == text


def beside(path: str) -> str:
    """The temporary name of a new file or link. Hidden, so no program reads it after a power cut."""
    return f"{os.path.dirname(path)}/.{os.path.basename(path)}.ashore"


def replace(path: str, data: bytes, mode: int, uid: int, gid: int) -> None:
    """Write atomically: a reader, or a power cut, finds the old file or the new one."""
    fresh = beside(path)
    with suppress(FileNotFoundError):
        os.unlink(fresh)  # left by an interrupted run
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            os.fchown(file.fileno(), uid, gid)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError:
        with suppress(FileNotFoundError):
            os.unlink(fresh)
        raise
    sync_directory(os.path.dirname(path))


def text_of(path: str) -> str | None:
    """A file's text, unchanged; None if the file does not exist."""
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):  # the latter: below /proc, of a process that has just ended
        return None
    except IsADirectoryError:
        raise Refused(f"{path} on the server is a directory, not a file", "move it away") from None


def link_target(path: str) -> str:
    """The release that a link names; "" where there is no link."""
    try:
        return os.path.basename(os.readlink(path))
    except OSError:
        return ""


def sync_directory(path: str) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def account_ids(owner: str, group: str) -> tuple[int, int] | None:
    """uid and gid; None if an earlier step of the plan has not created them yet."""
    if owner == group == "root":
        return 0, 0
    import grp
    import pwd

    try:
        return pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError:
        return None


def required_ids(owner: str, group: str) -> tuple[int, int]:
    ids = account_ids(owner, group)
    if ids is None:
        raise not_found(f"the user {owner} or the group {group}", group)
    return ids


def not_found(what: str, name: str) -> Failed:
    """The error for a missing account, or if the file of accounts could not be opened."""
    hint = f"if `id {name}` finds none, run `fab provision`; otherwise the server lacks memory or open files"
    return Failed(f"{what} cannot be found on the server", hint)


def unified(path: str, found: str, wanted: str) -> str:
    import difflib

    lines = difflib.unified_diff(found.splitlines(), wanted.splitlines(), f"{path} (server)", f"{path} (plan)", "", "")
    return "\n".join(line.rstrip("\n") for line in lines)


def owner_and_mode(path: str, owner: str, group: str, mode: int) -> list[Drift]:
    info = os.lstat(path)
    drifts = []
    if (info.st_uid, info.st_gid) != account_ids(owner, group):
        drifts.append(Drift("owner", f"{info.st_uid}:{info.st_gid}", f"{owner}:{group}"))
    if stat.S_IMODE(info.st_mode) != mode:
        drifts.append(Drift("mode", oct(stat.S_IMODE(info.st_mode)), oct(mode)))
    return drifts


@dataclass(frozen=True)
class File(Resource):
    """A file's text, owner and mode.

    Sealed text (see `seal`) is guarded: a file at that path which is not as the kit wrote it is refused,
    unless `force`; then a copy stays beside it as PATH.before-ashore. keep: a text that the kit wrote earlier is left
    as it is. was: the file that this one comes after, to show what is different while it is not there.
    """

    path: str
    content: str | Secret
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    force: bool = False
    keep: bool = False
    was: str = ""

    @property
    def title(self) -> str:
        return f"file {self.path}"

    @property
    def text(self) -> str:
        return self.content.value if isinstance(self.content, Secret) else self.content

    def check(self, system: System) -> list[Drift]:
        found = text_of(self.path)
        if found is None:
            return [Drift("file", "absent", "present", self._diff((self.was and text_of(self.was)) or ""))]
        if found == self.text or (self.keep and untouched(found)):
            return owner_and_mode(self.path, self.owner, self.group, self.mode)
        if untouched(self.text) and not untouched(found) and not self.force:
            raise Refused(
                f"{self.path} on the server was edited by hand, or was not written by Ashore",
                "move the edit into the template named in the file's first line, or discard it: run again with"
                " --force (a copy is kept next to it)",
                self._diff(found),
            )
        return [Drift("text", "different", "as rendered", self._diff(found))]

    def _diff(self, found: str) -> str:
        """Only for config files; other files are internal, or secret."""
        if isinstance(self.content, Secret):
            return "[hidden]"
        return unified(self.path, found, self.text) if untouched(self.text) else ""

    def apply(self, system: System) -> None:
        system.memory.keep_before(self.path)
        found = text_of(self.path)
        if found is not None and untouched(self.text) and not untouched(found):
            import shutil

            shutil.copy2(self.path, f"{self.path}.before-ashore")
        replace(self.path, self.text.encode(), self.mode, *required_ids(self.owner, self.group))


@dataclass(frozen=True)
class Directory(Resource):
    path: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"

    @property
    def title(self) -> str:
        return f"directory {self.path}"

    def check(self, system: System) -> list[Drift]:
        if os.path.islink(self.path) or (os.path.exists(self.path) and not os.path.isdir(self.path)):
            raise Refused(f"{self.path} on the server is not a directory", "move it away")
        if not os.path.isdir(self.path):
            return [Drift("directory", "absent", "present")]
        return owner_and_mode(self.path, self.owner, self.group, self.mode)

    def apply(self, system: System) -> None:
        uid, gid = required_ids(self.owner, self.group)
        os.makedirs(self.path, exist_ok=True)
        os.chown(self.path, uid, gid, follow_symlinks=False)
        os.chmod(self.path, self.mode)


@dataclass(frozen=True)
class Link(Resource):
    """A symlink. Changing the target is atomic: a reader finds the old one or the new one. name: its purpose."""

    path: str
    target: str
    name: str = ""

    @property
    def title(self) -> str:
        return self.name or f"link {self.path} → {self.target}"

    def check(self, system: System) -> list[Drift]:
        found = os.readlink(self.path) if os.path.islink(self.path) else None
        return [] if found == self.target else [Drift("target", found, self.target)]

    def apply(self, system: System) -> None:
        fresh = beside(self.path)
        with suppress(FileNotFoundError):
            os.unlink(fresh)  # left by an interrupted run
        os.symlink(self.target, fresh)
        os.replace(fresh, self.path)
        sync_directory(os.path.dirname(self.path))


@dataclass(frozen=True)
class Absent(Resource):
    """No file, link or directory tree at the path. The target of a link is not touched."""

    path: str

    @property
    def title(self) -> str:
        return f"{self.path}: absent"

    def check(self, system: System) -> list[Drift]:
        return [Drift("path", "present", "absent")] if os.path.lexists(self.path) else []

    def apply(self, system: System) -> None:
        if os.path.isdir(self.path) and not os.path.islink(self.path):
            import shutil

            shutil.rmtree(self.path)
        else:
            os.unlink(self.path)
