"""The end of an app's files and of its user."""

import glob
import os
import shutil
from contextlib import suppress

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Failed, Refused, Resource
from ..files import Absent, text_of, untouched


@dataclass(frozen=True)
class Gone(Resource):
    """Nothing is at these paths, or patterns of them. A disk that is mounted at one of them is emptied and stays."""

    name: str
    paths: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.name}: removed"

    def check(self, system: System) -> list[Drift]:
        return [Drift(path, "present", "absent") for path in self._left()]

    def _left(self) -> list[str]:
        every = [path for one in self.paths for path in (sorted(glob.glob(one)) if "*" in one else [one])]
        return [path for path in every if is_left(path)]

    def apply(self, system: System) -> None:
        for path in self._left():
            for mounted in reversed(mounts_below(path)):
                system.run(["umount", "--lazy", mounted])
            if os.path.ismount(path):
                for entry in os.scandir(path):
                    remove_all(entry.path)
            else:
                remove_all(path)


def remove_all(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def is_left(path: str) -> bool:
    """Whether something is there; an empty disk that is mounted there is nothing."""
    if os.path.ismount(path):
        return bool(set(os.listdir(path)) - {"lost+found"})
    return os.path.lexists(path)


def mounts_below(path: str) -> list[str]:
    """Mount points inside a directory, in the order in which they were made."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as table:
        points = [line.split()[4].encode().decode("unicode_escape") for line in table]
    return [point for point in points if point.startswith(f"{path}/")]


@dataclass(frozen=True)
class UneditedGone(Absent):
    """No file at the path. One that was edited by hand is refused, unless `force`."""

    force: bool = False

    def check(self, system: System) -> list[Drift]:
        found = text_of(self.path)
        if found is not None and not untouched(found) and not self.force:
            what = f"{self.path} on the server was edited by hand, or was not written by Ashore"
            raise Refused(what, "copy what you want to keep, then run again with --force, which removes it")
        return super().check(system)


@dataclass(frozen=True)
class OwnerGone(Resource):
    """The app's user and group are removed; if its data stays, they stay, too, and nobody else is in the group.

    Otherwise the next user that is created could get its ID, and with it the data.

    data: the directory that counts; "" if it is removed anyway.
    """

    name: str
    data: str = ""

    @property
    def title(self) -> str:
        return f"user {self.name}: removed" + (" unless its data stays" if self.data else "")

    def check(self, system: System) -> list[Drift]:
        import grp
        import pwd

        members = [Drift(member, "in the group", "not") for member in self._members()]
        if self._data_stays():
            return members
        drifts = [Drift("user", "present", "absent") for user in pwd.getpwall() if user.pw_name == self.name]
        return drifts or [Drift("group", "present", "absent") for one in grp.getgrall() if one.gr_name == self.name]

    def apply(self, system: System) -> None:
        import pwd

        for member in self._members():
            system.run(["gpasswd", "--delete", member, self.name])
        if self._data_stays():
            return
        with suppress(OSError):  # none, or a disk that is mounted there
            os.rmdir(self.data)
        if any(user.pw_name == self.name for user in pwd.getpwall()):
            self._delete(system)
        if self.check(system):
            system.run(["groupdel", self.name])

    def _delete(self, system: System) -> None:
        try:
            system.run(["userdel", self.name])
        except Failed as failed:
            hint = f"end its processes on the server (`pgrep -u {self.name} -a`), then run the same command again"
            raise Failed(f"the user {self.name} could not be removed", hint, failed.detail) from failed

    def _members(self) -> list[str]:
        import grp

        return [member for group in grp.getgrall() if group.gr_name == self.name for member in group.gr_mem]

    def _data_stays(self) -> bool:
        return os.path.isdir(self.data) and bool(set(os.listdir(self.data)) - {"lost+found"})


@dataclass(frozen=True)
class UnusedPythons(Resource):
    """Pythons that uv installed, and that no virtualenv of another app is made with, are removed."""

    @property
    def title(self) -> str:
        return "Pythons that no app uses: removed"

    def check(self, system: System) -> list[Drift]:
        from ..release.pythons import unused

        return [Drift(path, "present", "absent") for path in unused()]

    def apply(self, system: System) -> None:
        from ..release.pythons import remove_unused

        remove_unused()
