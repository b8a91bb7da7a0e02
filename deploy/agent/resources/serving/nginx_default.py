"""The default server for unknown hosts: the kit's own, and no other site."""

import os
import re

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Refused, Resource
from ..files import text_of
from .nginx import CONFIG
from .services import walk

SUSPECT = re.compile(r"""\blisten\b[^;]*\bdefault|\binclude\b[^;]*(\.\.|[\s"']/(?!etc/nginx/))""")


@dataclass(frozen=True)
class DefaultServer(Resource):
    """No other site is the default server for unknown hosts; the kit's own does not answer them.

    ours: the files of the kit, and those that it removes.
    """

    listens: tuple[str, ...]
    ours: tuple[str, ...]
    main: str = CONFIG

    @property
    def title(self) -> str:
        return f"default server on {', '.join(self.listens)}: no other site"

    def check(self, system: System) -> list[Drift]:
        if any(suspect(path) for path in walk(os.path.dirname(self.main)) if os.path.realpath(path) not in self.ours):
            self._require_none()
        return []

    def _require_none(self) -> None:
        from .nginx_sites import servers

        for server in servers(self.main) if os.path.exists(self.main) else ():
            taken = [listen for listen in server.defaults if listen in self.listens]
            if taken and server.path not in self.ours:
                raise Refused(
                    f"{server.path} on the server answers all host names on {taken[0]} (default_server)",
                    "remove `default_server` from its listen lines, or remove that site; unknown host names then get no"
                    " answer",
                )


def suspect(path: str) -> bool:
    """Whether a file may have a default server, or include one from elsewhere: then it is read as Nginx does."""
    return not os.path.isdir(path) and bool(SUSPECT.search(text_of(path) or ""))
