"""`fab sandbox` and its kin. Nothing of the sandbox itself is loaded before one of them runs."""

from typing import Any

from fabric import task
from invoke.collection import Collection
from invoke.exceptions import Exit

from .commandline import JSON, telling
from .session import Session

NAME = "which sandbox; several live side by side"
RELEASE = "Debian's release: bookworm (12) or trixie (13)"


def sandbox_tasks(session: Session) -> Collection:
    """The tasks; `session` is told which stage the machine is."""

    @task(name="up", default=True, help={"name": NAME, "release": RELEASE, "json": JSON})
    def sandbox_up(c: Any, name: str = "default", release: str = "bookworm", json: bool = False) -> None:
        """Work on a throwaway server on this machine, booting it first: fab sandbox provision deploy."""
        from . import sandbox

        with telling(json) as screen:
            machine = sandbox.up(name, release, say=screen.say)
            session.sandbox = sandbox.stage(machine)

    @task(name="down", help={"name": NAME})
    def sandbox_down(c: Any, name: str = "default") -> None:
        """Stop the throwaway server; its disk is kept."""
        from . import sandbox

        with telling() as screen:
            screen.say(f"sandbox {name} is stopped" if sandbox.down(name) else f"sandbox {name} was not running")

    @task(name="reset", help={"name": NAME, "release": RELEASE + "; as it was, if not said"})
    def sandbox_reset(c: Any, name: str = "default", release: str = "") -> None:
        """Throw its disk away and boot it afresh."""
        from . import sandbox

        with telling() as screen:
            machine = sandbox.reset(name, release or None, say=screen.say)
            screen.say(f"sandbox {name} is fresh, at {machine.address}")

    @task(name="shell", help={"name": NAME})
    def sandbox_shell(c: Any, name: str = "default") -> None:
        """Open a shell on it, by SSH."""
        from . import sandbox

        with telling():
            raise Exit(code=sandbox.shell(name))

    @task(name="list", help={"json": "one object a sandbox: name, address, user, key_file, host_key, state"})
    def sandbox_list(c: Any, json: bool = False) -> None:
        """List the throwaway servers of this machine."""
        from . import sandbox

        with telling(json) as screen:
            machines = sandbox.machines()
            for machine in machines:
                text = f"{machine.name:<12} {machine.state:<8} {machine.address:<15} Debian {machine.release}"
                screen.result(dict(sandbox.as_json(machine)), text)
            if not machines and not json:
                screen.say("no sandbox; `fab sandbox` boots one")

    return Collection("sandbox", sandbox_up, sandbox_down, sandbox_reset, sandbox_shell, sandbox_list)
