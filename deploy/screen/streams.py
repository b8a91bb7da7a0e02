"""The operator's standard streams: whether colours are wanted, and what to do once nobody reads them."""

import os
from contextlib import suppress
from typing import TextIO


def silence(stream: TextIO) -> None:
    """Drop what is written from now on; also what Python still holds, which it would fail to write at exit."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def coloured(out: TextIO) -> bool:
    """Whether a terminal reads this that wants colours: https://no-color.org"""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
