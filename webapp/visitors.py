"""The visitors' book: one SQLite file in the app's data directory, written by many workers and threads at once."""

from __future__ import annotations

import os
import re
import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

NAME_LIMIT = 60
MESSAGE_LIMIT = 500
PAGE_SIZE = 50
BUSY_SECONDS = 5
NEWEST = 2**63 - 1  # SQLite's greatest row ID

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE visitors (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    message TEXT NOT NULL,
    release TEXT NOT NULL,
    written INTEGER NOT NULL DEFAULT (strftime('%s', 'now'))
);
CREATE INDEX visitors_release ON visitors (release);
"""


class BookUnavailable(Exception):
    """The book cannot be read or written now; the text is a short reason."""


@dataclass(frozen=True)
class Draft:
    """What somebody typed, as it is; `name_text` and `message_text` are what would be kept."""

    name: str = ""
    message: str = ""

    @property
    def name_text(self) -> str:
        return " ".join(printable(self.name).split())

    @property
    def message_text(self) -> str:
        return re.sub(r"\n{3,}", "\n\n", printable(self.message)).strip()

    def problems(self) -> dict[str, str]:
        """Map field to what is wrong with it, in words for its author; empty when the draft is good."""
        found = {}
        if not visible(self.name_text):
            found["name"] = "Please tell us your name."
        elif (length := len(self.name_text)) > NAME_LIMIT:
            found["name"] = f"Your name has {length} characters; the book takes up to {NAME_LIMIT}."
        if not visible(self.message_text):
            found["message"] = "Please write a message."
        elif (length := len(self.message_text)) > MESSAGE_LIMIT:
            found["message"] = f"Your message has {length} characters; the book takes up to {MESSAGE_LIMIT}."
        return found


@dataclass(frozen=True)
class Entry:
    id: int
    name: str
    message: str
    release: str
    written: datetime


@dataclass(frozen=True)
class Page:
    """Entries, newest first; `older` is the ID to ask for entries before, None on the last page."""

    entries: tuple[Entry, ...]
    older: int | None
    entry_count: int
    release_count: int


@dataclass(frozen=True)
class Book:
    path: Path

    def page(self, before: int = NEWEST) -> Page:
        with self._open() as db:
            rows = db.execute(
                "SELECT id, name, message, release, written FROM visitors WHERE id < ? ORDER BY id DESC LIMIT ?",
                (before, PAGE_SIZE + 1),
            ).fetchall()
            entry_count, release_count = db.execute("SELECT count(*), count(DISTINCT release) FROM visitors").fetchone()
        entries = tuple(entry(*row) for row in rows[:PAGE_SIZE])
        older = entries[-1].id if len(rows) > PAGE_SIZE else None
        return Page(entries, older, entry_count, release_count)

    def add(self, draft: Draft, release: str) -> int:
        """Keep a good draft; the ID of its entry."""
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")  # waits its turn; a later upgrade from reading to writing would fail instead
            row = db.execute(
                "INSERT INTO visitors (name, message, release) VALUES (?, ?, ?) RETURNING id",
                (draft.name_text, draft.message_text, release),
            ).fetchone()
            db.execute("COMMIT")
            return int(row[0])

    def check(self) -> None:
        """BookUnavailable unless an entry could be written now."""
        with self._open() as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("SELECT count(*) FROM visitors WHERE id = 0")
            db.execute("ROLLBACK")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            if not self.path.exists():
                create(self.path)
            # mode=rw: a file that vanished meanwhile is an error, not a new book without a table
            address = f"{self.path.as_uri()}?mode=rw"
            with closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)) as db:
                yield db
        except sqlite3.Error as error:
            raise BookUnavailable(str(error)) from error
        except OSError as error:
            raise BookUnavailable(error.strerror or type(error).__name__) from error


def create(path: Path) -> None:
    """Make the book whole beside its place and link it there: workers starting at once never meet half a book.

    Turning an existing file to WAL while others do the same ends in "database is locked", busy timeout or not.
    """
    with TemporaryDirectory(dir=path.parent, prefix=".new-book-") as nursery:
        fresh = Path(nursery, path.name)
        with closing(sqlite3.connect(fresh)) as db:
            db.executescript(SCHEMA)
        with suppress(FileExistsError):  # another worker was first, with the same schema
            os.link(fresh, path)


def entry(id_: int, name: str, message: str, release: str, written: int) -> Entry:
    """An entry from its row; `written` is in seconds since 1970."""
    return Entry(id_, name, message, release, datetime.fromtimestamp(written, timezone.utc))


def printable(text: str) -> str:
    """The text with one kind of line break and without control characters and blanks around it."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(char for char in lines if char in "\n\t" or unicodedata.category(char) != "Cc").strip()


def visible(text: str) -> bool:
    return any(char.isprintable() and not char.isspace() for char in text)
