"""What a command builds in the source of a release: style sheets, translations, collected static files."""

import hashlib
import json
import os
import re
import shutil
import stat

from ...dataclass import dataclass
from ...system import ENVIRONMENT, System
from ...wire import Cancelled, Drift, Entry, Failed, Resource
from ..files import replace, required_ids
from .environment import layers_of
from .recipes import trust
from .trees import copy_tree, link_tree, owned
from .uploads import PLACES, manifest_of

MARKER = "built"
# With the command and a directory that stands for the app's data, which a build cannot see, as its arguments.
SCRIPT = 'export DATA_DIR="$2"; mkdir "$2"; exec /bin/sh -ec "$1"'
BLOCK = 1 << 20
# Code and texts that are not read by a build of static files: what decides about these has other names.
PLAIN_CODE = re.compile(r"(?!.*(settings|storage|finder|static))(.*\.(py|html|txt|md|rst|toml))")


@dataclass(frozen=True)
class Built(Resource):
    """A command has run in a copy of a release's source, which then is its source: root's, and read-only for the app.

    In the build box, with the release's environment. static: the directories of the source that the proxy serves.
    products: what it makes, if it depends on nothing but files that are not PLAIN_CODE, packages and the environment:
    then it need not run where the release `base` has the same.
    """

    app: str
    release: str
    command: str
    seconds: int
    static: tuple[str, ...]
    products: tuple[str, ...] = ()
    base: str = ""

    @property
    def title(self) -> str:
        return f"build command: {self.command}"

    @property
    def home(self) -> str:
        return f"/srv/{self.app}/releases/{self.release}"

    def check(self, system: System) -> list[Drift]:
        ran = os.path.exists(f"{self.home}/{MARKER}")
        return [] if ran else [Drift("command", "not run yet", f"run within {self.seconds} s")]

    def apply(self, system: System) -> None:
        source, copy = f"{self.home}/source", f"{self.home}/source.build"
        before = f"/srv/{self.app}/releases/{self.base}"
        if self.products and self.base and is_current(before, self.home, self.products):
            for path in self.products:
                link_tree(f"{before}/source/{path}", f"{source}/{path}", required_ids("root", self.app)[1])
            system.operator.emit(
                {"event": "said", "text": f"as in release {self.base}: nothing that it reads has changed"}
            )
            replace(f"{self.home}/{MARKER}", b"", 0o600, 0, 0)
            return
        shutil.rmtree(copy, ignore_errors=True)
        try:
            copy_tree(source, copy)  # its files are hard links, which other releases have, too
            owned(copy, *required_ids(self.app, self.app))
            self._build(system, copy, source)
            require_static(copy, self.static, self.command)
            seal(copy, required_ids("root", self.app)[1])
            places = moved(copy, manifest_of(self.home))
        except (Failed, OSError):
            shutil.rmtree(copy, ignore_errors=True)
            raise
        replace(f"{self.home}/{PLACES}", json.dumps(places).encode(), 0o600, 0, 0)
        os.sync()  # as for the source itself
        os.rename(source, f"{self.home}/source.before")
        os.rename(copy, source)
        shutil.rmtree(f"{self.home}/source.before", ignore_errors=True)
        replace(f"{self.home}/{MARKER}", b"", 0o600, 0, 0)

    def _build(self, system: System, copy: str, source: str) -> None:
        from ..serving.reasons import advice
        from .build_box import build

        environment = {"PATH": f"{self.home}/venv/bin:{ENVIRONMENT['PATH']}", "NPM_CONFIG_UPDATE_NOTIFIER": "false"}
        environment |= trust("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")
        argv = ["/bin/sh", "-ec", SCRIPT, "build", self.command, f"{source}/.scratch/data"]
        files = [f"EnvironmentFile={path}" for path in (f"/srv/{self.app}/secrets.env", f"{self.home}/env")]

        def each(line: str) -> None:
            system.operator.emit({"event": "said", "text": line})

        try:
            build(
                system, argv, self.app, copy, source, environment, at=source,
                more=files, seconds=self.seconds, what="the build command", shown=self.command, each=each,
            )  # fmt: skip
        except Cancelled:
            raise
        except Failed as failure:
            hint = failure.hint or advice(self.app, self.release, failure.detail)
            usual = "fix it and deploy again; a longer time: build_seconds; the app's data is not there during a build"
            raise Failed(f"the build failed: {failure.what}", hint or usual, failure.detail) from failure


def is_current(before: str, home: str, products: tuple[str, ...]) -> bool:
    """Whether what a build has made for a release is what it would make for another one."""
    if not os.path.exists(f"{before}/{MARKER}") or os.path.realpath(f"{before}/venv") != os.path.realpath(
        f"{home}/venv"
    ):
        return False
    if not all(os.path.isdir(f"{before}/source/{path}") for path in products):
        return False
    found = [layers_of(directory) for directory in (before, home)]
    for layers in found:
        layers["kit"].pop("RELEASE_ID", None)
    old, new = ({entry.path: entry for entry in manifest_of(directory)} for directory in (before, home))
    changed = {path for path in {*old, *new} if old.get(path) != new.get(path)}
    return found[0] == found[1] and all(PLAIN_CODE.fullmatch(path) for path in changed)


def require_static(top: str, static: tuple[str, ...], command: str) -> None:
    """Failed where a directory that the proxy is to serve is missing, or has a link to what is not the app's."""
    inside = os.path.realpath(top)
    for path in static:
        found = os.path.realpath(f"{top}/{path}")
        if not os.path.isdir(found):
            hint = f"make `{command}` create it, or fix `static` in deploy.toml"
            raise Failed(f"static names the directory {path}, which does not exist after the build", hint)
        links = [found] if found != f"{inside}/{path}" else []
        for directory, directories, files in os.walk(found):
            links += [f"{directory}/{name}" for name in (*directories, *files)]
        for link in links:
            target = os.path.realpath(link)
            if target != inside and not target.startswith(f"{inside}/"):
                what = f"the build has made a link in {path} that leads outside the source: {link} -> {target}"
                raise Failed(what.replace(f"{inside}/", ""), "copy the file instead; static files are public")


def seal(top: str, gid: int) -> None:
    """Root's, readable for the app, and without anything but files, directories and links."""
    for _, directories, files, at in os.fwalk(top):
        for name in (*directories, *files):
            mode = os.lstat(name, dir_fd=at).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
                os.unlink(name, dir_fd=at)
                continue
            os.chown(name, 0, gid, dir_fd=at, follow_symlinks=False)
            if not stat.S_ISLNK(mode):
                executable = stat.S_ISDIR(mode) or mode & 0o100
                os.chmod(name, 0o750 if executable else 0o640, dir_fd=at)
    os.chown(top, 0, gid)
    os.chmod(top, 0o750)


def moved(top: str, entries: list[Entry]) -> dict[str, str]:
    """Of the files that were uploaded, those whose bytes are not in a tree any more: see `uploads.places_of`."""
    return {entry.path: "" for entry in entries if entry.kind != "l" and not is_same(f"{top}/{entry.path}", entry)}


def is_same(path: str, entry: Entry) -> bool:
    if os.path.realpath(path) != path or not os.path.isfile(path) or os.lstat(path).st_size != entry.size:
        return False
    if bool(os.lstat(path).st_mode & 0o100) != (entry.kind == "x"):
        return False
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest() == entry.hash
