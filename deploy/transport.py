"""SSH: one Fabric connection to a host whose key is known (see `host_keys`), and channels on it."""

import logging
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fabric import Connection
from paramiko import AuthenticationException, SSHException, Transport
from paramiko.ssh_exception import NoValidConnectionsError

from .config import Stage
from .errors import ConnectionFailed
from .host_keys import Lookup, Pinned, Told, preferred
from .visible import visible

CONNECT_SECONDS = 15
PROOF_SECONDS = 12  # less than the server waits for a proof
DEAD_LINK_SECONDS = 30
UNREACHABLE = "is the server running, the address right, and port 22 open in its firewall?"

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # it would print tracebacks of what we explain
logging.getLogger("paramiko").propagate = False


def address(connection: Connection) -> str:
    port = "" if connection.port == 22 else f":{connection.port}"
    return f"{connection.user}@{connection.host}{port}"


def again(made: Connection, stage: Stage, own: tuple[str, ...]) -> Connection:
    """An unopened second connection: the same address, user, keys and way there. own: see `Told`."""
    more = Connection(made.original_host, made.user, made.port, config=made.config, gateway=made.gateway)
    more.connect_timeout = PROOF_SECONDS
    # Not by the constructor: it would add the keys of ssh_config once more, and sshd lets one try six.
    more.connect_kwargs = {**made.connect_kwargs, "banner_timeout": PROOF_SECONDS, "auth_timeout": PROOF_SECONDS}
    more.client.set_missing_host_key_policy(Told(Lookup.of(more, stage), own))
    return more


def connection(host: str, stage: Stage, config: Any, ask: Callable[[str], str] | None) -> Connection:
    """An unopened connection; `~/.ssh/config`, -i and the other options of `fab` are in Fabric's config."""
    arguments: dict[str, Any] = {}
    if stage.key_file:
        arguments["connect_kwargs"] = {"key_filename": stage.key_file, "look_for_keys": False, "allow_agent": False}
    made = Connection(host, config=config, **arguments)
    hop = made
    while isinstance(hop, Connection):
        hop.connect_timeout = hop.connect_timeout or CONNECT_SECONDS
        trust(hop, stage, ask)
        hop = hop.gateway
    return made


def trust(made: Connection, stage: Stage, ask: Callable[[str], str] | None) -> None:
    policy = Pinned(Lookup.of(made, stage), ask)
    made.client.set_missing_host_key_policy(policy)

    def transport(*arguments: Any, **options: Any) -> Transport:
        opened = Transport(*arguments, **options)
        security = opened.get_security_options()
        security.key_types = preferred(policy.types, tuple(security.key_types))
        return opened

    made.connect_kwargs = {**made.connect_kwargs, "transport_factory": transport}


def terminal_question() -> Callable[[str], str] | None:
    """A way to ask a person, or None where there is none."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    def ask(question: str) -> str:
        sys.stderr.write(visible(question))
        sys.stderr.flush()
        return sys.stdin.readline()

    return ask


def opened(made: Connection) -> Connection:
    """The connection, open; or ConnectionFailed with what was in the way."""
    where = address(made)
    try:
        made.open()
    except ConnectionFailed:
        raise
    except AuthenticationException as error:
        raise ConnectionFailed(
            f"{made.host} does not let {made.user} in with the keys that were offered",
            where,
            "nothing was changed",
            f"is the user right (root, debian, ubuntu, …)? Does `ssh {made.user}@{made.host}` work?\n"
            "Name a key with -i, or IdentityFile in ~/.ssh/config; a new server wants `ssh-copy-id` first",
            str(error),
        ) from error
    except NoValidConnectionsError as error:
        reasons = {str(getattr(reason, "strerror", "") or reason) for reason in error.errors.values()}
        if any(isinstance(reason, ConnectionRefusedError) for reason in error.errors.values()):
            what, hint = (
                f"{made.host} refuses connections on port {made.port}",
                "is sshd running there, and is this its port?",
            )
        else:
            what, hint = f"{made.host} cannot be reached: {', '.join(sorted(reasons))}", UNREACHABLE
        raise ConnectionFailed(what, where, "nothing was changed", hint) from error
    except ConnectionRefusedError as error:
        hint = "is sshd running there, and is this its port?"
        raise ConnectionFailed(
            f"{made.host} refuses connections on port {made.port}", where, "nothing was changed", hint
        ) from error
    except socket.gaierror as error:
        hint = "is it spelled right in deploy.toml? A new domain can take an hour to be known"
        raise ConnectionFailed(
            f"the name {made.host} is not known ({error.strerror})", where, "nothing was changed", hint
        ) from error
    except TimeoutError as error:
        what = f"{made.host} did not answer within {made.connect_timeout} s"
        raise ConnectionFailed(what, where, "nothing was changed", UNREACHABLE) from error
    except (SSHException, OSError, EOFError) as error:
        raise no_session(made, error) from error
    quick(made)
    return made


def no_session(made: Connection, error: Exception) -> ConnectionFailed:
    what = f"no SSH session with {made.host}: {error or 'it hung up'}"
    return ConnectionFailed(what, address(made), "nothing was changed", "run the same command again")


def quick(made: Connection) -> None:
    """Small packets at once, and a dead link noticed within DEAD_LINK_SECONDS, where the platform can."""
    sock = made.transport.sock
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_LINK_SECONDS * 1000)
    made.transport.set_keepalive(DEAD_LINK_SECONDS // 2)


class Command:
    """A command on a host with its pipes: bytes in, lines out, and what it said on stderr."""

    def __init__(self, made: Connection, command: str) -> None:
        try:
            self.channel = made.create_session()
            self.channel.exec_command(command)
        except (SSHException, OSError, EOFError) as error:
            raise no_session(made, error) from error
        self.errors = b""
        self.sending = threading.Lock()
        self.spoke = threading.Condition()
        self._drain = threading.Thread(target=self._read_errors, daemon=True)
        self._drain.start()  # or it stalls once its stderr fills the window
        self._buffer = b""

    def _read_errors(self) -> None:
        while data := self.channel.recv_stderr(1 << 16):
            with self.spoke:
                self.errors += data
                self.spoke.notify_all()
        with self.spoke:
            self.spoke.notify_all()

    def send(self, data: bytes) -> None:
        """All of it, with nothing of another thread in between. If the other side has gone, `line` and `end` tell."""
        with self.sending, suppress(OSError, EOFError):
            self.channel.sendall(data)

    def line(self) -> bytes | None:
        """The next line of its output; None at the end."""
        while b"\n" not in self._buffer:
            try:
                data = self.channel.recv(1 << 16)
            except (OSError, EOFError):
                return None
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def end(self) -> tuple[int, str]:
        """Its exit status and stderr, once it has ended; -1 where the link ended first."""
        status = self.channel.recv_exit_status()
        self._drain.join(5)
        return status, self.errors.decode(errors="replace")
