"""Files that tools write, as values: TOML and JSON. SourceError where they are broken."""

import json
from typing import Any

from ...errors import SourceError

NO_TOML = "an operator can deploy it; a CI key needs Python 3.11 on the server for this kind of file"


def refused(what: str, where: str, hint: str) -> SourceError:
    return SourceError(what, where=where, state="nothing was changed", hint=hint)


def toml(text: str, path: str, remake: str = "fix that line") -> dict[str, Any]:
    """remake: what to do about a broken file."""
    try:
        import tomllib  # Python 3.11; a CI key's deploy may be planned on an older server
    except ImportError:
        raise refused(f"{path} cannot be read by the server's Python", path, NO_TOML) from None
    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as error:
        raise refused(f"{path} is not TOML: {error}", path, remake) from None


def jsonic(text: str, path: str, remake: str) -> dict[str, Any]:
    try:
        found = json.loads(text.removeprefix("\ufeff"))
    except ValueError as error:
        raise refused(f"{path} is not JSON: {error}", path, remake) from None
    if not isinstance(found, dict):
        raise refused(f"{path} is not what it should be", path, remake)
    return found


def table(value: Any, *names: str) -> dict[str, Any]:
    """A table in a table in …; {} where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def strings(value: Any) -> list[str]:
    """Those of a list that are strings; [] for anything else."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
