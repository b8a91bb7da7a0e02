"""`fab env`, `fab env.set` and `fab env.unset` as typed."""

import sys

from invoke.collection import Collection

from ..session.session import Session
from . import variables
from .options import READING, SWITCHING, Typed, command, left_out


def env_tasks(session: Session) -> Collection:
    """The tasks, for the stage and hosts of the session."""

    @command(session, READING, reading=True, name="list", default=True)
    def env_list(typed: Typed) -> None:
        """List the variables in the app's environment and where each comes from; values are never shown."""
        with typed.verb("env") as (verb, call):
            verb.env(call)

    @command(
        session,
        SWITCHING,
        name="set",
        positional=[] if left_out("env.set", r"[A-Z_][A-Z0-9_]*(=.*)?", sys.argv) else ["name"],
        help={
            "name": "the variable; its value is asked for or piped in",
            "file": "NAME=value lines; - for standard input",
        },
    )
    def env_set(typed: Typed, name: str | None = None, file: str = "") -> None:
        """Set a variable of the app's environment: fab env.set NAME. Creates a release with the same code."""
        changes = variables.wanted(name or "", file)
        with typed.verb("env") as (verb, call):
            verb.env_set(call, "env.set", changes)

    @command(
        session, SWITCHING, name="unset", positional=["name"], help={"name": "a variable that `fab env.set` has set"}
    )
    def env_unset(typed: Typed, name: str) -> None:
        """Remove a variable that `fab env.set` has set: fab env.unset NAME. Creates a release with the same code."""
        with typed.verb("env") as (verb, call):
            verb.env_set(call, "env.unset", {name: None})

    return Collection("env", env_list, env_set, env_unset)
