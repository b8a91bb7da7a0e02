"""Ctrl-C outside of a task: while the kit is loading, between two tasks, after the last one. One line, status 130.

This is loaded first, so it imports nothing of the kit. Inside a task, Ctrl-C is a KeyboardInterrupt, which the task
handles.
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
    """Without an exception: one during an import would be shown as a traceback."""
    os.write(2, b"interrupted: nothing was changed\n")
    os._exit(STATUS)


def in_task(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_name == "__del__":  # Python ignores exceptions raised there: send the signal again
            threading.Timer(0.01, _send_again).start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def _send_again() -> None:
    """As Ctrl-C does, to this process's main thread: what it waits for is then interrupted, too."""
    main = threading.main_thread().ident
    if main is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main, signal.SIGINT)
    else:  # Windows
        _thread.interrupt_main()


def between_tasks(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted: the steps shown above were done, nothing else was started\n")
    sys.exit(STATUS)  # runs the exit handlers, which close the connections


OURS = (while_loading, in_task, between_tasks)


def take_over() -> None:
    """Handle Ctrl-C from now on, unless it is ignored, as a shell does for background jobs."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, while_loading)


def _answer(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    if signal.getsignal(signal.SIGINT) in OURS:
        signal.signal(signal.SIGINT, handler)


def ignore() -> None:
    """After the last task: an exception would hit Python's own exit code."""
    _answer(signal.SIG_IGN)


def too_late() -> None:
    """From now on, Ctrl-C ends the command line, because the task is done."""
    _answer(between_tasks)


@contextmanager
def raised() -> Iterator[None]:
    """For the body, Ctrl-C is a KeyboardInterrupt."""
    _answer(in_task)
    try:
        yield
    finally:
        too_late()
