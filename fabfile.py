"""Ashore takes a Python web app from localhost to a live server.

    fab sandbox provision deploy      try it on a throwaway server on this machine
    fab provision deploy              on the stage `production` of deploy.toml
    fab staging deploy                on another stage
    fab -H root@203.0.113.10 deploy   on a host named there and then

`fab --help COMMAND` tells of a command's options. Every command can be run again: what is done is left alone.

Exit status: 0 it is done; 1 it failed; 2 `--check` found something that would change; 3 it is done, but visitors get
errors, or got some meanwhile; 130 Ctrl-C. `fab run` and `fab shell` end with the command's own.
"""

# ruff: noqa: E402
from deploy import interrupts

interrupts.take_over()  # before all else: what follows takes a while to load

import atexit
import gc
import sys
from typing import Any

from fabric import task
from fabric.main import program
from invoke.collection import Collection
from invoke.exceptions import Exit

from deploy.ci.task import ci_tasks
from deploy.commandline import (
    CHANGING,
    JSON,
    SWITCHING,
    ending,
    left_out,
    options,
    stage_names,
    telling,
)
from deploy.env_tasks import env_tasks
from deploy.errors import Interrupted
from deploy.misuse import explain_misuse, open_streams
from deploy.sandbox_tasks import sandbox_tasks
from deploy.session import Session

SESSION = Session()  # Invoke hands tasks nothing of each other's; one connection serves a whole command line
program.executor_class = ending(SESSION)
explain_misuse(program, __doc__)
open_streams()
atexit.register(gc.freeze)  # last of all: a process that ends need not look for garbage first (20 ms)
atexit.register(SESSION.close)


@task(help=CHANGING)
def provision(
    c: Any,
    check: bool = False,
    force: bool = False,
    wait: bool = False,
    break_lock: bool = False,
    json: bool = False,
    verbose: bool = False,
) -> None:
    """Make a server ready for the app and close it: packages, users, Nginx, uv, SSH by key, a firewall. First, once."""
    from deploy import verbs

    with telling(c, json, verbose, SESSION) as screen:
        verbs.provision(SESSION, c, screen, options(check, force, wait, break_lock))


@task(help=CHANGING)
def deploy(
    c: Any,
    check: bool = False,
    force: bool = False,
    wait: bool = False,
    break_lock: bool = False,
    json: bool = False,
    verbose: bool = False,
) -> None:
    """Put the app's source live as a new release; the old one serves until it answers, and stays if it fails."""
    from deploy import verbs

    with telling(c, json, verbose, SESSION) as screen:
        verbs.deploy(SESSION, c, screen, options(check, force, wait, break_lock))


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
    break_lock: bool = False,
    json: bool = False,
    verbose: bool = False,
) -> None:
    """Go back to the release before, or to another (fab rollback ID): its code, packages and environment."""
    from deploy import verbs

    with telling(c, json, verbose, SESSION) as screen:
        verbs.rollback(SESSION, c, screen, options(check, force, wait, break_lock), release or "")


@task(help={"json": JSON})
def releases(c: Any, json: bool = False) -> None:
    """List the releases: current, good, rolled back, failed; who made them, when and from which commit."""
    from deploy import verbs

    with telling(c, json, reading=True) as screen:
        verbs.releases(SESSION, c, screen)


@task(help={"n": "how many lines, the last ones (30; 0: all)", "json": JSON})
def history(c: Any, n: int = 30, json: bool = False) -> None:
    """List what was done to the app on its server: who, from where, what, how it ended, how long it took."""
    from deploy import verbs

    with telling(c, json, reading=True) as screen:
        verbs.history(SESSION, c, screen, n)


@task(help=SWITCHING)
def restart(
    c: Any,
    force: bool = False,
    wait: bool = False,
    break_lock: bool = False,
    json: bool = False,
    verbose: bool = False,
) -> None:
    """Start the app anew, without losing a request: the same code and environment, in fresh processes."""
    from deploy import verbs

    with telling(c, json, verbose) as screen:
        verbs.restart(SESSION, c, screen, options(False, force, wait, break_lock))


@task(
    positional=["state"],
    help={"state": "on or off", "allow": "addresses that still get through, beside yours"}
    | {key: CHANGING[key] for key in ("wait", "break_lock", "json")},
)
def maintenance(
    c: Any, state: str, allow: str = "", wait: bool = False, break_lock: bool = False, json: bool = False
) -> None:
    """Close the site to visitors, who get a 503 page, or open it again: fab maintenance on|off."""
    from deploy import verbs

    with telling(c, json) as screen:
        verbs.maintenance(SESSION, c, screen, options(wait=wait, break_lock=break_lock), state, allow)


@task(help={"command": "one line for /bin/sh"})
def run(c: Any, command: str) -> None:
    """Run a command beside the app, as its user with its environment, in its sandbox: fab run "flask db stats"."""
    from deploy import verbs

    with telling(c) as screen:
        raise Exit(code=verbs.run(SESSION, c, screen, ["/bin/sh", "-c", command]))


@task
def shell(c: Any) -> None:
    """Open a shell beside the app, as its user with its environment, in its sandbox."""
    from deploy import verbs

    with telling(c) as screen:
        raise Exit(code=verbs.shell(SESSION, c, screen))


@task(name="list", default=True, help={"json": JSON})
def tls_list(c: Any, json: bool = False) -> None:
    """Tell which certificate the site shows: for which names, from whom, until when, and who renews it."""
    from deploy import verbs

    with telling(c, json, reading=True) as screen:
        verbs.tls(SESSION, c, screen)


@task(
    name="renew",
    help={"compromised": "its key is not secret any more: declare the old certificate void"}
    | {key: value for key, value in CHANGING.items() if key not in ("check", "force")},
)
def tls_renew(
    c: Any,
    compromised: bool = False,
    wait: bool = False,
    break_lock: bool = False,
    json: bool = False,
    verbose: bool = False,
) -> None:
    """Get a new certificate with a new key now, as the server does by itself in good time: fab tls.renew."""
    from deploy import verbs

    with telling(c, json, verbose) as screen:
        verbs.tls_renew(SESSION, c, screen, options(wait=wait, break_lock=break_lock), compromised)


@task(
    help={
        "n": "how many lines, the last ones (200; 0: all)",
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

    with telling(c, json, reading=True) as screen:
        try:
            verbs.logs(SESSION, c, screen, lines=n, since=since, follow=follow, release=release, nginx=nginx)
        except Interrupted:
            raise Exit(code=0) from None  # Ctrl-C is how one leaves a log


def stage_task(name: str) -> Any:
    """`fab NAME deploy` works on the stage NAME."""

    def choose(c: Any) -> None:
        with telling(c):
            SESSION.stage_name = SESSION.config().stage(name).name

    choose.__doc__ = f"Work on the stage {name}: fab {name} deploy."
    return task(name=name)(choose)


VERBS = (provision, deploy, rollback, releases, history, restart, run, shell, maintenance, logs)
ns = Collection(*VERBS, *(stage_task(name) for name in stage_names()))
ns.add_collection(env_tasks(SESSION))
ns.add_collection(Collection("tls", tls_list, tls_renew))
ns.add_collection(sandbox_tasks(SESSION))
ns.add_collection(ci_tasks(SESSION))
