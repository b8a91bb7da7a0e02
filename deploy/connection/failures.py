"""What can go wrong with an agent: it does not start, the link to it drops, the plan fails."""

from ..agent.events import End
from ..agent.wire import Secret
from ..errors import ConnectionFailed, HostError, StepFailed
from .payload import Status, plain


def not_started(status: int, errors: str, user: str, password: Secret | None, where: str) -> HostError:
    """Why the agent did not start. status: what its command exited with, -1 where the link ended first."""
    quoted = plain(errors)
    hint = f"connect as root, or let {user} use sudo (`usermod -aG sudo {user}`, as root)"
    if status == Status.NO_SUDO:
        what = f"{user} is not root, and sudo is not installed on the server"
    elif status == Status.OLD_PYTHON:
        what, hint = (
            f"the server's Python is {quoted}; Ashore needs 3.10 or later",
            "use Debian 12 or Ubuntu 22.04, or later",
        )
    elif "password is required" in errors:
        what = f"sudo on the server needs {user}'s password"
        hint = "run it at a terminal, where you are asked once, or use --prompt-for-sudo-password"
    elif password is not None and ("try again" in errors or "incorrect password" in errors):
        what, quoted = f"sudo did not accept the password of {user}", ""
        hint = "run the same command again and retype it"
    elif "sudoers" in errors or "not allowed" in errors or "may not run" in errors:
        what = f"{user} may not use sudo on the server"
    elif status == -1:
        what, hint = "the connection was lost while the agent was starting", "run the same command again"
    else:
        what, hint = f"the agent did not start (exit status {status})", "see the server's output above"
    return HostError(what, where, "nothing was changed", hint, quoted)


def dropped(status: int, errors: str, where: str) -> ConnectionFailed:
    """For a conversation that ended before the answer. status: the agent's, -1 where the link ended first."""
    return ConnectionFailed(
        "the SSH connection was lost" if status == -1 else f"the agent ended too early (exit status {status})",
        where,
        "the server finishes or undoes by itself what it had started",
        "run the same command again: it shows how this run ended, and finishes it",
        plain(errors),
    )


def failure(end: End, where: str) -> StepFailed:
    """The error that an agent's "end" tells of; its `state` says how the plan left the server."""
    if "stands" in end:
        state = end["stands"]
    elif not end["applied"]:
        state = "nothing was changed"
    elif "serves" in end and not end["switched"]:
        state = ""  # see `session.execute.left_as`
    elif end.get("undo_errors"):
        state = "not everything could be undone:\n" + "\n".join(end["undo_errors"])
    elif end["switched"]:
        state = "the new release serves; the steps after the switch were not finished"
    else:
        state = ""
    step = f"{where}, step: {end['step']}" if end["step"] else where
    return StepFailed(end["what"], step, state, end["hint"], end["detail"])
