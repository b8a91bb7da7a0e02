"""Events → text: one calm line a step. Colour and progress at a terminal, plain lines in a pipe, or JSON.

Everything that is shown passes `visible`, since it may be a server's text; only styles are added after that.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TextIO

from ..agent.wire import BY_US
from ..errors import NOTHING, DeployError, Unread
from .columns import columns, laid_out
from .visible import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

Event = dict[str, Any]
STYLES = {"ok": "dim", "changed": "green", "would change": "yellow", "undone": "yellow", "failed": "bold red"}
WIDTH = len("would change")
ERROR_LEVEL, WARNING_LEVEL = 3, 4  # syslog's
BETWEEN_US = ("reply", "missing", "planned")  # of the two sides; all others are in docs/json.md
MOMENTS = ("time", "started", "made", "not_before")  # of events: seconds since 1970, or ISO 8601 in UTC


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
        """reading: the command only reads, so it ends (by Unread) once nobody takes what it writes."""
        self.as_json, self.verbose, self.several, self.reading = as_json, verbose, several, reading
        self.out = out or sys.stdout
        self.lock = threading.Lock()
        self.unread = False  # nobody takes what is written any more
        self.would_change = False  # whether a dry run has found something
        self.console: Console | None = None
        self._bar: Progress | None = None
        self._tasks: dict[str, Any] = {}
        if self.out.isatty() and not as_json:
            import rich.console

            self.console = rich.console.Console(file=self.out, highlight=False, soft_wrap=True)

    def event(self, host: str, event: Event) -> None:
        """Show one event of the agent on `host`."""
        with self._writing():
            self.would_change = self.would_change or event.get("state") == "would change"
            if self.as_json:
                if event["event"] not in BETWEEN_US:
                    self._json({"host": host, **event})
                return
            kind = event["event"]
            if kind in ("start", "progress"):
                self._progress(host, event)
            elif kind == "step":
                self._finish(host)
                self._step(host, event)
            elif kind == "output" and self.verbose:
                self._line(host, f"$ {' '.join(event['argv'])}", "bold")
                for line in event["text"].rstrip().splitlines():
                    self._line(host, f"  {line}", "dim")
            elif kind == "line":
                self._log(host, event)
            elif kind == "last":
                self._line(host, last_run(event["run"]), "yellow")
            elif kind == "waiting":
                self._line(host, f"waiting: {event['holder']}", "yellow")
            elif kind == "said":
                self._line(host, " " * (WIDTH + 2) + event["text"], "dim")
            elif kind == "end":
                self._finish(host)

    def say(self, text: str, style: str = "", host: str = "") -> None:
        with self._writing():
            if self.as_json:
                self._json({"event": "note", "host": host, "text": text})
            else:
                self._line(host, text, style)

    def result(self, event: Event, text: str) -> None:
        """What a verb came to: `event` for programs, `text` for people."""
        with self._writing():
            if self.as_json:
                self._json(event)
            else:
                self._line("", text, "")

    def table(self, host: str, rows: list[Event], nothing: str) -> None:
        """A list of things: each row an object for programs; for people, its columns under each other.

        A row's "style" colours it; "event" is what it is for programs. nothing: what to say of an empty list.
        """
        if not rows:
            return self.say(f"note: {nothing}", host=host)
        with self._writing():
            if self.as_json:
                for row in rows:
                    self._json({"host": host, **row["event"]})
                return None
            names = [name for name in rows[0] if name not in ("event", "style")]
            cells = [{name: visible(row[name]).replace("\n", " ") for name in names} for row in rows]
            head, texts = laid_out(cells, names, columns() - (len(host) + 2 if self.several else 0))
            self._line(host, head, "bold")
            for row, text in zip(rows, texts, strict=True):
                for line in text.splitlines():
                    self._line(host, line, row["style"])
        return None

    def error(self, error: DeployError) -> None:
        """The four lines of an error, on stderr; with --json, as an event on stdout."""
        if self.as_json:
            fields = ("host", "what", "where", "state", "hint", "detail")
            with suppress(Unread, DeployError), self._writing():
                self._json({"event": "error", **{field: getattr(error, field) for field in fields}})
            if not self.unread:
                return
        with self._writing():
            self._stop_bar()
            first, newline, rest = f"{visible(str(error))}\n".partition("\n")
            first = f"\x1b[1;31m{first}\x1b[0m" if coloured(sys.stderr) else first
            try:
                sys.stderr.write(first + newline + rest)
            except OSError:
                silence(sys.stderr)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One thread at a time. Where nobody takes what is written, a command that changes something goes on."""
        with self.lock:
            try:
                yield
            except OSError as error:  # the reader of a pipe has gone, a disk is full, a terminal was closed
                self.unread = True
                silence(self.out)
                if self.reading and isinstance(error, BrokenPipeError):
                    raise Unread from None
                if self.reading:
                    what, hint = f"it cannot be written: {error.strerror}", "is the disk full that it goes to (df -h)?"
                    raise DeployError(what, "standard output", NOTHING, hint) from None

    def _step(self, host: str, event: Event) -> None:
        seconds = f"  {event['seconds']:.1f} s" if event["seconds"] >= 0.1 else ""
        self._line(host, f"{event['state']:>{WIDTH}}  {event['step']}{seconds}", STYLES.get(event["state"], ""))
        if event["state"] == "would change" or (self.verbose and event["drift"]):
            for drift in event["drift"]:
                self._drift(host, drift)

    def _drift(self, host: str, drift: Event) -> None:
        indent = " " * (WIDTH + 2)
        if not drift["diff"] or drift["diff"] == "[hidden]":
            hidden = drift["diff"] or drift["found"] == drift["wanted"]  # both are [hidden]
            shown = "[hidden]" if hidden else f"{drift['found']} → {drift['wanted']}"
            self._line(host, f"{indent}{drift['what']}: {shown}", "yellow")
        for line in drift["diff"].splitlines() if drift["diff"] != "[hidden]" else ():
            self._line(host, indent + line, {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], ""))

    def _log(self, host: str, event: Event) -> None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(event["time"]))
        source = event["source"].removesuffix(".service")
        style = "red" if event["level"] <= ERROR_LEVEL else "yellow" if event["level"] <= WARNING_LEVEL else ""
        name = f"{host} " if self.several else ""
        source, text = visible(source), visible(event["text"])
        if self.console:
            from rich.text import Text

            self.console.print(Text.assemble((f"{when} {name}", "dim"), (source, "cyan"), " ", (text, style)))
        else:
            self._write(f"{when} {name}{source} {text}")

    def _line(self, host: str, text: str, style: str) -> None:
        name, text = f"{host}: " if self.several and host else "", visible(text)
        if self.console:
            from rich.text import Text

            self.console.print(Text(name + text, style))
        else:
            self._write(name + text)

    def _json(self, event: Event) -> None:
        text = json.dumps(with_times(event))
        self._write(text.replace("\x7f", "\\u007f"))  # the one control character that JSON leaves as it is

    def _write(self, text: str) -> None:
        self.out.write(text + "\n")
        self.out.flush()

    def _progress(self, host: str, event: Event) -> None:
        if not self.console:
            return
        if self._bar is None:
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(30),
                TimeElapsedColumn(),
            )
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._bar.start()
        if host not in self._tasks:
            self._tasks[host] = self._bar.add_task("", total=None)
        name = f"{host}: " if self.several else ""
        if event["event"] == "start":
            self._bar.reset(self._tasks[host], total=None, description=visible(name + event["step"]))
        else:
            what = visible(name + event["what"])
            self._bar.update(self._tasks[host], total=100, completed=event["percent"], description=what)

    def _finish(self, host: str) -> None:
        if self._bar is not None and host in self._tasks:
            self._bar.remove_task(self._tasks.pop(host))
            if not self._tasks:
                self._stop_bar()

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
            self._tasks.clear()


