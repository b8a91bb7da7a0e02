"""Checks what the holder of a CI key sends. Everything here is untrusted until it was checked."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..agent.dataclass import asdict
from ..agent.resources.release.uploads import ancestors_of, escaping
from ..agent.wire import Entry, Refused
from ..config.commands import WEB
from ..config.reader import App, read
from ..source.dependencies import PYTHON_FILES, chosen, dependencies, needed
from ..source.requirements import check, encoded
from ..stack.runners import runner_of

BESIDE = ("processes", "timers")
MOST_ENTRIES = 50_000
MOST_DIRECTORIES = 10_000
MOST_LINKS = 2_000
MOST_BYTES = 2 << 30
MOST_PATH = 1_000
MOST_DEPTH = 50
MOST_ITEMS = 100  # in a table of [app], and twice as many in a list
MOST_TEXT = 10_000  # characters of one value
COMMIT = r"([0-9a-f]{4,64}(\+dirty)?)?"
NAME = r"[\w.@+-]{1,64}"  # of a person or a machine, as it may be shown at a terminal
OPERATOR = "an operator can deploy it with `fab deploy`; after that, CI keys may do so, too"


def as_table(app: App) -> dict[str, Any]:
    """The app as the table [app] of a deploy.toml, as it is sent; its other tables are in it."""
    tables = {"static": dict(app.static), "env": dict(app.env), "redirects": dict(app.redirects)}
    found = {**asdict(app), **tables}
    del found["mount"]  # the server knows the site itself
    for kind in BESIDE:
        found[kind] = {made.name: without_name(asdict(made)) for made in getattr(app, kind)}
    if command := found.pop("web"):
        found["processes"][WEB] = {"command": command}
    return found


def without_name(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key != "name"}


def app_of(table: Any, name: str) -> App:
    """The inverse of `as_table`, with the reader of deploy.toml. name: the app of the key."""
    if not isinstance(table, dict) or table.get("name") != name:
        raise Refused(f"this key is only for {name}", f"set name = {name!r} in deploy.toml, or use another key")
    table = dict(table)
    beside = {kind: table.pop(kind, {}) for kind in BESIDE}
    inner = [made for found in beside.values() if isinstance(found, dict) for made in found.items()]
    for key, value in (*table.items(), *inner):
        items = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else [value]
        if len(items) > 2 * MOST_ITEMS or any(isinstance(item, str) and len(item) > MOST_TEXT for item in items):
            raise Refused(f"app.{key[:40]} is too large for a CI key")
    if len(inner) > MOST_ITEMS:
        raise Refused("the app has too many processes and timers for a CI key")
    return read({"app": table, **beside}, "", Path()).app


def fields(message: dict[str, Any], wanted: Mapping[str, Any]) -> list[Any]:
    """The values of these fields in order, with checked types; other fields are refused."""
    if message.keys() != wanted.keys():
        raise Refused("unknown request for a CI key")
    for key, kind in wanted.items():
        if not isinstance(message[key], kind) or (kind is int and isinstance(message[key], bool)):
            raise Refused(f"{key} has the wrong type")
    return [message[key] for key in wanted]


def word(value: str, pattern: str, what: str) -> str:
    if not re.fullmatch(pattern, value, re.ASCII):
        raise Refused(f"{value[:80]!r} is not {what}")
    return value


def manifest(items: list[Any]) -> list[Entry]:
    """The entries of the source to upload, with checked paths, sizes and hashes."""
    if len(items) > MOST_ENTRIES:
        raise Refused(f"the source has more than {MOST_ENTRIES:,} files", "deploy it as an operator")
    entries = [entry_of(item) for item in items]
    if sum(entry.size for entry in entries) > MOST_BYTES:
        raise Refused(f"the source is larger than {MOST_BYTES >> 30} GB", "deploy it as an operator")
    if sum(entry.kind == "l" for entry in entries) > MOST_LINKS:
        raise Refused(f"the source has more than {MOST_LINKS:,} links", "deploy it as an operator")
    if wrong := escaping(entries):
        raise Refused(f"the source has a path that leads outside it: {wrong}")
    names = {entry.path for entry in entries}
    directories = {parent for name in names for parent in ancestors_of(name)}
    if len(directories) > MOST_DIRECTORIES:
        raise Refused(f"the source has more than {MOST_DIRECTORIES:,} directories", "deploy it as an operator")
    for parent in sorted(directories & names):
        raise Refused(f"{parent!r} is both a file and a directory")
    return entries


def entry_of(item: Any) -> Entry:
    if not isinstance(item, list) or len(item) != 4:
        raise Refused("the manifest has an invalid line")
    path, kind, size, digest = item
    if not isinstance(path, str) or not plain(path):
        raise Refused(f"the source has an invalid file name: {ascii(path)[:80]}", "rename it, or deploy as an operator")
    if kind not in ("f", "x", "l") or isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise Refused(f"the manifest has an invalid line for {path}")
    fits = isinstance(digest, str) and (plain(digest) if kind == "l" else re.fullmatch("[0-9a-f]{64}", digest))
    if not fits or (kind == "l" and size):
        raise Refused(f"the manifest has an invalid line for {path}")
    return Entry(path, kind, size, digest)


def plain(path: str) -> bool:
    """Whether a path is valid for a file system and printable."""
    fits = 0 < len(path) <= MOST_PATH and path.count("/") <= MOST_DEPTH
    return fits and path.isprintable() and all(len(os.fsencode(part)) < 256 for part in path.split("/"))


def requirements(texts: dict[str, Any], app: App, entries: Iterable[Entry]) -> dict[str, str]:
    """The texts that say what is installed, by path, the file that counts first.

    Each is checked against the manifest, because a virtualenv is named after them.
    """
    there = {entry.path: entry for entry in entries}
    for path, text in texts.items():
        if not isinstance(text, str):
            raise Refused(f"{path} has the wrong type")
    if len(texts) > MOST_ITEMS:
        raise Refused(f"there are more than {MOST_ITEMS} requirements files")

    def text_of(path: str) -> str:
        text, entry = str(texts.get(path, "")), there.get(path)
        fits = entry and entry.hash in {hashlib.sha256(data).hexdigest() for data in encoded(text)}
        if entry and (entry.kind == "l" or not fits):
            what = "is a link" if entry.kind == "l" else "does not match the file in the source"
            raise Refused(f"{path} {what}", "use a plain file of UTF-8 text")
        return text

    others = {path: text_of(path) for path in PYTHON_FILES if path in there}
    found = {**needed(chosen(app.requirements, there, others), there, text_of), **others}
    said = dependencies(found, there, app.extras, app.install_project)
    check(tuple(there.values()), said.read, said.texts, runner_of(app).package_for(app))
    return found
