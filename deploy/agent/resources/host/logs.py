"""The proxy's log files of an app: root opens them, so nobody else may replace them."""

import os
import stat
from contextlib import suppress

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift
from ..files import Directory, required_ids

MODE = 0o640  # other apps' users can come as far as the files, and no further


@dataclass(frozen=True)
class LogDirectory(Directory):
    """A directory of root's with nothing in it but files, of which the proxy's workers may write these and make none.

    Before it was root's, its owner may have left links there, which root would have followed.
    """

    mode: int = 0o751
    group: str = "adm"
    files: tuple[str, ...] = ("access.log", "error.log")
    writer: str = "www-data"

    def check(self, system: System) -> list[Drift]:
        drifts = super().check(system)
        if not os.path.isdir(self.path):
            return drifts
        drifts += [Drift(name, "not a file of its own", "absent") for name, info in self._entries() if odd(info)]
        drifts += [Drift(name, "open to all", oct(MODE)) for name, info in self._entries() if info.st_mode & 0o007]
        return drifts + [Drift(name, "absent", "present") for name in self._missing()]

    def apply(self, system: System) -> None:
        super().apply(system)
        for name, info in self._entries():
            with suppress(FileNotFoundError):  # rotated away meanwhile
                if odd(info):
                    os.unlink(f"{self.path}/{name}")
                elif info.st_mode & 0o007:
                    os.chmod(f"{self.path}/{name}", MODE)
        for name in self._missing():
            descriptor = os.open(f"{self.path}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
            os.fchown(descriptor, *required_ids(self.writer, self.group))
            os.close(descriptor)

    def _entries(self) -> list[tuple[str, os.stat_result]]:
        """All but directories, by name."""
        found = []
        for name in os.listdir(self.path):
            with suppress(FileNotFoundError):  # rotated away while we look
                found.append((name, os.lstat(f"{self.path}/{name}")))
        return sorted(item for item in found if not stat.S_ISDIR(item[1].st_mode))

    def _missing(self) -> list[str]:
        return [name for name in self.files if not os.path.lexists(f"{self.path}/{name}")]


def odd(info: os.stat_result) -> bool:
    return not stat.S_ISREG(info.st_mode) or info.st_nlink > 1
