"""Files on their way to a release: a manifest, the bytes that the server lacks, and names that must not escape."""

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ..system import System
from ..wire import Failed, Refused
from .files import replace

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
        for parent in ancestors_of(path):
            if parent in links:
                return f"{path!r} goes through the link {parent!r}"
    return ""


def ancestors_of(path: str) -> list[str]:
    """The directories above a path, from the top: "a/b/c" gives ["a", "a/b"]."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]


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
