"""A cache of the hashes of a project's files: an unchanged file is not read again, as in git.

A file counts as unchanged if its size, times and inode are the same. A file that was written shortly before it was read
may have been written again within the same clock tick, so it is read again.
"""

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..config.paths import caches, forget_old

FORMAT = 1  # increase it if the cached values, or the results of `tree.suspicion`, change
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
        with suppress(OSError, ValueError, RuntimeError):  # no cache, a broken one, or no home: read all files
            self.path = place_of(directory)
            read = json.loads(self.path.read_text("utf-8", errors="surrogateescape"))
            if isinstance(read, dict) and read.get("format") == FORMAT and isinstance(read.get("files"), dict):
                self.known = read["files"]

    def get(self, name: str, info: os.stat_result) -> tuple[str, str] | None:
        found = self.known.get(name)
        if not isinstance(found, list) or found[2:] != signature(info):
            return None
        if not all(isinstance(said, str) for said in found[:2]):  # not written by us
            return None
        self.used[name] = found
        return found[0], found[1]

    def put(self, name: str, info: os.stat_result, digest: str, why: str) -> None:
        """info: of the file as it was before it was read."""
        if max(info.st_mtime_ns, info.st_ctime_ns) + RACY_NS < self.now:
            self.used[name] = [digest, why, *signature(info)]

    def save(self) -> None:
        """Store the entries used since this was created; errors are ignored."""
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
