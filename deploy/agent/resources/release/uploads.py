"""Uploads: a manifest, the bytes that the server lacks, and paths that must not leave the source."""

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Entry, Failed, Refused, Resource, Stopped
from ..files import text_of
from .pythons import interpreter

MANIFEST = "manifest.json"
PLACES = "places.json"
UPLOADED = "uploaded"  # what of a release's upload is data, beside its source: see `Writable`
SPARE_BYTES = 64 << 20  # what a release must leave free on the disk
SPARE_FILES = 5000  # a virtualenv's, among others
VENV_BYTES = 150 << 20
PYTHON_BYTES = 200 << 20  # with its archive while it is unpacked
MOST_HOPS = 200  # parts of a link's target, with those of the links that it leads through
BLOCK = 1 << 20
BROKE_OFF = "the upload was interrupted"


def escaping(entries: Iterable[Entry]) -> str:
    """Why a manifest must not be written to disk: the first name that would land outside its tree; "" if none."""
    links = {}
    paths = set()
    for entry in entries:
        parts = entry.path.split("/")
        if not entry.path or entry.path.startswith("/") or "\0" in entry.path or {"", ".", ".."} & set(parts):
            return f"{entry.path!r} is not a path inside the source"
        if entry.path in paths:
            return f"{entry.path!r} is listed twice"
        paths.add(entry.path)
        if entry.kind == "l":
            links[entry.path] = entry.hash
    for path in paths:
        for parent in ancestors_of(path):
            if parent in links:
                return f"{path!r} goes through the link {parent!r}"
    for path, target in links.items():
        if target.startswith("/") or leads_out(path, target, links):
            return f"{path!r} is a link to {target!r}, outside the source"
    return ""


def leads_out(path: str, target: str, links: dict[str, str]) -> bool:
    """Whether a link leaves its tree, also by way of other links in it: what ".." means depends on where they lead."""
    at, rest = path.split("/")[:-1], target.split("/")[::-1]
    for _ in range(MOST_HOPS):
        if not rest:
            return False
        part = rest.pop()
        if part == "..":
            if not at:
                return True
            at.pop()
        elif part not in ("", "."):
            at.append(part)
            onward = links.get("/".join(at))
            if onward is not None:
                if onward.startswith("/"):
                    return True
                at.pop()
                rest += onward.split("/")[::-1]
    return True  # in a circle, or nearly


