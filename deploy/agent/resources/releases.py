"""What makes a release on the server: its source tree, its virtualenv, its secrets, and the end of old ones."""

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..system import System
from ..wire import Drift, Failed, Refused, Resource
from .files import replace, required_ids

MANIFEST = "manifest.json"
SPARE_BYTES = 64 << 20  # what an upload must leave free on the disk


class Entry(NamedTuple):
    """One file of a source tree. kind: "f" a file, "x" an executable one, "l" a link (then `hash` is its target)."""

    path: str
    kind: str
    size: int
    hash: str


def escaping(entries: Iterable[Entry]) -> str:
    """Why a manifest must not be written to disk: the first name that would land outside its tree; "" if none."""
    links = set()
    paths = set()
    for entry in entries:
        parts = entry.path.split("/")
        if not entry.path or entry.path.startswith("/") or "\0" in entry.path or {"", ".", ".."} & set(parts):
            return f"{entry.path!r} is not a name inside the source"
        paths.add(entry.path)
        if entry.kind == "l":
            links.add(entry.path)
            inside = os.path.normpath(os.path.join("/".join(parts[:-1]), entry.hash))
            if entry.hash.startswith("/") or inside == ".." or inside.startswith("../"):
                return f"{entry.path!r} is a link to {entry.hash!r}, outside the source"
    for path in paths:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in links:
                return f"{path!r} goes through the link {'/'.join(parts[:depth])!r}"
    return ""


def stored_name(entry: Entry) -> str:
    """Where an uploaded file waits: an executable and a plain file of the same bytes are two, as links share a mode."""
    return f"{entry.hash}-{entry.kind}"


def receive(app_directory: str, manifest: list[Any], next_blob: Callable[[], Any], system: System) -> dict[str, Any]:
    """Take the files of a manifest that no release here has yet, into APP/incoming; says how many came.

    First event: {"event": "missing", "indices": […]}; the operator answers with those files' bytes, one zlib stream.
    A link that breaks leaves the files that came whole, so the next try goes on; a full disk leaves nothing.
    """
    entries = [Entry(*item) for item in manifest]
    if wrong := escaping(entries):
        raise Refused(f"the source has a name that could leave its directory: {wrong}")
    incoming = f"{app_directory}/incoming"
    os.makedirs(incoming, 0o700, exist_ok=True)
    have = known_files(app_directory)
    missing = {stored_name(e): i for i, e in enumerate(entries) if e.kind != "l" and stored_name(e) not in have}
    wanted = sorted(missing.values())
    total = sum(entries[index].size for index in wanted)
    space = os.statvfs(incoming)
    if total + SPARE_BYTES > space.f_bavail * space.f_frsize:
        shutil.rmtree(incoming, ignore_errors=True)
        raise Refused(
            f"the disk of the server is full: the upload needs {total} bytes and {SPARE_BYTES} to spare,"
            f" {space.f_bavail * space.f_frsize} are free on {app_directory}",
            "make room (`df -h`, `journalctl --vacuum-size=200M`, lower keep_releases), then deploy again",
        )
    system.emit({"event": "missing", "indices": wanted})
    try:
        write_incoming(incoming, [entries[index] for index in wanted], next_blob)
        replace(f"{incoming}/{MANIFEST}", json.dumps(entries).encode(), 0o600, 0, 0)
    except OSError:
        shutil.rmtree(incoming, ignore_errors=True)  # a full disk must not stay full on our account
        raise
    return {"files": len(wanted), "bytes": total}


