"""Sends events to the operator from its own thread, so a slow reader does not block the run.

An operator who has stopped `fab` with Ctrl-Z, or whose link is dead, reads nothing. A release command must not hang
halfway on that, with its database locks: what it prints is left out then, and counted.
"""

import json
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from .events import Event

MOST_BYTES = 1 << 20  # waiting to be written; beyond that, what can be left out is left out
BLOCK = 1 << 16
LOOK_SECONDS = 0.1
ASKED_FOR = ("line", "data")  # of `fab logs` and `fab run`: not left out, but held back while somebody wants them
PASSING = ("said", "progress", *ASKED_FOR)


class Outgoing:
    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.broken = False  # the link is gone
        self.waiting: deque[bytes] = deque()
        self.size = 0  # of what waits or is being written, in bytes
        self.left_out = 0  # lines, since the last event that was taken
        self.change = threading.Condition()
        threading.Thread(target=self._write, daemon=True).start()

    def put(self, event: "Event", unwanted: Callable[[], bool]) -> None:
        """Take one event. Only one of ASKED_FOR waits for room, until it is `unwanted`."""
        with self.change:
            while event["event"] in ASKED_FOR and self._full() and not unwanted():
                self.change.wait(LOOK_SECONDS)
            if self.broken:
                return
            if self._full() and event["event"] in PASSING:
                self.left_out += event["event"] == "said"
                return
            if self._full() and event["event"] == "output":
                text = f"({len(event['text'])} characters are left out: they came faster than they were read)"
                event = {**event, "text": text}
            if self.left_out:
                lines = "1 line is" if self.left_out == 1 else f"{self.left_out} lines are"
                self._append({"event": "said", "text": f"({lines} left out: output came faster than it was read)"})
                self.left_out = 0
            self._append(event)
            self.change.notify_all()

    def finish(self, unwanted: Callable[[], bool]) -> None:
        """Wait until all is written, as long as that is not `unwanted`."""
        with self.change:
            while self.size and not self.broken and not unwanted():
                self.change.wait(LOOK_SECONDS)

    def _full(self) -> bool:
        return self.size > MOST_BYTES and not self.broken

    def _append(self, event: "Event") -> None:
        data = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        self.waiting.append(data)
        self.size += len(data)

    def _write(self) -> None:
        while not self.broken:
            with self.change:
                while not self.waiting:
                    self.change.wait()
                data = b""
                while self.waiting and len(data) < BLOCK:
                    data += self.waiting.popleft()
            try:
                self.stream.write(data)
                self.stream.flush()
            except (OSError, ValueError):  # the link is gone, or this end was closed
                self.broken = True
            with self.change:
                self.size -= len(data)
                if self.broken:
                    self.waiting.clear()
                self.change.notify_all()
