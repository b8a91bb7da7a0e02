"""SSH: one Fabric connection to a host whose key is known (see `host_keys`)."""

import atexit
import logging
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fabric import Connection
from paramiko import Agent as AgentKeys
from paramiko import AuthenticationException, PKey, SSHException
from paramiko.ssh_exception import NoValidConnectionsError

from ..agent.wire import Secret
from ..config.reader import Stage
from ..config.values import login
from ..errors import ConfigError, ConnectionFailed
from ..screen.visible import visible
from .channel import LINK_ERRORS, Channel
from .host_keys import KeyLookup, Pinned, Told, preferred
from .pipelined import AHEAD_BYTES, PipelinedTransport, ask_for

CONNECT_SECONDS = 15
PROOF_SECONDS = 12  # less than the server waits for a proof
PASSWORDS = ("password", "keyboard-interactive")
DEAD_LINK_SECONDS = 30
WEAK = ("-cbc", "-md5", "-96")
UNREACHABLE = "is the server running, is the address right, and is port 22 open in its firewall?"

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # it would print tracebacks of errors that we explain
logging.getLogger("paramiko").propagate = False


def address(connection: Connection, user: str = "") -> str:
    """As -H and deploy.toml take it. user: another one than the connection's."""
    port = "" if connection.port == 22 else f":{connection.port}"
    host = f"[{connection.host}]" if ":" in connection.host else connection.host
    return f"{user or connection.user}@{host}{port}"


def again(made: Connection, stage: Stage, own: tuple[str, ...]) -> Connection:
    """An unopened second connection: the same address, user, keys and jump hosts. own: see `Told`."""
    more = Connection(made.original_host, made.user, made.port, config=made.config, gateway=made.gateway)
    more.connect_timeout = PROOF_SECONDS
    # Not by the constructor: it would add the keys of ssh_config once more, and sshd lets one try six.
    more.connect_kwargs = {**made.connect_kwargs, "banner_timeout": PROOF_SECONDS, "auth_timeout": PROOF_SECONDS}
    more.client.set_missing_host_key_policy(Told(KeyLookup.of(more, stage), own))
    return more


def connection(host: str, stage: Stage, config: Any, ask: Callable[[str], str] | None) -> Connection:
    """An unopened connection; `~/.ssh/config`, -i and the other options of `fab` are in Fabric's config."""
    arguments: dict[str, Any] = {}
    if stage.key_file:
        arguments["connect_kwargs"] = {"key_filename": stage.key_file, "look_for_keys": False, "allow_agent": False}
    user, name, port = login(host)
    try:
        made = Connection(name, user or None, port or None, config=config, **arguments)
    except ValueError as error:
        what = f"the SSH config has an invalid port for {host}: {error}"
        hint = f"check Port and ProxyJump in ~/.ssh/config; `ssh -G {host}` shows what ssh reads"
        raise ConfigError(what, "~/.ssh/config", hint=hint) from None
    hop = made
    while isinstance(hop, Connection):
        hop.connect_timeout = hop.connect_timeout or CONNECT_SECONDS
        trust(hop, stage, ask)
        hop = hop.gateway
    return made


def trust(made: Connection, stage: Stage, ask: Callable[[str], str] | None) -> None:
    policy = Pinned(KeyLookup.of(made, stage), ask)
    made.client.set_missing_host_key_policy(policy)

    def transport(*arguments: Any, **options: Any) -> PipelinedTransport:
        opened = PipelinedTransport(*arguments, **options)
        security = opened.get_security_options()
        security.key_types = preferred(policy.types, tuple(security.key_types))
        security.ciphers, security.digests = sound(security.ciphers), sound(security.digests)
        return opened

    made.connect_kwargs = {**made.connect_kwargs, "transport_factory": transport}


def send_ahead(made: Connection) -> None:
    """Let the connection, which is not open yet, prepare for a large upload. See `PipelinedTransport`."""
    factory = made.connect_kwargs.get("transport_factory", PipelinedTransport)

    def transport(*arguments: Any, **options: Any) -> PipelinedTransport:
        opened: PipelinedTransport = factory(*arguments, **options)
        opened.ahead_bytes = AHEAD_BYTES
        return opened

    made.connect_kwargs = {**made.connect_kwargs, "transport_factory": transport}


def sound(names: Iterable[str]) -> tuple[str, ...]:
    """Of SSH's algorithms, those that OpenSSH offers, too: none with CBC, MD5 or a truncated MAC."""
    return tuple(name for name in names if not any(weak in name for weak in WEAK))


def terminal_question() -> Callable[[str], str] | None:
    """A way to ask a person, or None where there is none."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    def ask(question: str) -> str:
        sys.stderr.write(visible(question))
        sys.stderr.flush()
        return sys.stdin.readline()

    return ask


def restored_at_exit() -> None:
    """Restore the terminal's echo at exit, also if Ctrl-C ends `fab` while a thread asks for a password."""
    with suppress(ImportError):
        import termios

        atexit.register(termios.tcsetattr, sys.stdin.fileno(), termios.TCSANOW, termios.tcgetattr(sys.stdin))


