"""Ashore takes a Python web app from localhost to a live server.

    fab sandbox provision deploy      try it on a throwaway server on this machine
    fab provision deploy              on the stage `production` of deploy.toml
    fab staging deploy                on another stage
    fab -H root@203.0.113.10 deploy   on a host named there and then

`fab --help COMMAND` tells of a command's options. Every command can be run again: what is done is left alone.
"""

import atexit
import gc
import sys
from typing import Any

from fabric import task
from invoke.collection import Collection
from invoke.exceptions import Exit

from deploy.ci.task import ci_tasks
from deploy.commandline import CHANGING, JSON, WAIT, left_out, listing, stage_names, telling
from deploy.errors import Interrupted
from deploy.sandbox_tasks import sandbox_tasks
from deploy.session import Session

SESSION = Session()  # Invoke hands tasks nothing of each other's; one connection serves a whole command line
atexit.register(gc.freeze)  # last of all: a process that ends need not look for garbage first (20 ms)
atexit.register(SESSION.close)


def options(check: bool = False, force: bool = False, wait: bool = False) -> Any:
    from deploy.carry import Options

    return Options(check, force, wait)


SWITCHING = {key: value for key, value in CHANGING.items() if key != "check"}


@task(help=CHANGING)
def provision(
    c: Any, check: bool = False, force: bool = False, wait: bool = False, json: bool = False, verbose: bool = False
) -> None:
    """Make a server ready for the app and close it: packages, users, Nginx, uv, SSH by key, a firewall. First, once."""
    from deploy import verbs

    with telling(json, verbose) as screen:
        verbs.provision(SESSION, c, screen, options(check, force, wait))


@task(help=CHANGING)
def deploy(
    c: Any, check: bool = False, force: bool = False, wait: bool = False, json: bool = False, verbose: bool = False
) -> None:
    """Put the app's source live as a new release; the old one serves until it answers, and stays if it fails."""
    from deploy import verbs

    with telling(json, verbose) as screen:
        verbs.deploy(SESSION, c, screen, options(check, force, wait))


@task(
    positional=[] if left_out("rollback", r"\d{8}-\d{6}", sys.argv) else ["release"],
    help={"release": "its ID, from `fab releases`"} | CHANGING,
)
def rollback(
    c: Any,
    release: str | None = None,
    check: bool = False,
    force: bool = False,
    wait: bool = False,
    json: bool = False,
    verbose: bool = False,
) -> None:
    """Go back to the release before, or to another (fab rollback ID): its code, packages and environment."""
    from deploy import verbs

    with telling(json, verbose) as screen:
        verbs.rollback(SESSION, c, screen, options(check, force, wait), release or "")


@task(help={"json": JSON})
def releases(c: Any, json: bool = False) -> None:
    """List the releases: current, good, rolled back, failed; who made them, when and from which commit."""
    from deploy import verbs

    with telling(json) as screen:
        verbs.releases(SESSION, c, screen)


@task(help={"n": "how many lines (30; 0: all)", "json": JSON})
def history(c: Any, n: int = 30, json: bool = False) -> None:
    """List what was done to the app on its server: who, from where, what, how it ended, how long it took."""
    from deploy import verbs

    with telling(json) as screen:
        verbs.history(SESSION, c, screen, n)


@task(help=SWITCHING)
def restart(c: Any, force: bool = False, wait: bool = False, json: bool = False, verbose: bool = False) -> None:
    """Start the app anew, without losing a request: the same code and environment, in fresh processes."""
    from deploy import verbs

    with telling(json, verbose) as screen:
        verbs.restart(SESSION, c, screen, options(False, force, wait))


@task(
    positional=["state"],
    help={"state": "on or off", "allow": "addresses that still get through, beside yours", "json": JSON, "wait": WAIT},
)
def maintenance(c: Any, state: str, allow: str = "", wait: bool = False, json: bool = False) -> None:
    """Close the site to visitors, who get a 503 page, or open it again: fab maintenance on|off."""
    from deploy import verbs

    with telling(json) as screen:
        verbs.maintenance(SESSION, c, screen, options(wait=wait), state, allow)


@task(help={"command": "one line for /bin/sh"})
def run(c: Any, command: str) -> None:
    """Run a command beside the app, as its user with its environment, in its sandbox: fab run "flask db stats"."""
    from deploy import verbs

    with telling() as screen:
        raise Exit(code=verbs.run(SESSION, c, screen, ["/bin/sh", "-c", command]))


