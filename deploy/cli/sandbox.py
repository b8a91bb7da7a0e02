"""The `fab sandbox` commands as typed. The sandbox itself is loaded only when one of them runs."""

from typing import Any

from fabric import task
from invoke.collection import Collection
from invoke.exceptions import Exit

from ..errors import ConfigError
from ..session.session import Session
from .options import JSON, telling

NAME = "name of the sandbox; there can be several"
RELEASE = "Debian release: bookworm (12) or trixie (13)"

DISK = "disk size of a new sandbox in megabytes (default 8000); space is used here only as it is written"
LEAST_MEGABYTES = 500  # a provisioned server takes 300


def checked(megabytes: int) -> int:
    if megabytes < LEAST_MEGABYTES:
        what = f"a disk of {megabytes} MB is too small for a sandbox"
        raise ConfigError(what, "--disk", hint=f"give it at least {LEAST_MEGABYTES} MB")
    return megabytes


def sandbox_tasks(session: Session) -> Collection:
    """The tasks; `session` is told which stage the machine is."""

    @task(name="up", default=True, help={"name": NAME, "release": RELEASE, "disk": DISK, "json": JSON})
    def sandbox_up(
        c: Any, name: str = "default", release: str = "bookworm", disk: int = 8000, json: bool = False
    ) -> None:
        """Boot a throwaway server on this machine; the commands that follow on the same line work on it."""
        from .. import sandbox

        with telling(c, json) as screen:
            machine = sandbox.up(name, release, say=screen.say, megabytes=checked(disk))
            session.sandbox = sandbox.stage(machine)

    @task(name="down", help={"name": NAME})
    def sandbox_down(c: Any, name: str = "default") -> None:
        """Stop the throwaway server; its disk is kept."""
        from .. import sandbox

        with telling(c) as screen:
            screen.say(f"sandbox {name} is stopped" if sandbox.down(name) else f"sandbox {name} was not running")

    @task(name="destroy", help={"name": NAME})
    def sandbox_destroy(c: Any, name: str = "default") -> None:
        """Stop the throwaway server and delete its disk."""
        from .. import sandbox

        with telling(c) as screen:
            sandbox.destroy(name)
            screen.say(f"sandbox {name} and its disk are deleted")

    @task(name="reset", help={"name": NAME, "release": RELEASE + "; by default the same as before", "disk": DISK})
    def sandbox_reset(c: Any, name: str = "default", release: str = "", disk: int = 8000) -> None:
        """Delete the throwaway server's disk and boot it again from a new one."""
        from .. import sandbox

        with telling(c) as screen:
            machine = sandbox.reset(name, release or None, say=screen.say, megabytes=checked(disk))
            screen.say(f"sandbox {name} was reset; its address is {machine.address}")

    @task(name="shell", help={"name": NAME})
    def sandbox_shell(c: Any, name: str = "default") -> None:
        """Open a shell on the throwaway server, over SSH."""
        from .. import sandbox

        with telling(c):
            raise Exit(code=sandbox.shell(name))

    @task(name="list", help={"json": "print a JSON object per sandbox: name, address, user, key_file, host_key, state"})
    def sandbox_list(c: Any, json: bool = False) -> None:
        """List the throwaway servers of this machine."""
        from .. import sandbox

        with telling(c, json, reading=True) as screen:
            machines = sandbox.machines()
            for machine in machines:
                text = f"{machine.name:<12} {machine.state:<8} {machine.address:<15} Debian {machine.release}"
                event: Any = {"event": "sandbox", "host": machine.name, **sandbox.as_json(machine)}
                screen.result(event, text)
            if not machines and not screen.as_json:
                screen.say("no sandbox; `fab sandbox` boots one")

    return Collection("sandbox", sandbox_up, sandbox_down, sandbox_destroy, sandbox_reset, sandbox_shell, sandbox_list)
