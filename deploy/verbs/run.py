"""`fab run` and `fab shell`: a command as the app: its user, environment and sandbox."""

from ..connection.terminal import Joined
from ..session.session import Call, Host, agent_of


def run(call: Call, command: list[str]) -> int:
    """A one-off command on the one host; its exit status. Nothing but its own output goes to stdout."""
    joined = Joined(call.app.name, command)
    joined.follow_window()
    statuses = []

    def run_on(host: Host) -> None:
        statuses.append(joined.run(agent_of(host)))

    call.run(run_on)
    return statuses[0]
