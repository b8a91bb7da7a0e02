"""Paths in the source that are data: kept outside of the releases, which have links to them."""

import json
import os
import shutil

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Failed, Resource
from ..as_user import as_user
from ..files import Link, replace, required_ids
from .trees import make_directory
from .uploads import PLACES, UPLOADED, manifest_of, places_of


@dataclass(frozen=True)
class Writable(Resource):
    """A release's links to the app's data in /var/lib/APP, one for each of `paths` in its source.

    What the release has there waits beside its source, and is copied where the data does not exist yet: as the app's
    user, as that directory is the app's. shared: whether the proxy is to read it.
    """

    app: str
    release: str
    paths: tuple[str, ...]
    shared: bool = False

    @property
    def title(self) -> str:
        return f"data of the app: {', '.join(self.paths)}"

    @property
    def home(self) -> str:
        return f"/srv/{self.app}/releases/{self.release}"

    @property
    def data(self) -> str:
        return f"/var/lib/{self.app}"

    def check(self, system: System) -> list[Drift]:
        found = [drift for path in self.paths for drift in self._link(path).check(system)]
        missing = [path for path in self.paths if not self._is_there(path)]
        return found + [Drift(f"{self.data}/{path}", "absent", "present") for path in missing]

    def apply(self, system: System) -> None:
        uid, gid = required_ids(self.app, self.app)
        places, entries = places_of(self.home), manifest_of(self.home)
        for path in self.paths:
            if self._link(path).check(system):
                self._set_aside(path, gid)
                for entry in entries:
                    at = places.get(entry.path, entry.path)
                    if at == path or at.startswith(f"{path}/"):
                        places[entry.path] = f"../{UPLOADED}/{at}"
        if places:
            replace(f"{self.home}/{PLACES}", json.dumps(places).encode(), 0o600, 0, 0)
        for path in self.paths:
            if self._link(path).check(system):
                self._make_above(f"{self.home}/source", path, gid)
                self._link(path).apply(system)
        if not os.path.isdir(self.data):
            os.mkdir(self.data, 0o700)
            os.chown(self.data, uid, gid)
        if self.shared:
            os.chmod(self.data, 0o710)  # as the unit says
        if said := as_user(uid, gid, [], self._fill):
            raise Failed(f"the app's data in {self.data} could not be prepared: {said}", f"fab run ls -la {self.data}")

    def _link(self, path: str) -> Link:
        return Link(f"{self.home}/source/{path}", f"{self.data}/{path}")

    def _is_there(self, path: str) -> bool:
        """A file is made by the app itself, unless one was uploaded."""
        made = f"{self.data}/{path}"
        return os.path.lexists(made) or (self._is_file(path) and os.path.isdir(os.path.dirname(made)))

    def _is_file(self, path: str) -> bool:
        """Whether a path that was not uploaded is to be a file: by its ending, as in db.sqlite3."""
        return bool(os.path.splitext(path)[1]) and not os.path.lexists(f"{self.home}/{UPLOADED}/{path}")

    def _set_aside(self, path: str, gid: int) -> None:
        if os.path.lexists(f"{self.home}/source/{path}"):
            make_directory(f"{self.home}/{UPLOADED}", gid)
            self._make_above(f"{self.home}/{UPLOADED}", path, gid)
            os.rename(f"{self.home}/source/{path}", f"{self.home}/{UPLOADED}/{path}")

    def _make_above(self, top: str, path: str, gid: int) -> None:
        """The directories above a path; Failed where a file or a link is in the way."""
        at = top
        for part in path.split("/")[:-1]:
            at = f"{at}/{part}"
            if os.path.lexists(at) and (os.path.islink(at) or not os.path.isdir(at)):
                what = f"writable names {path}, but {os.path.relpath(at, top)} is not a directory"
                raise Failed(what, "fix `writable` in deploy.toml")
            make_directory(at, gid)

    def _fill(self) -> str:
        """Make what the data begins with, as the app's user; what went wrong, as text."""
        os.umask(0o027 if self.shared else 0o077)
        try:
            self._copy()
        except OSError as error:
            return str(error)
        return ""

    def _copy(self) -> None:
        for path in self.paths:
            made, uploaded = f"{self.data}/{path}", f"{self.home}/{UPLOADED}/{path}"
            if os.path.lexists(made):
                continue
            os.makedirs(os.path.dirname(made), exist_ok=True)
            if os.path.isdir(uploaded) and not os.path.islink(uploaded):
                shutil.copytree(uploaded, f"{made}.partial", symlinks=True, dirs_exist_ok=True)
                for directory, _, files in os.walk(f"{made}.partial"):
                    for name in files:
                        if not os.path.islink(f"{directory}/{name}"):
                            os.chmod(f"{directory}/{name}", 0o640 if self.shared else 0o600)
                os.rename(f"{made}.partial", made)
            elif os.path.lexists(uploaded):
                shutil.copyfile(uploaded, f"{made}.partial")
                os.rename(f"{made}.partial", made)
            elif not self._is_file(path):
                os.mkdir(made)
