"""A program at a terminal of its own, whose question is answered."""

import os
import pty
from contextlib import suppress
from pathlib import Path

CTRL_D = b"\x04"


def answered(argv: list[str], directory: Path, question: str, keys: bytes, **environment: str) -> tuple[int, str]:
    """Exit status and all that the terminal showed. keys: what is typed where the question stands."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(directory)
        os.execve(argv[0], argv, {**os.environ, **environment})
    said = b""
    with suppress(OSError):  # Linux's way of saying that the other end is closed
        while data := os.read(terminal, 1 << 16):
            said += data
            if said.endswith(question.encode()):
                os.write(terminal, keys)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said.decode()