def opened(made: Connection) -> Connection:
    """Open the connection; ConnectionFailed says why it failed."""
    where = address(made)
    try:
        made.open()
    except ConnectionFailed:
        raise
    except AuthenticationException as error:
        if offers_nothing(made):
            raise no_key(made) from error
        raise ConnectionFailed(
            f"{made.host} accepts none of the offered keys for {made.user}",
            where,
            "nothing was changed",
            f"is the user right (root, debian, ubuntu, …)? Does `ssh {made.user}@{made.host}` work?\n"
            "Name a key with -i, or IdentityFile in ~/.ssh/config; a new server needs `ssh-copy-id` first",
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
        hint = "is it spelled right in deploy.toml? A new domain can take an hour to work"
        raise ConnectionFailed(
            f"DNS does not know the host {made.host} ({error.strerror})", where, "nothing was changed", hint
        ) from error
    except TimeoutError as error:
        what = f"{made.host} did not answer within {made.connect_timeout} s"
        raise ConnectionFailed(what, where, "nothing was changed", UNREACHABLE) from error
    except LINK_ERRORS as error:
        if isinstance(error, FileNotFoundError) and error.filename in named_keys(made):
            raise missing_key(made, error.filename) from error
        if isinstance(error, SSHException) and greeted(made) and offers_nothing(made):
            raise no_key(made) from error
        raise no_session(made, error) from error
    quick(made)
    return made


MAKE_KEY = "ssh-keygen -t ed25519"


def greeted(made: Connection) -> bool:
    """Whether the server was reached and its key accepted, so that the failure is on our side."""
    transport = made.client.get_transport()
    return transport is not None and bool(transport.initial_kex_done)


def named_keys(made: Connection) -> list[str]:
    named = made.connect_kwargs.get("key_filename") or []
    return [named] if isinstance(named, str) else list(named)


def offers_nothing(made: Connection) -> bool:
    """Whether there is no key at all: none was named, none is in ~/.ssh, and no agent has one."""
    if named_keys(made) or made.connect_kwargs.get("pkey") or made.connect_kwargs.get("password"):
        return False
    if any((Path.home() / ".ssh" / f"id_{kind}").exists() for kind in ("ed25519", "ecdsa", "rsa")):
        return False
    return not AgentKeys().get_keys()


def no_key(made: Connection) -> ConnectionFailed:
    port = "" if made.port == 22 else f"-p {made.port} "
    hint = (
        f"create one: {MAKE_KEY}\ncopy it: ssh-copy-id {port}{made.user}@{made.host} (it asks for the password there)\n"
        "or paste ~/.ssh/id_ed25519.pub into your provider's control panel; for a key elsewhere, use -i"
    )
    what = f"there is no SSH key for {made.host}: none in ~/.ssh, none in an agent, none named"
    return ConnectionFailed(what, address(made), "nothing was changed", hint)


def missing_key(made: Connection, path: str) -> ConnectionFailed:
    """For a key that was named: ssh ignores a missing key, paramiko does not."""
    hint = f"name another one (-i, IdentityFile in ~/.ssh/config, key_file), or create it: {MAKE_KEY} -f {path}"
    return ConnectionFailed(f"the SSH key {path} does not exist", address(made), "nothing was changed", hint)


def no_session(made: Connection, error: Exception) -> ConnectionFailed:
    what = f"no SSH session with {made.host}: {error or 'the server closed the connection'}"
    return ConnectionFailed(what, address(made), "nothing was changed", "run the same command again")


def quick(made: Connection) -> None:
    """Send small packets at once, and detect a dead connection within DEAD_LINK_SECONDS, if the platform can.

    Through jump hosts, the link that can die is the one to the first of them.
    """
    hop = made
    while isinstance(hop, Connection):
        sock = hop.transport.sock
        if isinstance(sock, socket.socket):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_LINK_SECONDS * 1000)
        hop.transport.set_keepalive(DEAD_LINK_SECONDS // 2)
        hop = hop.gateway


class SshLink:
    """A host over SSH, with the connection open: see `channel.Link`."""

    def __init__(self, made: Connection, stage: Stage) -> None:
        self.made, self.stage = made, stage
        self.user, self.where = made.user, address(made)
        typed = made.config.sudo.password  # by --prompt-for-sudo-password
        self.password = Secret(typed) if typed is not None else None

    @classmethod
    def to(cls, made: Connection, stage: Stage) -> "SshLink":
        return cls(opened(made), stage)

    @property
    def alive(self) -> bool:
        return bool(self.made.is_connected)

    @property
    def peer(self) -> str:
        if self.made.gateway:
            return ""
        return str(self.made.transport.sock.getpeername()[0]).removeprefix("::ffff:").partition("%")[0]

    @property
    def host_key(self) -> PKey:
        key: PKey = self.made.transport.get_remote_server_key()
        return key

    @property
    def by_password(self) -> bool:
        handler = getattr(self.made.transport, "auth_handler", None)
        return getattr(handler, "auth_method", "") in PASSWORDS

    def start(self, command: str) -> Channel:
        try:
            session = self.made.create_session()
            ask_for(session, command)
        except LINK_ERRORS as error:
            raise no_session(self.made, error) from error
        return Channel(session)

    def again(self, own: tuple[str, ...]) -> "SshLink":
        return SshLink.to(again(self.made, self.stage, own), self.stage)

    def close(self) -> None:
        self.made.client.close()  # not made.close(): that would close the gateway, which others go through
