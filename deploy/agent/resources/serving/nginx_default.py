"""Who answers for names that Nginx does not know: the kit's own server, and nobody else's."""

import os
import re
from dataclasses import dataclass

from ...system import System
from ...wire import Drift, Refused, Resource
from ..files import text_of
from .nginx import CONFIG
from .services import walk

SUSPECT = re.compile(r"""\blisten\b[^;]*\bdefault|\binclude\b[^;]*(\.\.|[\s"']/(?!etc/nginx/))""")


@dataclass(frozen=True)
class DefaultServer(Resource):
    """Nobody else's server answers for names that Nginx does not know; the kit's own gives them nothing.

    ours: the files of the kit, and those that it takes away.
    """

    listens: tuple[str, ...]
    ours: tuple[str, ...]
    main: str = CONFIG

    @property
    def title(self) -> str:
        return f"{', '.join(self.listens)}: no other default server"

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
                    f"{server.path} on the server answers for all names on {taken[0]} (default_server)",
                    "take `default_server` out of its listen lines, or remove that site; unknown names get no answer"
                    " then",
                )


def suspect(path: str) -> bool:
    """Whether a file may have a default server, or include one from elsewhere: then it is read as Nginx does."""
    return not os.path.isdir(path) and bool(SUSPECT.search(text_of(path) or ""))
