"""Ctrl-C outside of a task: while the kit is loaded, between two tasks, behind the last one. One line and status 130.

Loaded first of all, so it imports nothing of the kit. Inside of a task, Ctrl-C is a KeyboardInterrupt, which the task
answers for.
"""

import _thread
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STATUS = 130


def while_loading(number: int, frame: FrameType | None) -> None:
    """No exception: one in the middle of an import would be told as a traceback."""
    os.write(2, b"interrupted: nothing was changed\n")
    os._exit(STATUS)


def in_task(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_name == "__del__":  # Python drops what is raised there: the signal comes once more
            threading.Timer(0.01, _thread.interrupt_main).start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def between_tasks(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted: the steps shown above were done, nothing else was started\n")
    sys.exit(STATUS)  # which takes leave of the servers


OURS = (while_loading, in_task, between_tasks)


def take_over() -> None:
    """From now on; unless whoever started us has it ignored, as a shell does for what runs in the background."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, while_loading)


def _answer(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    if signal.getsignal(signal.SIGINT) in OURS:
        signal.signal(signal.SIGINT, handler)


def ignore() -> None:
    """Behind the last task: an exception would meet Python's own code that ends the process."""
    _answer(signal.SIG_IGN)


def too_late() -> None:
    """From now on, Ctrl-C ends the command line: what it was to do is done."""
    _answer(between_tasks)


@contextmanager
def raised() -> Iterator[None]:
    """For the body, Ctrl-C is a KeyboardInterrupt."""
    _answer(in_task)
    try:
        yield
    finally:
        too_late()
