"""Paths on the operator's machine, as they are typed or written in a config."""

from pathlib import Path

from ..errors import ConfigError


def expanded(written: str, where: str) -> Path:
    """The path, with ~ and ~user expanded; ConfigError if there is no such home. where: the place it is written."""
    try:
        return Path(written).expanduser()
    except RuntimeError:
        home = written.partition("/")[0]
        hint = "write the absolute path; ~/ is your own home directory"
        raise ConfigError(f"{written}: there is no home directory {home} on this machine", where, hint=hint) from None
