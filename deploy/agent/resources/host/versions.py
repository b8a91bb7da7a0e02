"""Versions of the kit, as a server keeps them: which of two is newer."""

import re

UPGRADE = "pipx upgrade ashore, or: uv tool upgrade ashore"
NAME = "ashore="  # before the version, in the file that a provision leaves


def made_by(provisioned: str) -> str:
    """The kit's version in the text of layout.provisioned; "" where an early version wrote it, or none has."""
    found = re.search(rf"(?:^| ){NAME}(\S+)", provisioned)
    return found[1] if found else ""


def parts(version: str) -> tuple[int, ...]:
    """As numbers, so that 0.10 is newer than 0.9. What is no number, such as "rc1", does not count."""
    return tuple(int(part) for part in re.findall(r"(?:^|\.)(\d+)", version))


def is_newer(version: str, than: str) -> bool:
    return parts(version) > parts(than)
