"""What is on this server after an app was removed."""

import glob
import os
from typing import Any

from .. import history


def remains(app: str, data: str, homes: str = "/srv") -> dict[str, Any]:
    """bytes: of the app's data, None without any. history: whether it is kept. apps: the names of the other apps."""
    marks = glob.glob(f"{homes}/*/provisioned")
    names = sorted(os.path.basename(os.path.dirname(mark)) for mark in marks)
    return {
        "bytes": size_of(data) if os.path.isdir(data) and os.listdir(data) else None,
        "history": bool(history.read(app)),
        "apps": [name for name in names if name != app],
    }


def size_of(directory: str) -> int:
    found = 0
    for top, _, names in os.walk(directory):
        found += sum(os.lstat(f"{top}/{name}").st_size for name in names if os.path.lexists(f"{top}/{name}"))
    return found
