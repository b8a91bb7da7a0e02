"""`fab scale`, `fab timers` and `fab timers.run` as typed."""

import sys
from typing import Any

from invoke.collection import Collection
from invoke.exceptions import Exit

from ..errors import Interrupted
from ..session.session import Session
from .options import READING, SWITCHING, Typed, command, left_out


def scale_task(session: Session) -> Any:
    @command(
        session,
        SWITCHING,
        positional=[] if left_out("scale", r"[a-z][a-z0-9-]*=.*", sys.argv) else ["counts"],
        help={"counts": "NAME=COUNT; several with commas; NAME= goes back to what deploy.toml says"},
    )
    def scale(typed: Typed, counts: str | None = None) -> None:
        """Run more or fewer of a process, without a deploy: fab scale worker=3. Without a count, list the processes."""
        with typed.verb("processes") as (verb, call):
            if counts:
                verb.scale(call, counts)
            else:
                verb.list_processes(call)

    return scale


def timer_tasks(session: Session) -> Collection:
    @command(session, READING, reading=True, name="list", default=True)
    def timers_list(typed: Typed) -> None:
        """List the timers: when each runs next, when it last ran, and how that ended."""
        with typed.verb("processes") as (verb, call):
            verb.list_timers(call)

    @command(session, READING, reading=True, name="run", positional=["name"], help={"name": "a timer of deploy.toml"})
    def timers_run(typed: Typed, name: str) -> None:
        """Run a timer's command now and show what it writes; Ctrl-C leaves it running: fab timers.run cleanup."""
        try:
            with typed.verb("processes") as (verb, call):
                verb.run_timer(call, name)
        except Interrupted:
            typed.screen.say(f"{name} goes on; `fab timers` shows how it ends")
            raise Exit(code=Interrupted.status) from None

    return Collection("timers", timers_list, timers_run)
