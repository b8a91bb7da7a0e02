"""What `fabfile.py` needs beside Invoke: errors in our words, stages, and words that may be left out."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from invoke.exceptions import Exit

from .errors import DeployError, Interrupted
from .screen import Screen

CHECK = "show what would change, as diffs, and change nothing"
FORCE = "replace files that were edited by hand on the server (a copy stays beside each)"
WAIT = "if somebody else is at work there, wait for the end of that"
JSON = "one event a line, as JSON"
VERBOSE = "the output of the commands that run on the server, too"
CHANGING = {"check": CHECK, "force": FORCE, "wait": WAIT, "json": JSON, "verbose": VERBOSE}


@contextmanager
def telling(as_json: bool = False, verbose: bool = False) -> Iterator[Screen]:
    """A screen for one task; failures are told on it in the kit's words and end with a status that is not zero."""
    screen = Screen(as_json=as_json, verbose=verbose)
    try:
        yield screen
    except DeployError as error:
        screen.error(error)
        raise Exit(code=130 if isinstance(error, Interrupted) else 1) from None
    except KeyboardInterrupt:
        screen.error(Interrupted("interrupted", state="nothing was changed"))
        raise Exit(code=130) from None
    except BrokenPipeError:  # `fab logs | head`: whoever read has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Exit(code=0) from None


def stage_names() -> list[str]:
    """The stages of deploy.toml, as it stands; a broken file is told of by the task that reads it, not by --list."""
    try:
        text = Path("deploy.toml").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    return sorted(set(re.findall(r"^\s*\[stages\.([a-z][a-z0-9_-]*)", text, re.M)))


def listing(words: list[str]) -> bool:
    """Whether the command line asks for the list of commands, for a person to read."""
    return bool({"-l", "--list"} & set(words)) and not any("format" in word or word == "-F" for word in words)


def left_out(command: str, shape: str, words: list[str]) -> bool:
    """Whether a command line gives a command none of the words that it can do without.

    Invoke's positional arguments are all required, so such a one is made positional only where it is given: where a
    word of its shape (a regular expression) stands behind the command.
    """
    return command not in words or not any(re.fullmatch(shape, word) for word in words[words.index(command) + 1 :])
