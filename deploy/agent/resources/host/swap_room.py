"""Whether a disk has room for a swap file, and a file system that takes one."""

import os

from ..files import text_of

PLAIN = ("ext2", "ext3", "ext4", "xfs")  # the kernel swaps to a plain file on these; btrfs and others want care


def file_system(mounts: str, path: str) -> str:
    """The type of the file system that a path is on, from /proc/mounts."""
    rows = [line.split() for line in mounts.splitlines()]
    above = [row for row in rows if f"{path}/".startswith(f"{row[1].rstrip('/')}/")]
    return max(enumerate(above), key=lambda item: (len(item[1][1]), item[0]))[1][2] if above else ""


def hindrance(path: str, size: int) -> str:
    """Why there can be no swap file of so many bytes at `path`; "" where there can."""
    directory = os.path.dirname(path)
    kind = file_system(text_of("/proc/mounts") or "", directory)
    if kind not in PLAIN:
        return f"{directory} is on {kind}, not ext4 or xfs"
    space = os.statvfs(directory)
    if not os.path.exists(path) and space.f_bavail * space.f_frsize < 2 * size:
        return f"{directory} has less than {2 * size >> 20} MB free"
    return ""
