"""An observer that has a run stand still, for a test to kill, to cut or to pull the plug just there."""

import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .system import Observer

if TYPE_CHECKING:
    from .events import Event


class Halting(Observer):
    """halt: the number of a step; or a part of its title, or of the name of a place inside of a step."""

    def __init__(self, halt: str, emit: "Callable[[Event], None]") -> None:
        self.halt, self.emit = halt, emit

    def before(self, number: int, title: str) -> None:
        if self.halt == str(number) or (not self.halt.isdigit() and self.halt in title):
            self.wait(number, title)

    def at(self, place: str) -> None:
        if not self.halt.isdigit() and self.halt in place:
            self.wait(-1, place)

    def wait(self, number: int, title: str) -> None:
        """Until SIGUSR1."""
        resumed: list[int] = []  # not an Event: a signal that came while its lock is held would wait for that for ever
        signal.signal(signal.SIGUSR1, lambda number, _: resumed.append(number))
        self.emit({"event": "halted", "number": number, "step": title, "pid": os.getpid()})
        while not resumed:
            time.sleep(0.05)
