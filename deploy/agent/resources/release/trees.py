"""Trees of files of a release: copied, linked, given to a user."""

import errno
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress


def copy_tree(source: str, target: str, each: Callable[[str, str], object] = shutil.copy2) -> None:
    """A copy of a tree with its links as they are; what goes wrong is an OSError as elsewhere, such as a full disk."""
    try:
        shutil.copytree(source, target, symlinks=True, copy_function=each)
    except shutil.Error as error:
        found = re.search(r"\[Errno (\d+)\]", str(error))
        number = int(found[1]) if found else errno.EIO
        raise OSError(number, os.strerror(number), target) from error


def link_tree(source: str, target: str, gid: int) -> None:
    """A tree whose files are hard links to those of another one."""
    copy_tree(source, target, linked)
    for directory, _, _ in os.walk(target):
        make_directory(directory, gid)


def linked(source: str, target: str) -> None:
    """A hard link; a copy where there are too many links to one file, or on another file system."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        info = os.lstat(source)
        shutil.copyfile(source, target, follow_symlinks=False)
        os.chown(target, info.st_uid, info.st_gid, follow_symlinks=False)
        os.chmod(target, info.st_mode & 0o777)


def make_directory(path: str, gid: int) -> None:
    """A directory of root's that a group may read."""
    with suppress(FileExistsError):
        os.mkdir(path, 0o750)
    os.chown(path, 0, gid)
    os.chmod(path, 0o750)


def owned(top: str, uid: int, gid: int) -> None:
    """Give a tree that root has made to a user. Nothing of the user runs yet."""
    for directory, names, files in os.walk(top):
        os.chown(directory, uid, gid)
        os.chmod(directory, 0o700)
        for name in (*names, *files):
            os.chown(f"{directory}/{name}", uid, gid, follow_symlinks=False)
