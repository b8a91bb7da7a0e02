"""Ashore takes a Python web app from localhost to a live server.

    fab sandbox provision deploy      try it on a throwaway server on this machine
    fab provision deploy              on the stage `production` of deploy.toml
    fab staging deploy                on another stage
    fab -H root@203.0.113.10 deploy   on a host named there and then

`fab --help COMMAND` tells of a command's options. Every command can be run again: what is done is left alone.
"""

import atexit
import gc
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fabric import task
from invoke.collection import Collection
from invoke.exceptions import Exit

from deploy.errors import DeployError, Interrupted
from deploy.screen import Screen
from deploy.session import Session

SESSION = Session()  # Invoke hands tasks nothing of each other's; one connection serves a whole command line
atexit.register(gc.freeze)  # last of all: a process that ends need not look for garbage first (20 ms)
atexit.register(SESSION.close)
CHECK = "show what would change, as diffs, and change nothing"
JSON = "one event a line, as JSON"
VERBOSE = "the output of the commands that run on the server, too"
OVERWRITE = "replace files that were edited by hand on the server (a copy stays beside each)"


@contextmanager
def telling(as_json: bool = False, verbose: bool = False) -> Iterator[Screen]:
    """A screen for one task; failures are told on it in the kit's words and end with a status that is not zero."""
    screen = Screen(as_json=as_json, verbose=verbose)
    try:
        yield screen
    except DeployError as error:
        screen.error(error)
        raise Exit(code=130 if isinstance(error, Interrupted) else 1) from None
    except KeyboardInterrupt:
        screen.error(Interrupted("interrupted", state="nothing was changed"))
        raise Exit(code=130) from None
    except BrokenPipeError:  # `fab logs | head`: whoever read has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Exit(code=0) from None


@task(help={"check": CHECK, "overwrite": OVERWRITE, "json": JSON, "verbose": VERBOSE})
def provision(c: Any, check: bool = False, overwrite: bool = False, json: bool = False, verbose: bool = False) -> None:
    """Make a server ready for the app: packages, users, directories, Nginx, uv, log limits. First of all, once."""
    from deploy import verbs

    with telling(json, verbose) as screen:
        verbs.provision(SESSION, c, screen, verbs.Options(check, overwrite))


@task(help={"check": CHECK, "overwrite": OVERWRITE, "json": JSON, "verbose": VERBOSE})
def deploy(c: Any, check: bool = False, overwrite: bool = False, json: bool = False, verbose: bool = False) -> None:
    """Put the app's source live as a new release; the old one serves until it answers, and stays if it fails."""
    from deploy import verbs

    with telling(json, verbose) as screen:
        verbs.deploy(SESSION, c, screen, verbs.Options(check, overwrite))


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


def stage_names() -> list[str]:
    """The stages of deploy.toml, as it stands; a broken file is told of by the task that reads it, not by --list."""
    try:
        text = Path("deploy.toml").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    return sorted(set(re.findall(r"^\s*\[stages\.([a-z][a-z0-9_-]*)", text, re.M)))


NAME = "which sandbox; several live side by side"
RELEASE = "Debian's release: bookworm (12) or trixie (13)"


@task(name="up", default=True, help={"name": NAME, "release": RELEASE, "json": JSON})
def sandbox_up(c: Any, name: str = "default", release: str = "bookworm", json: bool = False) -> None:
    """Work on a throwaway server on this machine, booting it first: fab sandbox provision deploy."""
    from deploy import sandbox
    from deploy.config import Stage

    with telling(json) as screen:
        machine = sandbox.up(name, release, say=screen.say)
        SESSION.sandbox = Stage(
            "sandbox",
            hosts=(f"{machine.user}@{machine.address}",),
            host_keys=(machine.host_key,),
            key_file=machine.key_file,
            pin=False,
        )


@task(name="down", help={"name": NAME})
def sandbox_down(c: Any, name: str = "default") -> None:
    """Stop the throwaway server; its disk is kept."""
    from deploy import sandbox

    with telling() as screen:
        screen.say(f"sandbox {name} is stopped" if sandbox.down(name) else f"sandbox {name} was not running")


@task(name="reset", help={"name": NAME, "release": RELEASE + "; as it was, if not said"})
def sandbox_reset(c: Any, name: str = "default", release: str = "") -> None:
    """Throw its disk away and boot it afresh."""
    from deploy import sandbox

    with telling() as screen:
        machine = sandbox.reset(name, release or None, say=screen.say)
        screen.say(f"sandbox {name} is fresh, at {machine.address}")


@task(name="shell", help={"name": NAME})
def sandbox_shell(c: Any, name: str = "default") -> None:
    """Open a shell on it, by SSH."""
    from deploy import sandbox

    with telling():
        raise Exit(code=sandbox.shell(name))


@task(name="list", help={"json": "one object a sandbox: name, address, user, key_file, host_key, state"})
def sandbox_list(c: Any, json: bool = False) -> None:
    """List the throwaway servers of this machine."""
    from deploy import sandbox

    with telling(json) as screen:
        machines = sandbox.machines()
        for machine in machines:
            text = f"{machine.name:<12} {machine.state:<8} {machine.address:<15} Debian {machine.release}"
            screen.result(dict(sandbox.as_json(machine)), text)
        if not machines and not json:
            screen.say("no sandbox; `fab sandbox` boots one")


def listing(words: list[str]) -> bool:
    """Whether the command line asks for the list of commands, for a person to read."""
    return bool({"-l", "--list"} & set(words)) and not any("format" in word or word == "-F" for word in words)


if listing(sys.argv[1:]):
    print(__doc__)  # Invoke's list of commands has no place for what they are for together

ns = Collection(provision, deploy, logs, *(stage_task(name) for name in stage_names()))
ns.add_collection(Collection("sandbox", sandbox_up, sandbox_down, sandbox_reset, sandbox_shell, sandbox_list))
