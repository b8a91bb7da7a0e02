"""The commands as typed: options and their help → verb. Nothing is decided here."""

import sys
from pathlib import Path
from typing import Any

from fabric import task
from invoke.collection import Collection
from invoke.exceptions import Exit

from ..agent.constants import PROXIES, RELEASE_ID
from ..errors import NOTHING, ConfigError, Interrupted
from ..screen.command import as_typed
from ..session.session import Session
from .options import CHANGING, READING, SWITCHING, WAITING, Typed, command, left_out, question, telling

RENEWING = {key: value for key, value in SWITCHING.items() if key != "force"}


def count(lines: int, name: str) -> int:
    if lines < 0:
        raise ConfigError(
            f"-n {lines} is not a number of lines", f"fab {name}", NOTHING, "for example -n 50; -n 0 shows all"
        )
    return lines


def tasks(session: Session) -> list[Any]:
    """The commands outside of groups, for the stage and hosts of the session."""

    @command(session, CHANGING)
    def provision(typed: Typed) -> None:
        """Prepare a server for the app, once: packages, users, the proxy, uv, SSH login by key only, a firewall."""
        with typed.verb("provision", may_install=not typed.options.check) as (verb, call):
            verb.provision(call)

    @command(session, CHANGING)
    def deploy(typed: Typed) -> None:
        """Deploy the app as a new release. It gets traffic once it answers; if it fails, the old one keeps serving."""
        with typed.verb("deploy") as (verb, call):
            verb.deploy(call)

    @command(
        session,
        CHANGING,
        positional=[] if left_out("rollback", RELEASE_ID, sys.argv) else ["release"],
        help={"release": "a release ID, from `fab releases`"},
    )
    def rollback(typed: Typed, release: str | None = None) -> None:
        """Go back to the previous release, or to another one (fab rollback ID): code, packages and environment."""
        with typed.verb("rollback") as (verb, call):
            verb.rollback(call, release or "")

    @command(session, READING, reading=True)
    def releases(typed: Typed) -> None:
        """List the releases and their state, who made them, when and from which commit."""
        with typed.verb("releases") as (verb, call):
            verb.list_releases(call)

    @command(session, READING, reading=True, help={"n": "number of lines to show, newest last (default 30; 0: all)"})
    def history(typed: Typed, n: int = 30) -> None:
        """List the changes made to the app: who, from where, what, how it ended, how long it took."""
        lines = count(n, "history")
        with typed.verb("releases") as (verb, call):
            verb.list_history(call, lines)

    @command(session, SWITCHING)
    def restart(typed: Typed) -> None:
        """Restart the app without losing a request: the same code and environment in new processes."""
        with typed.verb("restart") as (verb, call):
            verb.restart(call)

    @command(
        session,
        WAITING,
        positional=["state"],
        help={"state": "on or off", "allow": "addresses that can still reach the site, besides yours"},
    )
    def maintenance(typed: Typed, state: str, allow: str = "") -> None:
        """Show visitors a 503 page, or open the site again: fab maintenance on|off."""
        if state not in ("on", "off"):
            raise ConfigError(f"maintenance takes on or off, not {state}", state=NOTHING, hint="fab maintenance on")
        with typed.verb("maintenance") as (verb, call):
            verb.maintenance(call, state == "on", allow)

    @command(
        session,
        {**CHANGING, "force": "also remove a site that was edited by hand on the server"},
        auto_shortflags=False,
        help={
            "purge": "also delete the app's data; asks for the app's name",
            "yes": "do not ask; for scripts, which have no terminal",
        },
    )
    def remove(typed: Typed, purge: bool = False, yes: bool = False) -> None:
        """Remove the app from its servers; asks first. Its data stays unless --purge. Other apps are not changed."""
        with typed.verb("remove") as (verb, call):
            verb.remove(call, purge, question("fab remove"), yes)

    @command(session, {}, help={"command": "a command line for /bin/sh"})
    def run(typed: Typed, command: str) -> None:
        """Run a command as the app: its user, environment and sandbox. Example: fab run "flask db stats"."""
        with typed.verb("run", first=True) as (verb, call):
            raise Exit(code=verb.run(call, ["/bin/sh", "-c", command]))

    @command(session, {})
    def shell(typed: Typed) -> None:
        """Open a shell as the app: its user, environment and sandbox."""
        from ..connection.terminal import at_terminal

        if not at_terminal():
            raise ConfigError("a shell needs a terminal", "fab shell", NOTHING, 'for one command: fab run "COMMAND"')
        with typed.verb("run", first=True) as (verb, call):
            raise Exit(code=verb.run(call, ["/bin/bash", "-i"]))

    @command(
        session,
        {**{name: f"also show the logs of {name}" for name in PROXIES}, **READING},
        reading=True,
        help={
            "n": "number of lines to show, newest last (default 200; 0: all)",
            "follow": "show new lines as they are written, until Ctrl-C",
            "since": 'show lines since a time: "1 hour ago", yesterday, "2026-11-20 10:00" (UTC)',
            "release": "show only the lines of this release ID",
            "process": "show only the lines of one process or timer, such as web or worker",
        },
    )
    def logs(
        typed: Typed,
        follow: bool = False,
        n: int = 200,
        since: str = "",
        release: str = "",
        process: str = "",
        **proxies: bool,
    ) -> None:
        """Show the app's logs, from the server's journal."""
        lines = count(n, "logs")
        wanted = [name for name in PROXIES if proxies[name]]
        try:
            with typed.verb("logs") as (verb, call):
                which = {"release": release, "process": process, "proxies": wanted}
                verb.logs(call, lines=lines, since=since, follow=follow, **which)
        except Interrupted:
            raise Exit(code=0) from None  # Ctrl-C is the usual way to stop following a log

    @command(
        session,
        READING,
        reading=True,
        positional=[] if left_out("explain", r"(?!-).*", sys.argv) else ["key"],
        help={"key": "a key of deploy.toml, such as tls or app.workers; without one, all keys are listed"},
    )
    def explain(typed: Typed, key: str | None = None) -> None:
        """Explain a key of deploy.toml: its meaning, values, default and current value. Example: fab explain tls."""
        from ..verbs.texts import explain as verb

        verb.explain(typed.screen, Path.cwd(), key or "")

    return [provision, deploy, rollback, releases, history, restart, run, shell, maintenance, remove, logs, explain]


def tls_tasks(session: Session) -> Collection:
    @command(session, READING, reading=True, name="list", default=True)
    def tls_list(typed: Typed) -> None:
        """Show the site's certificate: its names, issuer and end date, and who renews it."""
        with typed.verb("tls") as (verb, call):
            verb.tls(call)

    @command(
        session,
        RENEWING,
        name="renew",
        help={"compromised": "the key is no longer secret: also revoke the old certificate"},
    )
    def tls_renew(typed: Typed, compromised: bool = False) -> None:
        """Get a new certificate with a new key now. The server also renews it automatically in time."""
        with typed.verb("tls") as (verb, call):
            verb.renew(call, compromised)

    return Collection("tls", tls_list, tls_renew)


def stage_task(session: Session, name: str) -> Any:
    """`fab NAME deploy` works on the stage NAME."""

    def choose(c: Any) -> None:
        with telling(c):
            session.stage_name = session.config().stage(name).name

    choose.__doc__ = as_typed(f"Work on the stage {name}: fab {name} deploy.")
    return task(name=name)(choose)
