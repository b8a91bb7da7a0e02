"""A second login while the first one is open: it must work before a server keeps a change of its SSH access."""

from threading import Timer
from typing import Any

from ..agent.events import Prove
from ..connection.ssh import PROOF_SECONDS
from ..errors import NOTHING, DeployError, HostError
from .session import Host, agent_of


def require_key(host: Host) -> None:
    """Refuse a login by password, which would stop working, before anything is changed."""
    if agent_of(host).link.by_password:
        login = f"{host.made.user}@{host.made.host}"
        raise HostError(
            f"you are logged in to {host.made.host} with a password, and `fab provision` allows SSH keys only",
            agent_of(host).where,
            NOTHING,
            f"first copy your key to the server: ssh-copy-id {login} (`ssh-keygen` creates a key)",
        )


def answer(host: Host, event: Prove) -> None:
    """Tell the server whether a new login works."""
    agent_of(host).send(prove(host, event))


def prove(host: Host, event: Prove) -> dict[str, Any]:
    """Log in again, become root as before, and return the answer to the server's event `prove`."""
    try:
        log_in(host, tuple(" ".join(key.split()[:2]) for key in event["keys"]))
    except DeployError as error:
        why = f"{error.what} ({detail})" if (detail := error.detail.strip().partition("\n")[0]) else error.what
        return {"request": "proved", "step": event["step"], "ok": False, "why": why, "hint": error.hint}
    return {"request": "proved", "step": event["step"], "ok": True, "why": "", "hint": ""}


def log_in(host: Host, own: tuple[str, ...]) -> None:
    agent = agent_of(host)
    link = agent.link.again(own)
    late = Timer(PROOF_SECONDS, link.close)  # sudo, or what sshd does for a login, can hang
    late.daemon = True
    late.start()
    try:
        password = agent.password
        become = "" if link.user == "root" else 'sudo -S -p "" ' if password else "sudo -n "
        command = link.start(f"{become}true")
        if become and password:
            command.send(password.value.encode() + b"\n")
        status, errors = command.end()
        if status:
            how = f"exited with {status}" if status > 0 else f"did not end within {PROOF_SECONDS} s"
            raise HostError(f"{link.user} could log in, but `{become}true` {how}", link.where, "", "", errors)
    finally:
        late.cancel()
        link.close()
