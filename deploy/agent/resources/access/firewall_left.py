"""The firewall without one of the server's apps."""

import os

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift
from ..files import File
from .firewall import RULES, ConnectionLimit, Firewall, limits_of_others


@dataclass(frozen=True)
class OthersLimit(ConnectionLimit):
    """Like `ConnectionLimit`, of the other apps. Without one, it stays as it is: no site is left that would answer."""

    most: int = 0

    def check(self, system: System) -> list[Drift]:
        return super().check(system) if os.path.exists(RULES) and self._numbers() else []

    def _numbers(self) -> list[int]:
        return [*limits_of_others(os.path.dirname(self.path), self.app).values()]

    def _file(self) -> File:
        largest = 0 if 0 in self._numbers() else max(self._numbers())
        return ConnectionLimit(self.path, self.rules, self.app, largest, self.force)._file()


@dataclass(frozen=True)
class LoadedIfUsed(Firewall):
    """Our table is loaded as in our files, where the kit's firewall is used."""

    def check(self, system: System) -> list[Drift]:
        return super().check(system) if os.path.exists(RULES) else []
