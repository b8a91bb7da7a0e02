"""Paths on the operator's machine: typed ones, those of the kit's own files, and of what is kept to be faster."""

import os
import time
from contextlib import suppress
from pathlib import Path

from ..errors import ConfigError

KEPT_DAYS = 90
PACKAGE = Path(__file__).resolve().parents[1]
# As installed, the templates are in the package; in the kit's repository, and in a copy on a server, beside it.
TEMPLATES = next(path for path in (PACKAGE / "templates", PACKAGE.parent / "templates") if path.is_dir())
OVERRIDES = "ashore"  # in a project: its own templates, by the paths that the kit's have below TEMPLATES


def expanded(written: str, where: str) -> Path:
    """The path, with ~ and ~user expanded; ConfigError if there is no such home. where: the place it is written."""
    try:
        return Path(written).expanduser()
    except RuntimeError:
        home = written.partition("/")[0]
        hint = "write the absolute path; ~/ is your own home directory"
        raise ConfigError(f"{written}: there is no home directory {home} on this machine", where, hint=hint) from None


def write(path: Path, text: str, mode: str = "w") -> None:
    """Write a file of the project, with the directories above it: UTF-8, Unix's line ends. mode: "x" for a new one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open(mode, encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        what = f"{path.name} cannot be written: {error.strerror}"
        raise ConfigError(
            what, str(path), hint="check the owner and mode of the directory, and its disk (df -h)"
        ) from None


def caches() -> Path:
    """Where the kit keeps what it could make anew; RuntimeError where there is no home."""
    return Path(os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")) / "ashore"


def forget_old(directory: Path) -> None:
    """Remove the files of a cache that were not written for a long time."""
    limit = time.time() - KEPT_DAYS * 24 * 3600
    for path in directory.iterdir():
        with suppress(OSError):
            if path.stat().st_mtime < limit:
                path.unlink()
