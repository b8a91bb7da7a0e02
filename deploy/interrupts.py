"""Ctrl-C outside of a task: while the kit is loaded, between two tasks, behind the last one. One line and status 130.

Loaded first of all, so it imports nothing of the kit. Inside of a task, Ctrl-C is Python's KeyboardInterrupt, which the
task answers for.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STATUS = 130


def while_loading(number: int, frame: FrameType | None) -> None:
    """No exception: one in the middle of an import would be told as a traceback."""
    os.write(2, b"interrupted: nothing was changed\n")
    os._exit(STATUS)


def between_tasks(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted: what is told above was done, and nothing else was begun\n")
    sys.exit(STATUS)  # which takes leave of the servers


def take_over() -> None:
    """From now on; unless whoever started us has it ignored, as a shell does for what runs in the background."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, while_loading)


def ignore() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def raised() -> Iterator[None]:
    """For the body, Ctrl-C is a KeyboardInterrupt."""
    ours = signal.getsignal(signal.SIGINT) in (while_loading, between_tasks)
    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, between_tasks)
