"""The commands as typed: words and their help → verb. Nothing is decided here."""

import sys
from pathlib import Path
from typing import Any

from fabric import task
from invoke.collection import Collection
from invoke.exceptions import Exit

from ..agent.constants import PROXY, RELEASE_ID
from ..errors import NOTHING, ConfigError, Interrupted
from ..session.session import Session
from .options import CHANGING, READING, SWITCHING, WAITING, Typed, command, left_out, telling

RENEWING = {key: value for key, value in SWITCHING.items() if key != "force"}


def count(lines: int, name: str) -> int:
    if lines < 0:
        raise ConfigError(f"-n {lines} is no number of lines", f"fab {name}", NOTHING, "-n 50; -n 0 is all of them")
    return lines


def tasks(session: Session) -> list[Any]:
    """Those of no group, for the stage and hosts of the session."""

    @command(session, CHANGING)
    def provision(typed: Typed) -> None:
        """Make a server ready for the app, once: packages, users, the proxy, uv, SSH by key only, a firewall."""
        with typed.verb("provision", may_install=not typed.options.check) as (verb, call):
            verb.provision(call)

    @command(session, CHANGING)
    def deploy(typed: Typed) -> None:
        """Put the app's source live as a new release; the old one serves until it answers, and stays if it fails."""
        with typed.verb("deploy") as (verb, call):
            verb.deploy(call)

    @command(
        session,
        CHANGING,
        positional=[] if left_out("rollback", RELEASE_ID, sys.argv) else ["release"],
        help={"release": "its ID, from `fab releases`"},
    )
    def rollback(typed: Typed, release: str | None = None) -> None:
        """Go back to the release before, or to another (fab rollback ID): its code, packages and environment."""
        with typed.verb("rollback") as (verb, call):
            verb.rollback(call, release or "")

    @command(session, READING, reading=True)
    def releases(typed: Typed) -> None:
        """List the releases: current, good, rolled back, failed; who made them, when and from which commit."""
        with typed.verb("releases") as (verb, call):
            verb.list_releases(call)

    @command(session, READING, reading=True, help={"n": "how many lines, the last ones (30; 0: all)"})
    def history(typed: Typed, n: int = 30) -> None:
        """List what was done to the app on its server: who, from where, what, how it ended, how long it took."""
        lines = count(n, "history")
        with typed.verb("releases") as (verb, call):
            verb.list_history(call, lines)

    @command(session, SWITCHING)
    def restart(typed: Typed) -> None:
        """Start the app anew, without losing a request: the same code and environment, in fresh processes."""
        with typed.verb("restart") as (verb, call):
            verb.restart(call)

    @command(
        session,
        WAITING,
        positional=["state"],
        help={"state": "on or off", "allow": "addresses that still get through, beside yours"},
    )
    def maintenance(typed: Typed, state: str, allow: str = "") -> None:
        """Close the site to visitors, who get a 503 page, or open it again: fab maintenance on|off."""
        if state not in ("on", "off"):
            raise ConfigError(f"maintenance is on or off, not {state}", state=NOTHING, hint="fab maintenance on")
        with typed.verb("maintenance") as (verb, call):
            verb.maintenance(call, state == "on", allow)

    @command(session, {}, help={"command": "one line for /bin/sh"})
    def run(typed: Typed, command: str) -> None:
        """Run a command beside the app, as its user with its environment, in its sandbox: fab run "flask db stats"."""
        with typed.verb("run", first=True) as (verb, call):
            raise Exit(code=verb.run(call, ["/bin/sh", "-c", command]))

    @command(session, {})
    def shell(typed: Typed) -> None:
        """Open a shell beside the app, as its user with its environment, in its sandbox."""
        from ..connection.terminal import at_terminal

        if not at_terminal():
            raise ConfigError("a shell wants a terminal", "fab shell", NOTHING, 'for one command: fab run "COMMAND"')
        with typed.verb("run", first=True) as (verb, call):
            raise Exit(code=verb.run(call, ["/bin/bash", "-i"]))

    @command(
        session,
        {PROXY: f"the lines of {PROXY}, too", **READING},
        reading=True,
        help={
            "n": "how many lines, the last ones (200; 0: all)",
            "follow": "go on with new lines as they come, until Ctrl-C",
            "since": 'from when on, e.g. "1 hour ago", yesterday, "2026-11-20 10:00" (UTC)',
            "release": "of one release only, by its ID",
        },
    )
    def logs(
        typed: Typed, follow: bool = False, n: int = 200, since: str = "", release: str = "", **proxies: bool
    ) -> None:
        """Read what the app has written, from the server's journal."""
        lines = count(n, "logs")
        try:
            with typed.verb("logs") as (verb, call):
                verb.logs(call, lines=lines, since=since, follow=follow, release=release, with_proxy=proxies[PROXY])
        except Interrupted:
            raise Exit(code=0) from None  # Ctrl-C is how one leaves a log

    @command(
        session,
        READING,
        reading=True,
        positional=[] if left_out("explain", r"(?!-).*", sys.argv) else ["key"],
        help={"key": "a key of deploy.toml, such as tls or app.workers; without one, all keys are listed"},
    )
    def explain(typed: Typed, key: str | None = None) -> None:
        """Explain a key of deploy.toml: what it means, what it takes, its default and its value: fab explain KEY."""
        from ..verbs import explain as verb

        verb.explain(typed.screen, Path.cwd(), key or "")

    return [provision, deploy, rollback, releases, history, restart, run, shell, maintenance, logs, explain]


def tls_tasks(session: Session) -> Collection:
    @command(session, READING, reading=True, name="list", default=True)
    def tls_list(typed: Typed) -> None:
        """Tell which certificate the site shows: for which names, from whom, until when, and who renews it."""
        with typed.verb("tls") as (verb, call):
            verb.tls(call)

    @command(
        session,
        RENEWING,
        name="renew",
        help={"compromised": "its key is not secret any more: declare the old certificate void"},
    )
    def tls_renew(typed: Typed, compromised: bool = False) -> None:
        """Get a new certificate with a new key now, as the server does by itself in good time: fab tls.renew."""
        with typed.verb("tls") as (verb, call):
            verb.renew(call, compromised)

    return Collection("tls", tls_list, tls_renew)


def stage_task(session: Session, name: str) -> Any:
    """`fab NAME deploy` works on the stage NAME."""

    def choose(c: Any) -> None:
        with telling(c):
            session.stage_name = session.config().stage(name).name

    choose.__doc__ = f"Work on the stage {name}: fab {name} deploy."
    return task(name=name)(choose)
