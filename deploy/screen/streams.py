"""The operator's standard streams: whether to use colours, and what to do if nobody reads them."""

import os
from contextlib import suppress
from typing import TextIO


def silence(stream: TextIO) -> None:
    """Discard further output, including Python's buffer, which could not be written at exit."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def coloured(out: TextIO) -> bool:
    """Whether the output is a terminal with colours: https://no-color.org"""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
