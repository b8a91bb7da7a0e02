"""Fabric's program as the kit has it: our commands, our errors, our end."""

import atexit
import gc

from fabric.main import program
from invoke.collection import Collection

from ..session.session import Session
from .ci import ci_tasks
from .env import env_tasks
from .misuse import explain_misuse, open_streams
from .options import ending, stage_names
from .sandbox import sandbox_tasks
from .tasks import stage_task, tasks, tls_tasks

ABOUT = """\
Ashore takes a Python web app from localhost to a live server.

    fab sandbox provision deploy      try it on a throwaway server on this machine
    fab provision deploy              on the stage `production` of deploy.toml
    fab staging deploy                on another stage
    fab -H root@203.0.113.10 deploy   on a host named there and then

`fab --help COMMAND` shows a command's options, `fab explain KEY` explains a key of deploy.toml. Every command can be
run again: what is done is left alone.

Exit status: 0 it is done; 1 it failed; 2 `--check` found something that would change; 3 it is done, but visitors get
errors, or got some meanwhile; 130 Ctrl-C. `fab run` and `fab shell` end with the command's own.
"""  # above the list of all commands


def namespace() -> Collection:
    """All commands."""
    session = Session()  # Invoke hands tasks nothing of each other's; one connection serves a whole command line
    program.executor_class = ending(session)
    explain_misuse(program, ABOUT)
    open_streams()
    atexit.register(gc.freeze)  # last of all: a process that ends need not look for garbage first (20 ms)
    atexit.register(session.close)
    made = Collection(*tasks(session))
    for group in (env_tasks, tls_tasks, sandbox_tasks, ci_tasks):
        made.add_collection(group(session))
    session.commands = frozenset({*made.tasks, *made.collections})
    for name in {*stage_names()} - session.commands:  # a stage of such a name is refused when the file is read
        made.add_task(stage_task(session, name))
    return made