def silence(stream: TextIO) -> None:
    """Drop what is written from now on; also what Python still holds, which it would fail to write at exit."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def coloured(out: TextIO) -> bool:
    """Whether a terminal reads this that wants colours: https://no-color.org"""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def with_times(event: Event) -> Event:
    """The event with each moment as programs get it, "2026-03-01T12:04:05Z"."""
    found: Event = {key: timestamp(value) if key in MOMENTS else value for key, value in event.items()}
    return found | ({"run": with_times(found["run"])} if "run" in found else {})


def timestamp(when: float | str) -> str:
    """Of seconds since 1970, or of ISO 8601 in UTC; with fractions of a second where there are some."""
    if isinstance(when, str):
        return when.replace(" ", "T").removesuffix("+00:00").removesuffix("Z") + "Z" if when else ""
    made = datetime.fromtimestamp(when, timezone.utc)
    return made.isoformat(timespec="seconds" if when == int(when) else "milliseconds").replace("+00:00", "Z")


def last_run(run: Event) -> str:
    """How a run ended that lost its link to the operator."""
    when, why = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(run["started"])), run.get("what", "")
    how = {
        "ok": "went on without its operator and finished",
        "failed": f"failed at: {run.get('step', '')}: {run.get('what', '')}",
        "cancelled": f"was stopped: {why}" if why and not why.startswith(BY_US) else "was stopped by its operator",
        "cut off": "was cut off; this run finishes the job",
    }.get(run["state"], run["state"])
    return f"note: `{run['verb']}` by {run['who']}, begun {when}, {how}"


def size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
