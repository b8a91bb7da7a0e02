"""Fabric's program with the kit's commands, errors and exit statuses."""

import atexit
import gc
import os
import sys
from contextlib import suppress
from typing import Any

from fabric.config import Config
from fabric.main import Fab
from fabric.main import program as fab
from invoke.collection import Collection
from invoke.exceptions import Exit

from ..screen.command import INSTALLED, as_typed, command_name
from ..session.session import Session
from ..version import VERSION
from .ci import ci_tasks
from .env import env_tasks
from .misuse import core_told, explain_misuse, open_streams, print_help
from .options import ending, stage_names
from .processes import scale_task, timer_tasks
from .project import project_tasks
from .sandbox import sandbox_tasks
from .tasks import stage_task, tasks, tls_tasks

ABOUT = """\
Ashore takes a Python web app from localhost to a live server.

    fab init                          write deploy.toml for the app in this directory
    fab sandbox provision deploy      try it on a throwaway server on this machine
    fab provision deploy              work on the stage `production` of deploy.toml
    fab staging deploy                work on another stage
    fab -H root@203.0.113.10 deploy   work on a host given on the command line

`fab --help COMMAND` shows a command's options, `fab explain KEY` explains a key of deploy.toml. Every command can be
run again: it changes only what is not done yet.

Exit status: 0 success; 1 failure; 2 `--check` found something that would change; 3 done, but visitors get errors, or
got some during the change; 130 Ctrl-C. `fab run` and `fab shell` exit with the status of their command.
"""  # above the list of all commands


def namespace(program: Any = fab) -> Collection:
    """All commands. program: what runs them."""
    session = Session()  # shared by all tasks: one connection serves a whole command line
    program.executor_class = ending(session)
    explain_misuse(program, as_typed(ABOUT))
    open_streams()
    atexit.register(leave, session)  # runs last
    atexit.register(session.close)
    made = Collection(*tasks(session), scale_task(session), *project_tasks(session))
    for group in (env_tasks, tls_tasks, timer_tasks, sandbox_tasks, ci_tasks):
        made.add_collection(group(session))
    session.commands = frozenset({*made.tasks, *made.collections})
    for name in {*stage_names()} - session.commands:  # those are refused when the file is read
        made.add_task(stage_task(session, name))
    return made


class Ashore(Fab):  # type: ignore[misc]  # Fabric has no types
    """Fabric's program without a fabfile: the kit's commands are its own."""

    def print_version(self) -> None:
        print(f"Ashore {VERSION}", flush=True)

    def no_tasks_given(self) -> None:
        """`ashore` alone shows what there is, as `ashore --list` does."""
        if not self._remainder_only:
            print_help(as_typed(ABOUT), self.list_tasks)
            raise Exit

    def create_config(self) -> None:
        core_told(super().create_config)

    def parse_core(self, argv: list[str] | None) -> None:
        core_told(lambda: super(Ashore, self).parse_core(argv))
        sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)  # Invoke sets it


def installed() -> Ashore:
    """The program `ashore`."""
    made = Ashore(name="Ashore", binary=INSTALLED, binary_names=[INSTALLED], version=VERSION, config_class=Config)
    made.namespace = namespace(made)
    return made


def is_own_program() -> bool:
    """Whether this process is `fab` or `ashore`, and not somebody else's who uses the tasks."""
    return os.path.basename(sys.argv[0]) == "fab" or command_name() == INSTALLED


def leave(session: Session) -> None:
    """End this process as it is after a success: for Python to take it apart takes 10 ms, and 20 to collect garbage."""
    if session.succeeded and is_own_program():  # whoever else uses the program may go on to fail
        with suppress(OSError, ValueError):  # as Python would tell of that
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
    gc.freeze()
