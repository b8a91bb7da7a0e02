"""The proxy, as far as steps need to know it."""

import subprocess

from ...dataclass import dataclass
from ...system import ENVIRONMENT, System
from ...wire import Value
from ..files import text_of
from .reasons import journal

QUOTED_LINES = 10


@dataclass(frozen=True)
class Front(Value):
    """title: for people. errors: the log of its own. test: the argv that checks its configuration; reload: takes it."""

    title: str
    unit: str
    errors: str
    test: tuple[str, ...]
    reload: tuple[str, ...]

    def runs(self) -> bool:
        argv = ["systemctl", "is-active", "--quiet", self.unit]
        return subprocess.run(argv, env=ENVIRONMENT).returncode == 0

    def said(self) -> str:
        """Its last log lines: in the journal since its last start, and in its own log."""
        errors = (text_of(self.errors) or "").splitlines()[-QUOTED_LINES:]
        return "\n".join([*journal(self.unit, QUOTED_LINES).splitlines(), *errors])

    def reread(self, system: System) -> None:
        system.run(self.test)
        system.run(self.reload)


def quoted(unit: str, front: Front) -> str:
    """What to quote if the site fails: the proxy's log if it is not running, else the unit's. See `journal`."""
    return journal(unit) if front.runs() else f"{front.title} is not running:\n{front.said()}"