@task
def shell(c: Any) -> None:
    """Open a shell beside the app, as its user with its environment, in its sandbox."""
    from deploy import verbs

    with telling() as screen:
        raise Exit(code=verbs.shell(SESSION, c, screen))


@task(name="list", default=True, help={"json": JSON})
def tls_list(c: Any, json: bool = False) -> None:
    """Tell which certificate the site shows: for which names, from whom, until when, and who renews it."""
    from deploy import verbs

    with telling(json) as screen:
        verbs.tls(SESSION, c, screen)


@task(
    name="renew",
    help={"compromised": "its key is not secret any more: declare the old certificate void"}
    | {key: value for key, value in CHANGING.items() if key not in ("check", "force")},
)
def tls_renew(c: Any, compromised: bool = False, wait: bool = False, json: bool = False, verbose: bool = False) -> None:
    """Get a new certificate with a new key now, as the server does by itself in good time: fab tls.renew."""
    from deploy import verbs

    with telling(json, verbose) as screen:
        verbs.tls_renew(SESSION, c, screen, options(wait=wait), compromised)


@task(name="list", default=True, help={"json": JSON})
def env_list(c: Any, json: bool = False) -> None:
    """List the names in the app's environment and where each comes from; values are never shown."""
    from deploy import verbs

    with telling(json) as screen:
        verbs.env(SESSION, c, screen)


@task(
    name="set",
    positional=[] if left_out("env.set", r"[A-Z_][A-Z0-9_]*(=.*)?", sys.argv) else ["name"],
    help={"name": "whose value is asked for, or piped in", "file": "NAME=value lines; - is standard input"} | SWITCHING,
)
def env_set(
    c: Any,
    name: str | None = None,
    file: str = "",
    force: bool = False,
    wait: bool = False,
    json: bool = False,
    verbose: bool = False,
) -> None:
    """Set variables of the app's environment: fab env.set NAME. Makes a release with the same code."""
    from deploy import variables, verbs

    with telling(json, verbose) as screen:
        changes = variables.wanted(name or "", file)
        verbs.env_set(SESSION, c, screen, options(False, force, wait), "env.set", {**changes})


@task(
    name="unset",
    positional=["name"],
    help={"name": "what `fab env.set` has set"} | SWITCHING,
)
def env_unset(
    c: Any, name: str, force: bool = False, wait: bool = False, json: bool = False, verbose: bool = False
) -> None:
    """Take variables away that `fab env.set` has set: fab env.unset NAME."""
    from deploy import verbs

    with telling(json, verbose) as screen:
        verbs.env_set(SESSION, c, screen, options(False, force, wait), "env.unset", {name: None})


@task(
    help={
        "n": "how many lines (200)",
        "follow": "go on with new lines as they come, until Ctrl-C",
        "since": 'from when on, e.g. "1 hour ago", yesterday, "2026-11-20 10:00" (UTC)',
        "release": "of one release only, by its ID",
        "nginx": "Nginx's lines, too",
        "json": JSON,
    }
)
def logs(
    c: Any,
    follow: bool = False,
    n: int = 200,
    since: str = "",
    release: str = "",
    nginx: bool = False,
    json: bool = False,
) -> None:
    """Read what the app has written, from the server's journal."""
    from deploy import verbs

    with telling(json) as screen:
        try:
            verbs.logs(SESSION, c, screen, lines=n, since=since, follow=follow, release=release, nginx=nginx)
        except Interrupted:
            raise Exit(code=0) from None  # Ctrl-C is how one leaves a log


def stage_task(name: str) -> Any:
    """`fab NAME deploy` works on the stage NAME."""

    def choose(c: Any) -> None:
        with telling():
            SESSION.stage_name = SESSION.config().stage(name).name

    choose.__doc__ = f"Work on the stage {name}: fab {name} deploy."
    return task(name=name)(choose)


if listing(sys.argv[1:]):
    print(__doc__)  # Invoke's list of commands has no place for what they are for together

VERBS = (provision, deploy, rollback, releases, history, restart, run, shell, maintenance, logs)
ns = Collection(*VERBS, *(stage_task(name) for name in stage_names()))
ns.add_collection(Collection("env", env_list, env_set, env_unset))
ns.add_collection(Collection("tls", tls_list, tls_renew))
ns.add_collection(sandbox_tasks(SESSION))
ns.add_collection(ci_tasks(SESSION))
