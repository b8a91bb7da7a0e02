"""What the files of a project hashed to when they were last read: an unchanged file is not read again, as in git.

A file counts as unchanged while its size, its times and its inode are what they were. One that was written shortly
before it was read may have been written again within the same tick of the clock, and is read once more.
"""

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..config.paths import caches, forget_old

FORMAT = 1  # another one where what is remembered, or what `archive.suspicion` finds, changes
RACY_NS = 2_000_000_000  # the coarsest file systems count in two seconds


def place_of(directory: Path) -> Path:
    """Where the hashes of a project's files are kept."""
    name = hashlib.sha256(os.fsencode(os.path.realpath(directory))).hexdigest()[:16]
    return caches() / "hashes" / f"{name}.json"


class Hashes:
    """Name of a file → its hash, and why it should not be deployed ("" for nearly all)."""

    def __init__(self, directory: Path) -> None:
        self.path: Path | None = None
        self.known: dict[str, Any] = {}
        self.used: dict[str, list[Any]] = {}
        self.now = time.time_ns()
        with suppress(OSError, ValueError, RuntimeError):  # no cache, a broken one, or no home: all is read
            self.path = place_of(directory)
            read = json.loads(self.path.read_text("utf-8", errors="surrogateescape"))
            if isinstance(read, dict) and read.get("format") == FORMAT and isinstance(read.get("files"), dict):
                self.known = read["files"]

    def get(self, name: str, info: os.stat_result) -> tuple[str, str] | None:
        found = self.known.get(name)
        if not isinstance(found, list) or found[2:] != signature(info):
            return None
        if not all(isinstance(said, str) for said in found[:2]):  # somebody else wrote it
            return None
        self.used[name] = found
        return found[0], found[1]

    def put(self, name: str, info: os.stat_result, digest: str, why: str) -> None:
        """info: of the file as it was before it was read."""
        if max(info.st_mtime_ns, info.st_ctime_ns) + RACY_NS < self.now:
            self.used[name] = [digest, why, *signature(info)]

    def save(self) -> None:
        """Keep what was asked for since this was made; a cache that cannot be written is done without."""
        if self.path is None or self.used == self.known:
            return
        fresh = self.path.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            text = json.dumps({"format": FORMAT, "files": self.used}, separators=(",", ":"))
            fresh.write_text(text, "utf-8", errors="surrogateescape")
            os.replace(fresh, self.path)
            forget_old(self.path.parent)


def signature(info: os.stat_result) -> list[int]:
    return [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]
