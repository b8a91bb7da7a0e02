"""Events for programs: one JSON object a line, as docs/json.md describes them."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, TextIO

from ..agent.events import Event
from .events import BETWEEN_SIDES, Note, Result
from .tables import Row

MOMENTS = ("time", "started", "made", "not_before")  # seconds since 1970, or ISO 8601 in UTC


class Json:
    """`host` is in every object, "" where an event concerns none or several."""

    def __init__(self, out: TextIO) -> None:
        self.out = out

    def event(self, host: str, event: Event, verbose: bool) -> None:
        if event["event"] not in BETWEEN_SIDES:
            self.write({"host": host, **event})

    def say(self, host: str, text: str, style: str) -> None:
        note: Note = {"event": "note", "host": host, "text": text}
        self.write(note)

    def result(self, event: Result, text: str) -> None:
        self.write(event)

    def table(self, host: str, rows: Sequence[Row]) -> None:
        for row in rows:
            self.write({"host": host, **row["event"]})

    def write(self, event: Mapping[str, Any]) -> None:
        text = json.dumps(with_times(event))
        self.out.write(text.replace("\x7f", "\\u007f") + "\n")  # the one control character that JSON leaves as it is
        self.out.flush()

    def stop(self) -> None:
        """Nothing is redrawn in place."""


def with_times(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event with each moment as programs get it, "2026-03-01T12:04:05Z"."""
    found: dict[str, Any] = {key: timestamp(value) if key in MOMENTS else value for key, value in event.items()}
    return found | ({"run": with_times(found["run"])} if "run" in found else {})


def timestamp(when: float | str) -> str:
    """Of seconds since 1970, or of ISO 8601 in UTC; with fractions of a second where there are some."""
    if isinstance(when, str):
        return when.replace(" ", "T").removesuffix("+00:00").removesuffix("Z") + "Z" if when else ""
    made = datetime.fromtimestamp(when, timezone.utc)
    return made.isoformat(timespec="seconds" if when == int(when) else "milliseconds").replace("+00:00", "Z")
