"""Connects the operator's terminal (or pipes) to a command on a server."""

import base64
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..agent.events import Event
from ..errors import Unread
from ..screen.streams import silence
from .agent import Agent

BLOCK = 1 << 16
IN_FLIGHT = (
    8  # blocks of input on their way: fewer than the agent's queue holds, so that Ctrl-C is never stuck behind them
)


def at_terminal() -> bool:
    """Whether there is a terminal, on a system that supports it."""
    try:
        import termios  # noqa: F401
    except ImportError:
        return False
    return sys.stdin.isatty() and sys.stdout.isatty()


def window() -> dict[str, int]:
    size = os.get_terminal_size(sys.stdin.fileno())
    return {"rows": size.lines, "columns": size.columns}


@contextmanager
def raw() -> Iterator[None]:
    """Every key goes to the command, even Ctrl-C; the terminal is always restored."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


class Joined:
    """One command on a server. `run` is for a thread of its own; `follow_window` for the main one, before that."""

    def __init__(self, app: str, command: list[str]) -> None:
        self.tty: dict[str, Any] | None = None
        if at_terminal():
            self.tty = {**window(), "term": os.environ.get("TERM", "dumb")}
        self.message: dict[str, Any] = {"request": "run", "app": app, "command": command, "tty": self.tty}
        self.agent: Agent | None = None
        self.room = threading.Semaphore(IN_FLIGHT)
        self.resized: queue.SimpleQueue[None] = queue.SimpleQueue()

    def follow_window(self) -> None:
        """The signal only leaves a note: while one is being sent, a second would wait for the first one's locks."""
        if self.tty:
            signal.signal(signal.SIGWINCH, lambda *_: self.resized.put(None))
            threading.Thread(target=self._send_sizes, daemon=True).start()

    def _send_sizes(self) -> None:
        while True:
            self.resized.get()
            self._send({"request": "resize", **window()})

    def run(self, agent: Agent) -> int:
        """The command's exit status."""
        self.agent = agent
        threading.Thread(target=self._read, daemon=True).start()
        if not self.tty:
            return int(agent.request(self.message, self._show)["status"])
        with raw():
            return int(agent.request(self.message, self._show)["status"])

    def _send(self, message: Any) -> None:
        if self.agent is not None:
            self.agent.send(message)

    def _read(self) -> None:
        while True:
            self.room.acquire()
            try:
                data = os.read(sys.stdin.fileno(), BLOCK)
            except (OSError, ValueError):  # there is no standard input at all
                data = b""
            while self.agent is not None and self.agent.running is None:
                threading.Event().wait(0.01)  # the question itself goes first
            self._send(data or {"request": "eof"})
            if not data:
                return

    def _show(self, event: Event) -> None:
        if event["event"] == "took":
            self.room.release()
        elif event["event"] == "data":
            stream = sys.stderr if event["stream"] == "err" else sys.stdout
            try:
                stream.buffer.write(base64.b64decode(event["data"]))
                stream.buffer.flush()
            except BrokenPipeError:
                silence(stream)
                raise Unread from None
