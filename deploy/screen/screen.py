"""The screen of one command: selects the formatter, locks it between threads, and detects that nobody reads."""

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO

from ..agent.events import Event
from ..errors import NOTHING, DeployError, Unread
from .command import as_typed
from .events import Error, Result
from .json import Json
from .plain import Plain
from .streams import coloured, silence
from .tables import Row
from .visible import visible


class Screen:
    """Where a command's lines go. Safe to call from a thread per host; `host` is shown where there are several."""

    def __init__(
        self,
        *,
        as_json: bool = False,
        verbose: bool = False,
        several: bool = False,
        reading: bool = False,
        out: TextIO | None = None,
    ) -> None:
        """reading: the command only reads, so it ends (with Unread) when nobody reads its output."""
        self.as_json, self.verbose, self.several, self.reading = as_json, verbose, several, reading
        self.out = out or sys.stdout
        self.lock = threading.Lock()
        self.unread = False  # nobody reads the output any more
        self.would_change = False  # whether a dry run has found something
        self.shown = formatter(self.out, as_json)

    def event(self, host: str, event: Event) -> None:
        """Show one event of the agent on `host`."""
        with self._writing():
            if event["event"] == "step" and event["state"] == "would change":
                self.would_change = True
            self.shown.event(self._name(host), event, self.verbose)

    def say(self, text: str, style: str = "", host: str = "") -> None:
        with self._writing():
            self.shown.say(self._name(host), as_typed(text), style)

    def result(self, event: Result, text: str) -> None:
        """The result of a verb: `event` for programs, `text` for people."""
        with self._writing():
            self.shown.result(event, as_typed(text))

    def table(self, host: str, rows: Sequence[Row], nothing: str) -> None:
        """A list: each row is an object for programs, and a row of a table for people.

        nothing: the note for an empty list.
        """
        if not rows:
            return self.say(f"note: {nothing}", host=host)
        with self._writing():
            self.shown.table(self._name(host), rows)
        return None

    def error(self, error: DeployError) -> None:
        """The four lines of an error, on stderr; with --json, as an event on stdout."""
        if self.as_json:
            with suppress(Unread, DeployError), self._writing():
                self.shown.result(event_of(error), "")
            if not self.unread:
                return
        with self._writing():
            self.shown.stop()
            first, newline, rest = f"{visible(text_of(error))}\n".partition("\n")
            first = f"\x1b[1;31m{first}\x1b[0m" if coloured(sys.stderr) else first
            try:
                sys.stderr.write(first + newline + rest)
            except OSError:
                silence(sys.stderr)

    def _name(self, host: str) -> str:
        return host if self.several or self.as_json else ""

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One thread at a time. If nobody reads the output, a command that changes something continues."""
        with self.lock:
            try:
                yield
            except OSError as error:  # the reader of a pipe has gone, a disk is full, a terminal was closed
                self.unread = True
                silence(self.out)
                if self.reading and isinstance(error, BrokenPipeError):
                    raise Unread from None
                if self.reading:
                    raise unwritten(error) from None


def unwritten(error: OSError) -> DeployError:
    what, hint = f"the output cannot be written: {error.strerror}", "is its disk full (df -h)?"
    return DeployError(what, "standard output", NOTHING, hint)


def formatter(out: TextIO, as_json: bool) -> Plain | Json:
    if as_json:
        return Json(out)
    if out.isatty():
        from .console import Console  # Rich takes its time to load

        return Console(out)
    return Plain(out)


def text_of(error: DeployError) -> str:
    """The lines of an error. What a program said is left as it said it."""
    return "\n".join(line if line.startswith("  | ") else as_typed(line) for line in str(error).split("\n"))


def event_of(error: DeployError) -> Error:
    return {
        "event": "error",
        "host": error.host,
        "what": as_typed(error.what),
        "where": error.where,
        "state": as_typed(error.state),
        "hint": as_typed(error.hint),
        "detail": error.detail,
    }
