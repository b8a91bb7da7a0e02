"""What `fabfile.py` needs beside Invoke: a screen for each task, how a command line ends, stages, optional words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fabric.executor import Executor
from invoke.exceptions import Exit

from . import interrupts
from .errors import WOULD_CHANGE, ConfigError, DeployError, Interrupted, Unread
from .misuse import host_of, tell
from .screen import Screen
from .session import Session

CHECK = "show what would change, as diffs, and change nothing; ends with status 2 if something would"
FORCE = "replace files that were edited by hand on the server (a copy stays beside each)"
WAIT = "if somebody else is at work there, wait for the end of that; if that run waits for a silent operator, end it"
BREAK_LOCK = "if somebody else is at work there, have that stop and undo, as by their own Ctrl-C, and go on then"
JSON = "one event a line, as JSON"
JSON_FOR_ALL = "ashore_json"  # key of Invoke's config: a task of the command line has --json, so all of them have it
VERBOSE = "the output of the commands that run on the server, too"
CHANGING = {"check": CHECK, "force": FORCE, "wait": WAIT, "break_lock": BREAK_LOCK, "json": JSON, "verbose": VERBOSE}
SWITCHING = {key: value for key, value in CHANGING.items() if key != "check"}


@contextmanager
def telling(
    context: Any,
    as_json: bool = False,
    verbose: bool = False,
    session: Session | None = None,
    reading: bool = False,
) -> Iterator[Screen]:
    """A screen for one task; failures are told on it in the kit's words and end with a status that is not zero.

    session: learns whether a dry run found something, for tasks that have one. reading: see `Screen`.
    """
    as_json = as_json or context.config.get(JSON_FOR_ALL, False)
    screen = Screen(as_json=as_json, verbose=verbose, reading=reading)
    try:
        with interrupts.raised():
            require_no_dry_run(context)
            yield screen
    except DeployError as error:
        tell(screen, error)
        raise Exit(code=error.status) from None
    except KeyboardInterrupt:
        screen.error(Interrupted("interrupted", state="nothing is under way on a server"))
        raise Exit(code=Interrupted.status) from None
    except Unread:  # `fab logs | head`
        pass  # what else is on the command line may change something, and is carried out
    if session is not None:
        session.would_change = session.would_change or screen.would_change


def ending(session: Session) -> type[Executor]:
    """Carries out a command line: all of its tasks, then the status that dry runs among them came to."""

    class Ending(Executor):  # type: ignore[misc]  # Fabric has no types
        def execute(self, *tasks: Any) -> Any:
            self.config[JSON_FOR_ALL] = any("json" in task.args and task.args.json.value for task in tasks)
            try:
                results = super().execute(*tasks)
            finally:
                interrupts.ignore()
            if session.would_change:
                raise Exit(code=WOULD_CHANGE)
            return results

        def normalize_hosts(self, hosts: Any) -> list[dict[str, Any]]:
            return [host_of(host) if isinstance(host, str) else host for host in hosts or ()]

    return Ending


def require_no_dry_run(context: Any) -> None:
    """Fabric's -R only keeps `Connection.run` from running; what the kit does goes another way, and would be done."""
    if context.config.run.dry:
        what = "-R (--dry), Fabric's dry run, does not hold for these commands: they would really be carried out"
        hint = "--check, behind the command: fab deploy --check; provision, deploy, rollback and ci.key have it"
        raise ConfigError(what, hint=hint)


def options(check: bool = False, force: bool = False, wait: bool = False, break_lock: bool = False) -> Any:
    from .carry import Options

    return Options(check, force, wait, break_lock)


def stage_names() -> list[str]:
    """The stages of deploy.toml, as it stands; a broken file is told of by the task that reads it, not by --list."""
    try:
        text = Path("deploy.toml").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    return sorted(set(re.findall(r"^\s*\[stages\.([a-z][a-z0-9_-]*)", text, re.M)))


def left_out(command: str, shape: str, words: list[str]) -> bool:
    """Whether a command line gives a command none of the words that it can do without.

    Invoke's positional arguments are all required, so such a one is made positional only where it is given: where a
    word of its shape (a regular expression) stands behind the command.
    """
    return command not in words or not any(re.fullmatch(shape, word) for word in words[words.index(command) + 1 :])
