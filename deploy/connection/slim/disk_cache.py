"""What is kept from one run to the next, as it takes long to make: JSON, by all that it was made of."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ...agent.dataclass import asdict
from ...config.paths import OVERRIDES, PACKAGE, TEMPLATES, caches, forget_old

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
BROKEN = (OSError, ValueError, TypeError, AttributeError, RuntimeError)  # no cache, a broken one, or no home
KIT = (PACKAGE, TEMPLATES, Path(OVERRIDES))


def kept(kind: type[T], make: Callable[[], tuple[T, bool]], *made_of: object) -> T:
    """What `make` makes, a dataclass for JSON: from the user's cache, if it is there.

    make: tells, too, whether that may be kept. made_of: what it depends on, beside the kit's files.
    """
    path = None
    with suppress(*BROKEN):
        path = place(*made_of)
        return kind(**json.loads(path.read_text("utf-8")))
    made, may_be_kept = make()
    with suppress(OSError):
        if path and may_be_kept:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh = path.with_suffix(f".{os.getpid()}")
            fresh.write_text(json.dumps(asdict(made)), "utf-8")
            os.replace(fresh, path)
            forget_old(path.parent)
    return made


def place(*made_of: object) -> Path:
    """A file for these values and the kit's files as they are now."""
    files = sorted(file for directory in KIT for file in files_of(directory))
    name = hashlib.sha256(repr((sys.version_info[:2], made_of, files)).encode()).hexdigest()[:16]
    return caches() / "look" / f"{name}.json"


def files_of(directory: str | Path) -> Iterator[tuple[str, int, int, int]]:
    """Path, size and times of each file: as all of them are looked at in every run, none is read."""
    if not os.path.isdir(directory):
        return
    for entry in os.scandir(directory):
        if entry.is_dir() and entry.name != "__pycache__":
            yield from files_of(entry.path)
        elif entry.is_file():
            info = entry.stat()
            yield entry.path, info.st_size, info.st_mtime_ns, info.st_ctime_ns
