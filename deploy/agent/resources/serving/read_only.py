"""Errors of an app that writes where it may not, and the setting that allows it."""

import os
import re

SOURCE = r"/srv/[^/']+/releases/[^/']+/source/"
# As Python reports EROFS, EACCES and EPERM.
DENIED = re.compile(r"\[Errno (?:30|13|1)\] [\w -]+: '([^'\n]+)'")
DATABASE = re.compile(r"attempt to write a readonly database|unable to open database file")
DATABASE_FILE = re.compile(rb"""["']([\w./-]*[\w-]\.(?:sqlite3?|db))["']""")
MOST_FILES, MOST_BYTES = 2000, 1 << 20


def hint_of_read_only(said: str, source: str = "") -> str:
    """The setting for what an app could not write, by its output; "" if nothing in it is about that.

    source: the release's, where it can be looked into.
    """
    for path in reversed(DENIED.findall(said)):
        inside = re.sub(f"^{SOURCE}", "", path)
        if inside.startswith("/"):
            if re.match(r"/(srv|proc|sys|dev|run|etc|usr|root|home)/", inside):
                continue
            return f"the app cannot write {path}: keep its data in $DATA_DIR, or allow it: writable_paths"
        return writable(data_path(inside, source))
    if DATABASE.search(said):
        found = database_in(source) if source else ""
        if found:
            return writable(found)
        return "a SQLite database must be where the app may write: below $DATA_DIR, or named in `writable`"
    return ""


def writable(path: str) -> str:
    return f'the source is read-only for the app; to keep {path} as its data: writable = ["{path}"] in deploy.toml'


def data_path(path: str, source: str) -> str:
    """The data that a path in the source belongs to: its directory, or the path itself at the top."""
    path = os.path.normpath(path)
    above = os.path.dirname(path)
    if above and (os.path.splitext(path)[1] or os.path.isdir(f"{source}/{above}")):
        return above
    return path


def database_in(source: str) -> str:
    """The database that the code of a release names: "db.sqlite3"; "" if it names none or several."""
    found: set[str] = set()
    count = 0
    for top, directories, files in os.walk(source):
        directories[:] = [name for name in directories if not name.startswith(".") and name != "node_modules"]
        for name in files:
            path = os.path.join(top, name)
            if name.endswith(".py") and count < MOST_FILES and os.path.getsize(path) <= MOST_BYTES:
                count += 1
                with open(path, "rb") as file:
                    found |= {os.path.normpath(each.decode()) for each in DATABASE_FILE.findall(file.read())}
    named = [path for path in found if not path.startswith(("/", ".."))]
    return named[0] if len(named) == 1 else ""
