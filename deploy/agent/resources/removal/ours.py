"""Whether an app may be removed: it is the kit's, and nothing else on the server needs it."""

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase

from ...dataclass import dataclass
from ...history import home as record_of
from ...system import System
from ...wire import Drift, Refused, Resource
from ..files import text_of
from ..host.users import MARK
from ..serving.services import walk


@dataclass(frozen=True)
class OwnApp(Resource):
    """What has the app's name on this server was created by the kit.

    proofs: root's own paths that only the kit makes. directories: those that the steps after this one remove.
    """

    app: str
    proofs: tuple[str, ...]
    directories: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.app}: an app of Ashore"

    def check(self, system: System) -> list[Drift]:
        import pwd

        proved = any(os.path.lexists(path) and os.lstat(path).st_uid == 0 for path in self._proofs())
        try:
            comment = pwd.getpwnam(self.app).pw_gecos.partition(",")[0]
        except KeyError:
            comment = ""
            foreign = [path for path in self.directories if os.path.lexists(path)]
        else:
            foreign = [] if comment == MARK else [f"user {self.app}"]
        if foreign and not proved:
            what = f"the name {self.app} is used on this server, but not by an app of Ashore"
            raise Refused(what, "is `name` in deploy.toml right, and the host?", "\n".join(foreign))
        return []

    def _proofs(self) -> tuple[str, ...]:
        return (*self.proofs, f"{record_of(self.app)}/history.jsonl")


@dataclass(frozen=True)
class NotNeeded(Resource):
    """No config file of another app or program below `top` names a path of the app: its certificate, its files.

    needles: those paths. own: patterns of the app's own files, which are about to be removed. mark: how the first line
    of a site of the kit begins, whose file is named after its app.
    """

    app: str
    top: str
    needles: tuple[str, ...]
    own: tuple[str, ...]
    mark: str

    @property
    def title(self) -> str:
        return f"{self.app}: not needed by another site"

    def check(self, system: System) -> list[Drift]:
        if found := sorted(self._users()):
            what = f"{self.app} is needed by another site on this server: {', '.join(dict.fromkeys(found))}"
            raise Refused(what, "remove that one first, or give it a certificate and files of its own")
        return []

    def _users(self) -> Iterator[str]:
        for path in walk(self.top):
            if os.path.islink(path) or os.path.isdir(path) or is_one_of(path, self.own):
                continue
            text = text_of(path) or ""
            if any(needle in text for needle in self.needles):
                name = os.path.basename(path).removesuffix(".conf")
                yield f"the app {name} ({path})" if text.startswith(self.mark) else path


def is_one_of(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)
