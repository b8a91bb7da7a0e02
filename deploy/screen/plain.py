"""Lines for people, without colour or progress: for pipes and files.

Everything that is shown passes `visible`, since it may be a server's text.
"""

from collections.abc import Sequence
from typing import TextIO

from ..agent.events import Event
from .columns import columns, laid_out
from .events import Result
from .lines import Styled, lines, log_line
from .tables import Row
from .visible import visible


class Plain:
    """host: as it is to be shown, "" where it is not."""

    def __init__(self, out: TextIO) -> None:
        self.out = out

    def event(self, host: str, event: Event, verbose: bool) -> None:
        if event["event"] == "line":
            self.write(log_line(event, host))
        for text, style in lines(event, verbose):
            self.say(host, text, style)

    def say(self, host: str, text: str, style: str) -> None:
        self.write([(f"{host}: {text}" if host else text, style)])

    def result(self, event: Result, text: str) -> None:
        self.say("", text, "")

    def table(self, host: str, rows: Sequence[Row]) -> None:
        names = [name for name in rows[0] if name not in ("event", "style")]
        cells = [{name: visible(row[name]).replace("\n", " ") for name in names} for row in rows]
        head, texts = laid_out(cells, names, columns() - (len(host) + 2 if host else 0))
        self.say(host, head, "bold")
        for row, text in zip(rows, texts, strict=True):
            for line in text.splitlines():
                self.say(host, line, row["style"])

    def write(self, parts: Sequence[Styled]) -> None:
        self.out.write("".join(visible(text) for text, _ in parts) + "\n")
        self.out.flush()

    def stop(self) -> None:
        """End what is redrawn in place; here, nothing is."""
