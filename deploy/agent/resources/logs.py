"""Where Nginx writes an app's lines: root opens these files, so nobody else may say what they are."""

import os
import stat
from dataclasses import dataclass

from ..system import System
from ..wire import Drift
from .files import Directory, required_ids


@dataclass(frozen=True)
class LogDirectory(Directory):
    """A directory of root's with nothing in it but files: Nginx's workers may write those, and make none.

    Before it was root's, whoever owned it may have left links there, which root would have followed.
    """

    mode: int = 0o751
    group: str = "adm"

    def check(self, system: System) -> list[Drift]:
        drifts = super().check(system)
        if not os.path.isdir(self.path):
            return drifts
        return [*drifts, *(Drift(name, "no file of its own", "absent") for name in self._odd())]

    def apply(self, system: System) -> None:
        super().apply(system)
        required_ids(self.owner, self.group)
        for name in self._odd():
            os.unlink(f"{self.path}/{name}")

    def _odd(self) -> list[str]:
        found = []
        for entry in os.scandir(self.path):
            info = entry.stat(follow_symlinks=False)
            if not stat.S_ISDIR(info.st_mode) and (not stat.S_ISREG(info.st_mode) or info.st_nlink > 1):
                found.append(entry.name)
        return sorted(found)
