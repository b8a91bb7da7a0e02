"""A new login while the old one is held: what must work before a server may keep a change of its own door."""

from threading import Timer

from ..agent.wire import Secret
from ..connection.agent import Event
from ..connection.ssh import PROOF_SECONDS, Command, address, again, opened
from ..errors import DeployError, HostError
from .session import Host

PASSWORDS = ("password", "keyboard-interactive")


def require_key(host: Host) -> None:
    """Whoever got in with a password would not get in any more: that is told before anything is changed."""
    handler = getattr(host.made.transport, "auth_handler", None)
    if getattr(handler, "auth_method", "") in PASSWORDS:
        raise HostError(
            f"you are logged in on {host.made.host} with a password, and `fab provision` has SSH take keys only",
            address(host.made),
            "nothing was changed",
            f"give the server your key first: ssh-copy-id {host.made.user}@{host.made.host} (`ssh-keygen` makes one)",
        )


def answer(host: Host, event: Event) -> None:
    """Tell the server whether a new login works."""
    if host.agent is not None:
        host.agent.send(prove(host, event))


def prove(host: Host, event: Event) -> Event:
    """Log in once more, become root as before, and answer the server's question of that name."""
    try:
        log_in(host, tuple(" ".join(key.split()[:2]) for key in event["keys"]))
    except DeployError as error:
        why = f"{error.what} ({detail})" if (detail := error.detail.strip().partition("\n")[0]) else error.what
        return {"request": "proved", "step": event["step"], "ok": False, "why": why, "hint": error.hint}
    return {"request": "proved", "step": event["step"], "ok": True, "why": "", "hint": ""}


def log_in(host: Host, own: tuple[str, ...]) -> None:
    made = opened(again(host.made, host.stage, own))
    late = Timer(PROOF_SECONDS, made.client.close)  # sudo, or what sshd does for a login, can hang
    late.daemon = True
    late.start()
    try:
        password = Secret(host.agent.password) if host.agent and host.agent.password else None
        become = "" if made.user == "root" else 'sudo -S -p "" ' if password else "sudo -n "
        command = Command(made, f"{become}true")
        if become and password:
            command.send(password.value.encode() + b"\n")
        status, errors = command.end()
        if status:
            how = f"exited with {status}" if status > 0 else f"did not end within {PROOF_SECONDS} s"
            raise HostError(f"{made.user} got in, but `{become}true` {how}", address(made), "", "", errors)
    finally:
        late.cancel()
        made.client.close()  # not made.close(): that would close the gateway, which the old login goes through
