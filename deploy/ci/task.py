"""`fab ci.key` as typed. What it takes is loaded when it runs."""

from typing import Any

from fabric import task
from invoke.collection import Collection

from ..commandline import CHANGING, telling
from ..session import Session

HELP = {
    "public": "a public key that is to get in: its file, or - for standard input; without it, a pair is made once",
    "revoke": "a key that is to get in no more: its fingerprint, or `all`",
    **CHANGING,
}


def ci_tasks(session: Session) -> Collection:
    @task(name="key", default=True, help=HELP)
    def key(
        c: Any,
        public: str = "",
        revoke: str = "",
        check: bool = False,
        force: bool = False,
        wait: bool = False,
        break_lock: bool = False,
        json: bool = False,
        verbose: bool = False,
    ) -> None:
        """Let an SSH key deploy, roll back and list releases of this app, and nothing else: for CI."""
        from ..carry import Options
        from .command import ci_key

        with telling(c, json, verbose, session) as screen:
            ci_key(session, c, screen, Options(check, force, wait, break_lock), public, revoke)

    return Collection("ci", key)
