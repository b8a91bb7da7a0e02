"""Another proxy of the kit that has the ports of this one: a server has one, and an app can change it."""

import glob
import os
from typing import TYPE_CHECKING

from ...dataclass import dataclass
from ...system import System
from ...wire import Failed, Refused, Value
from ..files import text_of

if TYPE_CHECKING:
    from .services import Service

OURS = "# Written by Ashore from templates/"


@dataclass(frozen=True)
class Rival(Value):
    """name: of its unit and process. sites: patterns of the files of its sites; shared: names of those of no app."""

    name: str
    title: str
    sites: tuple[str, ...]
    shared: tuple[str, ...]

    def runs(self, system: System) -> bool:
        return system.unit(f"{self.name}.service").get("ActiveState") in ("active", "reloading")

    def starts_at_boot(self, system: System) -> bool:
        return system.unit(f"{self.name}.service").get("UnitFileState") == "enabled"


def others(rival: Rival, app: str) -> list[str]:
    """What it serves besides the app, as text: "the app blog", or the file of a site that is not the kit's."""
    found = []
    for path in sorted(path for pattern in rival.sites for path in glob.glob(pattern)):
        name = os.path.basename(path)
        if name in rival.shared:
            continue
        ours = (text_of(path) or "").startswith(OURS)
        if not ours or name.partition(".")[0] != app:
            found.append(f"the app {name.partition('.')[0]}" if ours else path)
    return found


def require_alone(rival: Rival, app: str, program: str) -> None:
    """Refused if its ports are needed for others than this app."""
    if served := others(rival, app):
        raise Refused(
            f"ports 80 and 443 are used by {rival.title}, which serves {', '.join(served)} on this server",
            f'a server has one proxy: set proxy = "{rival.name}" in [app], or deploy {app} to another server\n'
            f"to have {program} on this one, change `proxy` of the other apps first, or remove them",
        )


def take_over(system: System, service: "Service", rivals: list[Rival]) -> None:
    """Start a service that needs the ports of others, which run; if it does not start, they run again."""
    units = [f"{rival.name}.service" for rival in rivals]
    system.run(["systemctl", "stop", *units])
    system.forget()
    try:
        service.start(system)
    except Failed as failed:
        system.run(["systemctl", "stop", service.unit])
        system.run(["systemctl", "start", *units])
        again = f"{' and '.join(rival.title for rival in rivals)} serves again"
        raise Failed(failed.what, failed.hint, failed.detail, again) from None
    system.run(["systemctl", "disable", "--quiet", *units])