def ancestors_of(path: str) -> list[str]:
    """The directories above a path, from the top: "a/b/c" gives ["a", "a/b"]."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]


def stored_name(entry: Entry) -> str:
    """Where an uploaded file waits: an executable and a plain file of the same bytes are two, as links share a mode."""
    return f"{entry.hash}-{entry.kind}"


@dataclass(frozen=True)
class Room(Resource):
    """The disk has room for a release: its new files, its virtualenv if that must be built, and some to spare.

    python: a version that uv is to install, "" for the server's own.
    """

    app_directory: str
    venv: str
    python: str = ""

    @property
    def title(self) -> str:
        return "disk space: sufficient"

    def check(self, system: System) -> list[Drift]:
        missing = [
            system.operator.manifest[index].size for index in missing_from(self.app_directory, system.operator.manifest)
        ]
        needs = {"upload": sum(missing), "reserve": SPARE_BYTES}
        if not os.path.exists(f"{self.venv}/.complete"):
            needs["virtualenv, about"] = self._virtualenv_bytes()
        if self.python and not interpreter(self.python):
            needs[f"Python {self.python}, about"] = PYTHON_BYTES
        space = os.statvfs(self.app_directory)
        free, needed = space.f_bavail * space.f_frsize, sum(needs.values())
        if needed > free:
            listed = ", ".join(f"{what} {megabytes(size)}" for what, size in needs.items())
            raise Refused(
                f"the server's disk is too full: {megabytes(needed - free)} more are needed",
                "free some space (`df -h`, `journalctl --vacuum-size=200M`, lower keep_releases), then deploy again",
                f"this release needs {megabytes(needed)} ({listed})\n"
                f"{megabytes(free)} are free in {self.app_directory}",
            )
        directories = {parent for entry in system.operator.manifest for parent in ancestors_of(entry.path)}
        if space.f_files and space.f_favail < 2 * len(system.operator.manifest) + len(directories) + SPARE_FILES:
            raise Refused(
                f"the server's disk has room for only {space.f_favail} more files",
                "delete many small files (`df -i`, `du --inodes -x / | sort -n | tail`), then deploy again",
            )
        return []

    def _virtualenv_bytes(self) -> int:
        """As large as the one that serves, and a quarter more."""
        import subprocess

        current = f"{self.app_directory}/current/venv/"
        if not os.path.isdir(current):
            return VENV_BYTES
        said = subprocess.run(["du", "-sxB1", current], capture_output=True).stdout.split()
        return int(said[0]) * 5 // 4 if said else VENV_BYTES


def megabytes(size: int) -> str:
    return f"{max(size, 0) / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


@dataclass(frozen=True)
class Uploaded(Resource):
    """The files of the manifest that no release here has yet are in APP/incoming. name: how many, for the screen."""

    app_directory: str
    name: str

    @property
    def title(self) -> str:
        return f"upload: {self.name}"

    def check(self, system: System) -> list[Drift]:
        missing = missing_from(self.app_directory, system.operator.manifest)
        return [Drift("files", f"{len(missing)} missing", "uploaded")] if missing else []

    def apply(self, system: System) -> None:
        try:
            receive(self.app_directory, system.operator.manifest, system.operator.next_blob, system)
        except Failed as error:
            if not isinstance(error, Stopped):
                system.memory.done.add(BROKE_OFF)
            raise


@dataclass(frozen=True)
class Discarded(Resource):
    """Nothing that was uploaded waits any more; but for an upload that broke off, whose next try goes on from there.

    One broke off where its link did, with a word or without, and not where its operator has pressed Ctrl-C.
    """

    app_directory: str

    @property
    def title(self) -> str:
        return "uploaded files: removed"

    def check(self, system: System) -> list[Drift]:
        if BROKE_OFF in system.memory.done or not os.path.isdir(f"{self.app_directory}/incoming"):
            return []
        return [Drift("files", "present", "absent")]

    def apply(self, system: System) -> None:
        shutil.rmtree(f"{self.app_directory}/incoming")


def missing_from(app_directory: str, entries: list[Entry]) -> list[int]:
    """Indices of the entries whose bytes are not on this server; of several with the same bytes, one."""
    have = known_files(app_directory)
    lacking = {stored_name(e): i for i, e in enumerate(entries) if e.kind != "l" and stored_name(e) not in have}
    return sorted(lacking.values())


def manifest_of(release: str) -> list[Entry]:
    """The entries of a release, by its directory; none where it has no manifest."""
    try:
        with open(f"{release}/{MANIFEST}", encoding="utf-8") as file:
            return [Entry(*item) for item in json.load(file)]
    except FileNotFoundError:
        return []


def places_of(release: str) -> dict[str, str]:
    """Where a release has the bytes of a path now, from its source on: those that a build or `Writable` has moved.

    "" for those that a build has changed or removed.
    """
    found: dict[str, str] = json.loads(text_of(f"{release}/{PLACES}") or "{}")
    return found


def receive(app_directory: str, entries: list[Entry], next_blob: Callable[[], Any], system: System) -> None:
    """Take the files of a manifest that no release here has yet, into APP/incoming.

    First event: {"event": "missing", "indices": […]}; the operator answers with those files' bytes, one zlib stream.
    A link that breaks leaves the files that came whole, so the next try goes on; a full disk leaves nothing.
    """
    if wrong := escaping(entries):
        raise Refused(f"the source has a path that leads outside it: {wrong}")
    incoming = f"{app_directory}/incoming"
    os.makedirs(incoming, 0o700, exist_ok=True)
    wanted = missing_from(app_directory, entries)
    system.operator.emit({"event": "missing", "indices": wanted})
    try:
        write_incoming(incoming, [entries[index] for index in wanted], next_blob)
    except OSError:
        shutil.rmtree(incoming, ignore_errors=True)  # a full disk must not stay full on our account
        raise


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
                    raise Failed(
                        "the upload was interrupted", "deploy again: complete files are kept and not sent again"
                    )
                part, rest = block[:left], block[left:]
                file.write(part)
                digest.update(part)
                left -= len(part)
        if digest.hexdigest() != entry.hash:
            raise Failed(
                f"{entry.path} does not match its checksum",
                "did the file change during the deploy? Deploy again",
            )
        os.rename(f"{path}.partial", path)
    if rest or next(stream, b""):  # it is to end here, even where nothing was wanted
        raise Failed("the upload is longer than announced", "deploy again")


def unpacked(next_blob: Callable[[], Any]) -> Iterator[bytes]:
    """The bytes of one zlib stream that comes in blobs, a block at a time; ends early where the link breaks."""
    unpacker = zlib.decompressobj()
    data = b""
    while not unpacker.eof:
        more = unpacker.unconsumed_tail or len(data) == BLOCK  # then it may hold back some without any input left
        blob = unpacker.unconsumed_tail if more else next_blob()
        if not isinstance(blob, bytes):
            return
        if data := unpacker.decompress(blob, BLOCK):
            yield data


def known_files(app_directory: str) -> dict[str, str]:
    """Map stored name to a path here with those bytes: in the releases' trees, newest first, and in incoming."""
    found: dict[str, str] = {}
    releases = f"{app_directory}/releases"
    for release in sorted(os.listdir(releases), reverse=True) if os.path.isdir(releases) else []:
        if os.path.isdir(f"{releases}/{release}/source"):
            places = places_of(f"{releases}/{release}")
            for entry in manifest_of(f"{releases}/{release}"):
                at = places.get(entry.path, entry.path)
                if entry.kind != "l" and at:
                    found.setdefault(stored_name(entry), f"{releases}/{release}/source/{at}")
    incoming = f"{app_directory}/incoming"
    with suppress(FileNotFoundError):  # another run's `incoming` goes while somebody only looks
        found.update({name: f"{incoming}/{name}" for name in os.listdir(incoming) if name[-2:] in ("-f", "-x")})
    return found
