"""`fab ci.key` as typed."""

from invoke.collection import Collection

from ..errors import ConfigError
from ..session.session import Session
from .options import CHANGING, Typed, command

PUBLIC = "add this public key: a file, or - for standard input; without it, a key pair is generated once"
REVOKE = "revoke a key: its fingerprint, or `all`"


def ci_tasks(session: Session) -> Collection:
    @command(session, CHANGING, name="key", default=True, help={"public": PUBLIC, "revoke": REVOKE})
    def key(typed: Typed, public: str = "", revoke: str = "") -> None:
        """Add an SSH key for CI that can deploy, roll back and list releases of this app, and do nothing else."""
        if public and revoke:
            raise ConfigError(
                "--public and --revoke cannot be used together", "fab ci.key", hint="run them one after the other"
            )
        with typed.verb("ci_key") as (verb, call):
            if revoke:
                verb.revoke_keys(call, revoke)
            else:
                verb.add_keys(call, public)

    return Collection("ci", key)