def write_incoming(incoming: str, wanted: list[Entry], next_blob: Callable[[], Any]) -> None:
    stream = unpacked(next_blob)
    rest = b""
    for entry in wanted:
        path = f"{incoming}/{stored_name(entry)}"
        digest = hashlib.sha256()
        left = entry.size
        with open(os.open(f"{path}.partial", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            while left:
                block = rest or next(stream, b"")
                if not block:
                    raise Failed("the upload broke off", "deploy again: what came whole is kept and not sent twice")
                part, rest = block[:left], block[left:]
                file.write(part)
                digest.update(part)
                left -= len(part)
        if digest.hexdigest() != entry.hash:
            raise Failed(
                f"{entry.path} arrived with other bytes than it was announced with",
                "did it change while deploying? Deploy again",
            )
        os.rename(f"{path}.partial", path)
    for _ in stream:  # its end mark, even where nothing was wanted
        pass


def unpacked(next_blob: Callable[[], Any]) -> Iterator[bytes]:
    """The bytes of one zlib stream that comes in blobs; ends early where the link breaks."""
    unpacker = zlib.decompressobj()
    while not unpacker.eof:
        blob = next_blob()
        if not isinstance(blob, bytes):
            return
        if data := unpacker.decompress(blob):
            yield data


def known_files(app_directory: str) -> dict[str, str]:
    """Map stored name to a path here with those bytes: in the releases' trees, newest first, and in incoming."""
    found: dict[str, str] = {}
    releases = f"{app_directory}/releases"
    for release in sorted(os.listdir(releases), reverse=True) if os.path.isdir(releases) else []:
        record = f"{releases}/{release}/{MANIFEST}"
        if os.path.exists(record):
            with open(record, encoding="utf-8") as file:
                for entry in (Entry(*item) for item in json.load(file)):
                    if entry.kind != "l":
                        found.setdefault(stored_name(entry), f"{releases}/{release}/source/{entry.path}")
    incoming = f"{app_directory}/incoming"
    if os.path.isdir(incoming):
        found.update({name: f"{incoming}/{name}" for name in os.listdir(incoming) if name[-2:] in ("-f", "-x")})
    return found


@dataclass(frozen=True)
class Source(Resource):
    """A release's source tree: root's, readable by the app's group, hard links to what earlier releases had.

    Made from the manifest and the files that `receive` left in APP/incoming; complete once it has its name.
    """

    app_directory: str
    release: str
    group: str

    @property
    def title(self) -> str:
        return f"source of release {self.release}"

    @property
    def directory(self) -> str:
        return f"{self.app_directory}/releases/{self.release}"

    def check(self, system: System) -> list[Drift]:
        return [] if os.path.isdir(f"{self.directory}/source") else [Drift("source", "absent", "present")]

    def apply(self, system: System) -> None:
        _, gid = required_ids("root", self.group)
        with open(f"{self.app_directory}/incoming/{MANIFEST}", encoding="utf-8") as file:
            entries = [Entry(*item) for item in json.load(file)]
        if wrong := escaping(entries):
            raise Refused(f"the source has a name that could leave its directory: {wrong}")
        have = known_files(self.app_directory)
        partial = f"{self.directory}/source.partial"
        shutil.rmtree(partial, ignore_errors=True)  # left by an interrupted run
        make_directory(self.directory, gid)
        make_directory(partial, gid)
        made = {""}
        for entry in entries:
            parent = os.path.dirname(entry.path)
            for part in ancestors(parent):
                if part not in made:
                    make_directory(f"{partial}/{part}", gid)
                    made.add(part)
            place(entry, have.get(stored_name(entry), ""), f"{partial}/{entry.path}", gid)
        replace(f"{self.directory}/{MANIFEST}", json.dumps(entries).encode(), 0o600, 0, 0)
        os.sync()  # before it can get traffic: a power cut must not leave empty files behind a switched link
        os.rename(partial, f"{self.directory}/source")


def ancestors(path: str) -> list[str]:
    """ "a/b" gives ["a", "a/b"]."""
    parts = path.split("/") if path else []
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]


def make_directory(path: str, gid: int) -> None:
    with suppress(FileExistsError):
        os.mkdir(path, 0o750)
    os.chown(path, 0, gid)
    os.chmod(path, 0o750)


def place(entry: Entry, stored: str, path: str, gid: int) -> None:
    if entry.kind == "l":
        os.symlink(entry.hash, path)
        return
    try:
        os.link(stored, path)
    except OSError:  # too many links to one file, or another file system
        shutil.copyfile(stored, path)
    os.chown(path, 0, gid)
    os.chmod(path, 0o750 if entry.kind == "x" else 0o640)


@dataclass(frozen=True)
class Virtualenv(Resource):
    """A virtualenv with what a requirements file names, shared by all releases with the same hash in its path.

    Built as `user`, since a package's build may run code of its own; complete once it has its marker.
    """

    path: str
    source: str
    requirements: str
    uv: str
    user: str

    @property
    def title(self) -> str:
        return f"virtualenv {os.path.basename(self.path)} from {self.requirements}"

    @property
    def marker(self) -> str:
        return f"{self.path}/.complete"

    def check(self, system: System) -> list[Drift]:
        return [] if os.path.exists(self.marker) else [Drift("virtualenv", "absent", "built")]

    def apply(self, system: System) -> None:
        shutil.rmtree(self.path, ignore_errors=True)  # left by an interrupted run
        uid, gid = required_ids(self.user, self.user)
        os.mkdir(self.path, 0o755)
        os.chown(self.path, uid, gid)
        environment = {"HOME": f"/home/{self.user}", "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}
        bundle = "/etc/ssl/certs/ca-certificates.crt"  # the server's own trust, where a private CA is in the way
        if os.path.exists(bundle):
            environment["SSL_CERT_FILE"] = bundle
        system.progress(10, "virtualenv")
        try:
            system.run(
                [
                    self.uv,
                    "venv",
                    "--quiet",
                    "--allow-existing",
                    "--no-project",
                    "--python",
                    "/usr/bin/python3",
                    self.path,
                ],
                user=self.user,
                environment=environment,
            )
            system.progress(30, "packages of the app")
            install = [self.uv, "pip", "install", "--python", f"{self.path}/bin/python", "--compile-bytecode"]
            system.run([*install, "-r", self.requirements], user=self.user, cwd=self.source, environment=environment)
            if not os.path.exists(f"{self.path}/bin/gunicorn"):
                raise Failed(
                    f"{self.requirements} does not bring gunicorn", f"add a line `gunicorn` to {self.requirements}"
                )
        except Failed as failure:
            shutil.rmtree(self.path, ignore_errors=True)
            if failure.hint:
                raise
            what = f"the packages that {self.requirements} asks for could not be installed"
            raise Failed(what, f"mend {self.requirements}; the lines above are uv's", failure.detail) from failure
        with suppress(FileNotFoundError):
            os.unlink(f"{self.path}/.lock")  # uv's, writable by everybody
        replace(self.marker, b"", 0o644, 0, 0)


@dataclass(frozen=True)
class SecretKey(Resource):
    """A random key in a file for systemd's EnvironmentFile=, made once on the server and never shown."""

    path: str
    name: str = "SECRET_KEY"

    @property
    def title(self) -> str:
        return f"{self.name}, generated on the server"

    def check(self, system: System) -> list[Drift]:
        if os.path.exists(self.path) and os.path.getsize(self.path):
            return []
        return [Drift(self.name, "absent", "[hidden]")]

    def apply(self, system: System) -> None:
        import secrets

        replace(self.path, f"{self.name}={secrets.token_hex(32)}\n".encode(), 0o600, 0, 0)


@dataclass(frozen=True)
class Pruned(Resource):
    """At most `keep` releases beside the current one, no virtualenv that none of them uses, nothing half uploaded."""

    app_directory: str
    keep: int

    @property
    def title(self) -> str:
        return f"at most {self.keep} older releases are kept"

    def check(self, system: System) -> list[Drift]:
        return [Drift(path, "present", "absent") for path in self._surplus()]

    def apply(self, system: System) -> None:
        for path in self._surplus():
            shutil.rmtree(path)
        for path in self._surplus():  # the virtualenvs that only those releases used
            shutil.rmtree(path)

    def _surplus(self) -> list[str]:
        releases, venvs = f"{self.app_directory}/releases", f"{self.app_directory}/venvs"
        if not os.path.islink(f"{self.app_directory}/current"):
            return []  # the first release is still being made
        current = os.path.basename(os.readlink(f"{self.app_directory}/current"))
        older = [name for name in sorted(os.listdir(releases)) if name != current]
        surplus = [f"{releases}/{name}" for name in older[: len(older) - self.keep if self.keep < len(older) else 0]]
        used = {
            os.path.basename(os.readlink(f"{releases}/{name}/venv"))
            for name in os.listdir(releases)
            if os.path.islink(f"{releases}/{name}/venv")
        }
        surplus += [f"{venvs}/{name}" for name in os.listdir(venvs) if name not in used]
        incoming = f"{self.app_directory}/incoming"
        return surplus + ([incoming] if os.path.isdir(incoming) else [])
