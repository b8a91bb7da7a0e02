"""`fab env` and its kin."""

import sys
from typing import Any

from fabric import task
from invoke.collection import Collection

from .commandline import JSON, SWITCHING, left_out, options, telling
from .session import Session


def env_tasks(session: Session) -> Collection:
    """The tasks, for the stage and hosts of the session."""

    @task(name="list", default=True, help={"json": JSON})
    def env_list(c: Any, json: bool = False) -> None:
        """List the names in the app's environment and where each comes from; values are never shown."""
        from . import verbs

        with telling(c, json, reading=True) as screen:
            verbs.env(session, c, screen)

    @task(
        name="set",
        positional=[] if left_out("env.set", r"[A-Z_][A-Z0-9_]*(=.*)?", sys.argv) else ["name"],
        help={"name": "whose value is asked for, or piped in", "file": "NAME=value lines; - is standard input"}
        | SWITCHING,
    )
    def env_set(
        c: Any,
        name: str | None = None,
        file: str = "",
        force: bool = False,
        wait: bool = False,
        break_lock: bool = False,
        json: bool = False,
        verbose: bool = False,
    ) -> None:
        """Set variables of the app's environment: fab env.set NAME. Makes a release with the same code."""
        from . import variables, verbs

        with telling(c, json, verbose) as screen:
            changes = variables.wanted(name or "", file)
            verbs.env_set(session, c, screen, options(False, force, wait, break_lock), "env.set", {**changes})

    @task(
        name="unset",
        positional=["name"],
        help={"name": "what `fab env.set` has set"} | SWITCHING,
    )
    def env_unset(
        c: Any,
        name: str,
        force: bool = False,
        wait: bool = False,
        break_lock: bool = False,
        json: bool = False,
        verbose: bool = False,
    ) -> None:
        """Take variables away that `fab env.set` has set: fab env.unset NAME."""
        from . import verbs

        with telling(c, json, verbose) as screen:
            verbs.env_set(session, c, screen, options(False, force, wait, break_lock), "env.unset", {name: None})

    return Collection("env", env_list, env_set, env_unset)
