"""SSH: one Fabric connection to a host whose key is known, and channels on it.

Fabric would accept any host key (`AutoAddPolicy`); here an unknown one is asked about, or refused where nobody can be
asked, and a changed one is always refused.
"""

import base64
import hashlib
import logging
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from fabric import Connection
from paramiko import (
    AuthenticationException,
    BadHostKeyException,
    HostKeys,
    MissingHostKeyPolicy,
    PKey,
    SSHClient,
    SSHException,
)
from paramiko.ssh_exception import NoValidConnectionsError

from .config import Stage
from .errors import ConnectionFailed

CONNECT_SECONDS = 15
PROOF_SECONDS = 12  # less than the server waits for a proof
DEAD_LINK_SECONDS = 30
UNREACHABLE = "is the server running, the address right, and port 22 open in its firewall?"
ASKING = threading.Lock()  # one question at a time, however many hosts

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # it would print tracebacks of what we explain
logging.getLogger("paramiko").propagate = False


def fingerprint(key: PKey) -> str:
    """As `ssh-keygen -lf` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


def address(connection: Connection) -> str:
    port = "" if connection.port == 22 else f":{connection.port}"
    return f"{connection.user}@{connection.host}{port}"


class Pinned(MissingHostKeyPolicy):
    """Takes a key that the config names; asks about another at a terminal, and writes down what was agreed to."""

    def __init__(self, stage: Stage, known_hosts: Path, ask: Callable[[str], str] | None) -> None:
        self.stage, self.known_hosts, self.ask = stage, known_hosts, ask

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
        found = fingerprint(key)
        if found in {known.rstrip("=") for known in self.stage.host_keys}:
            return
        if self.stage.host_keys:
            raise ConnectionFailed(
                f"{hostname} has another host key than deploy.toml expects",
                where=hostname,
                state="nothing was sent",
                hint="if the server was reinstalled, correct host_keys; otherwise somebody may be in between",
                detail=f"it shows {found} ({key.get_name()})\nexpected {', '.join(self.stage.host_keys)}",
            )
        if self.ask is None:
            raise ConnectionFailed(
                f"the host key of {hostname} is not known",
                where=hostname,
                state="nothing was sent",
                hint="compare it with what your provider shows (or, on the server's console,\n"
                "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`); then connect once at a terminal,\n"
                f'or write host_keys = ["{found}"] into the stage in deploy.toml',
                detail=f"it shows {found} ({key.get_name()})",
            )
        with ASKING:
            contact = f"First contact with {hostname}. Its {key.get_name()} host key is"
            if self.ask(f"{contact}\n  {found}\nIs it the right one? [yes/no] ").strip().lower() not in ("yes", "y"):
                raise ConnectionFailed(f"the host key of {hostname} was not accepted", hostname, "nothing was sent", "")
            self._write(hostname, key)

    def _write(self, hostname: str, key: PKey) -> None:
        self.known_hosts.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.known_hosts.open("a", encoding="utf-8") as file:
            file.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")


class Told(Pinned):
    """Takes the keys that the server has told on the connection that stands, and writes down one that was not known.

    sshd may come to offer another one of its keys: to whom only the old one is known, it would look like a stranger.
    own: lines "TYPE BASE64".
    """

    def __init__(self, stage: Stage, files: list[Path], own: tuple[str, ...]) -> None:
        super().__init__(stage, files[0], None)
        self.files, self.own = files, own

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
        known = HostKeys()
        for file in self.files:
            if file.is_file():
                known.load(str(file))
        found: Any = known.lookup(hostname) or {}
        if f"{key.get_name()} {key.get_base64()}" not in self.own or (self.stage.host_keys and not found):
            super().missing_host_key(client, hostname, key)
        elif self.stage.pin and found.get(key.get_name()) != key:
            self._write(hostname, key)


def again(made: Connection, stage: Stage, own: tuple[str, ...]) -> Connection:
    """An unopened second connection: the same address, user, keys and way there. own: see `Told`."""
    more = Connection(made.original_host, made.user, made.port, config=made.config, gateway=made.gateway)
    more.connect_timeout = PROOF_SECONDS
    # Not by the constructor: it would add the keys of ssh_config once more, and sshd lets one try six.
    more.connect_kwargs = {**made.connect_kwargs, "banner_timeout": PROOF_SECONDS, "auth_timeout": PROOF_SECONDS}
    more.client.set_missing_host_key_policy(Told(stage, known_hosts(more), own))
    return more


def known_hosts(made: Connection) -> list[Path]:
    """The operator's files of host keys; new ones are written to the first."""
    return [Path(name).expanduser() for name in made.ssh_config.get("userknownhostsfile", "~/.ssh/known_hosts").split()]


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
    files = known_hosts(made)
    if stage.pin:
        for file in [*files, Path("/etc/ssh/ssh_known_hosts")]:
            if file.is_file():
                made.client.load_system_host_keys(str(file))
    made.client.set_missing_host_key_policy(Pinned(stage, files[0], ask))


def terminal_question() -> Callable[[str], str] | None:
    """A way to ask a person, or None where there is none."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None

    def ask(question: str) -> str:
        sys.stderr.write(question)
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
    except BadHostKeyException as error:
        raise ConnectionFailed(
            f"the host key of {made.host} has CHANGED",
            where,
            "nothing was sent",
            f"if you know why (the server was reinstalled), forget the old one: ssh-keygen -R '{error.hostname}';\n"
            "if you do not, somebody may be in between: ask your provider",
            f"known   {fingerprint(error.expected_key)}\nit shows {fingerprint(error.key)}",
        ) from error
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
