"""The switch back to the old release: prepared before the switch, and used only if that release answered."""

import os
from contextlib import suppress

from ...dataclass import dataclass
from ...system import SHORT, System
from ...wire import Drift, Failed, Refused, Resource
from ..files import Link, beside, link_target, sync_directory
from .health import VISITOR, as_visitor
from .http import NOT_ASKED, http_status

PATIENCE_SECONDS = 10.0  # a busy release is slow to answer; one whose threads all hang never does


def back_of(current: str) -> str:
    """Where the link to the release before waits for its name."""
    return beside(current) + "-back"


@dataclass(frozen=True)
class WayBack(Resource):
    """A second link to the old release is ready, so that going back is one rename, which needs no inode.

    Whether that release answers is checked now, and remembered: traffic never goes back to a dead release.
    socket, path, host: where and how it is asked. Any answer below 500 is one.
    """

    current: str
    release: str
    socket: str
    path: str
    host: str
    visitor: str = VISITOR

    @property
    def title(self) -> str:
        return f"switch back to {self.release}: ready"

    @property
    def target(self) -> str:
        return f"releases/{self.release}"

    def check(self, system: System) -> list[Drift]:
        if link_target(self.current) != self.release:
            return []  # the switch has been made
        return [] if self in system.memory.done else [Drift("link back", "absent", self.target)]

    def apply(self, system: System) -> None:
        Link(back_of(self.current), self.target).apply(system)
        answer = as_visitor(self._answer, PATIENCE_SECONDS, self.visitor)
        if answer.startswith(NOT_ASKED):
            why = answer.removeprefix(NOT_ASKED)
            what = f"the server could not check whether {self.release} answers: {why}"
            raise Failed(what, f"{SHORT}run the same command again")
        if not answer.isdigit() or answer >= "500":
            system.memory.silent[self.release] = answer
        system.memory.done.add(self)

    def _answer(self) -> str:
        return http_status(self.socket, self.host, self.path, PATIENCE_SECONDS)


@dataclass(frozen=True)
class TrafficBack(Resource):
    """Traffic goes back to the old release, or stays if that one did not answer before.

    unit: its instance, which is started if it does not run any more.
    """

    current: str
    release: str
    unit: str

    @property
    def title(self) -> str:
        return f"traffic: back on {self.release}"

    @property
    def units(self) -> tuple[str, ...]:
        return (self.unit,)

    def check(self, system: System) -> list[Drift]:
        found = link_target(self.current)
        if found != self.release:
            return [Drift("traffic", found, self.release)]
        left = os.path.islink(back_of(self.current))
        return [Drift("link back", "present", "absent")] if left else []

    def apply(self, system: System) -> None:
        back, found = back_of(self.current), link_target(self.current)
        if found == self.release:
            os.unlink(back)  # it was not needed
            return
        if answer := system.memory.silent.get(self.release):
            state = f"{self.release} did not answer before the switch ({answer}), so traffic does not go back to it"
            raise Refused(f"{self.release} did not answer before", state=state)
        with suppress(OSError):  # what cannot be asked ran before, and is where the traffic belongs
            told = system.unit(self.unit)
            if told and told.get("ActiveState") not in ("active", "reloading", "activating"):
                system.run(["systemctl", "start", self.unit])
        if not os.path.islink(back):
            os.symlink(f"releases/{self.release}", back)
        os.replace(back, self.current)
        sync_directory(os.path.dirname(self.current))
