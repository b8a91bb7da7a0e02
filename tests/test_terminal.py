"""The operator's terminal, joined to a command on a server."""

import os
import pty
import signal
import threading

import pytest

from deploy.connection import terminal
from deploy.connection.terminal import Joined


class Busy:
    """An agent whose link is locked while it sends, and whose operator drags the window's edge meanwhile."""

    def __init__(self) -> None:
        self.link = threading.Lock()
        self.sent: list[dict] = []
        self.twice = threading.Event()

    def send(self, message: dict) -> None:
        assert self.link.acquire(timeout=5), "the link is waited for by the one that holds it"
        try:
            self.sent.append(message)
            if len(self.sent) == 1:
                os.kill(os.getpid(), signal.SIGWINCH)
            else:
                self.twice.set()
        finally:
            self.link.release()


def test_a_window_that_changes_while_its_size_is_being_sent_is_told_of_again(monkeypatch: pytest.MonkeyPatch):
    before = signal.getsignal(signal.SIGWINCH)
    inside, outside = pty.openpty()
    try:
        with os.fdopen(outside) as stdin:
            monkeypatch.setattr(terminal, "at_terminal", lambda: True)
            monkeypatch.setattr("sys.stdin", stdin)
            joined = Joined("shop", ["sh"])
            joined.agent = agent = Busy()
            joined.follow_window()
            os.kill(os.getpid(), signal.SIGWINCH)
            # Python runs a handler in the main thread, which the kernel need not have woken for the signal.
            assert any(agent.twice.wait(0.1) for _ in range(600))
    finally:
        os.close(inside)
        signal.signal(signal.SIGWINCH, before)
    assert [message["request"] for message in agent.sent] == ["resize", "resize"]
