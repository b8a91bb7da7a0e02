"""Fabric's program with the kit's commands, errors and exit statuses."""

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


def namespace(about: str) -> Collection:
    """All commands. about: the text above their list."""
    session = Session()  # shared by all tasks: one connection serves a whole command line
    program.executor_class = ending(session)
    explain_misuse(program, about)
    open_streams()
    atexit.register(gc.freeze)  # runs last: skips the garbage collection at exit (20 ms)
    atexit.register(session.close)
    made = Collection(*tasks(session))
    for group in (env_tasks, tls_tasks, sandbox_tasks, ci_tasks):
        made.add_collection(group(session))
    session.commands = frozenset({*made.tasks, *made.collections})
    for name in {*stage_names()} - session.commands:  # those are refused when the file is read
        made.add_task(stage_task(session, name))
    return made
