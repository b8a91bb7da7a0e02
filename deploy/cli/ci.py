"""`fab ci.key` as typed."""

from invoke.collection import Collection

from ..errors import ConfigError
from ..session.session import Session
from .options import CHANGING, Typed, command

PUBLIC = "a public key that is to get in: its file, or - for standard input; without it, a pair is made once"
REVOKE = "a key that is to get in no more: its fingerprint, or `all`"


def ci_tasks(session: Session) -> Collection:
    @command(session, CHANGING, name="key", default=True, help={"public": PUBLIC, "revoke": REVOKE})
    def key(typed: Typed, public: str = "", revoke: str = "") -> None:
        """Let an SSH key deploy, roll back and list releases of this app, and nothing else: for CI."""
        if public and revoke:
            raise ConfigError("--public and --revoke are two commands", "fab ci.key", hint="one after the other")
        with typed.verb("ci_key") as (verb, call):
            if revoke:
                verb.revoke_keys(call, revoke)
            else:
                verb.add_keys(call, public)

    return Collection("ci", key)
