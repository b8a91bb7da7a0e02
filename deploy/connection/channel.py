"""Bytes to and from a command on a host: over SSH, or in a child process of this machine."""

import os
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from paramiko import PKey, SSHException

from ..agent.wire import Secret

LEAVE_SECONDS = 1  # for the last message
LINK_ERRORS = (SSHException, OSError, EOFError)  # what a link can end in, as paramiko tells it


class Pipes(Protocol):
    """The three pipes of a command and its end, as paramiko's Channel has them."""

    @property
    def closed(self) -> bool: ...
    def recv(self, size: int) -> bytes: ...
    def recv_stderr(self, size: int) -> bytes: ...
    def sendall(self, data: bytes) -> None: ...
    def shutdown_write(self) -> None: ...
    def settimeout(self, seconds: float) -> None: ...
    def recv_exit_status(self) -> int: ...


class HostLink(Protocol):
    """A host that can run commands. where: as in -H and deploy.toml. password: sudo's, if known."""

    user: str
    where: str
    password: Secret | None

    @property
    def alive(self) -> bool: ...

    @property
    def peer(self) -> str:
        """The server's address as this machine reaches it; "" through a jump host, whose view is another."""

    @property
    def host_key(self) -> PKey | None:
        """The server's; None where no key was needed to know it."""

    @property
    def by_password(self) -> bool:
        """Whether it was a password that let us in."""

    def start(self, command: str) -> "Channel": ...

    def again(self, own: tuple[str, ...]) -> "HostLink":
        """A second login in the same way, while this one is open. own: see `host_keys.Told`."""

    def close(self) -> None: ...


class Channel:
    """A command on a host: bytes in, lines out, and what it said on stderr."""

    def __init__(self, pipes: Pipes) -> None:
        self.pipes = pipes
        self.errors = b""
        self.sending = threading.Lock()
        self.spoke = threading.Condition()
        self._drain = threading.Thread(target=self._read_errors, daemon=True)
        self._drain.start()  # or it stalls once its stderr fills the window
        self._lines: deque[bytes] = deque()
        self._rest = b""

    def _read_errors(self) -> None:
        while data := self.pipes.recv_stderr(1 << 16):
            with self.spoke:
                self.errors += data
                self.spoke.notify_all()
        with self.spoke:
            self.spoke.notify_all()

    @property
    def closed(self) -> bool:
        return self.pipes.closed

    def send(self, data: bytes) -> None:
        """Send all of it, without data of other threads in between. `line` and `end` show if the other side is gone."""
        with self.sending, suppress(*LINK_ERRORS):
            self.pipes.sendall(data)

    def send_last(self, data: bytes) -> None:
        """Like `send`, then end the input; skipped if another thread is stuck in sending, as on a dead connection."""
        if self.sending.acquire(timeout=LEAVE_SECONDS):
            try:
                with suppress(*LINK_ERRORS):
                    self.pipes.settimeout(LEAVE_SECONDS)
                    self.pipes.sendall(data)
                    self.pipes.shutdown_write()
            finally:
                self.sending.release()

    def line(self) -> bytes | None:
        """The next line of its output; None at the end."""
        while not self._lines:
            try:
                data = self.pipes.recv(1 << 16)
            except (OSError, EOFError):
                return None
            if not data:
                return None
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._lines.extend(lines)
        return self._lines.popleft()

    def end(self) -> tuple[int, str]:
        """Its exit status and stderr, once it has ended; -1 where the link ended first."""
        status = self.pipes.recv_exit_status()
        self._drain.join(5)
        return status, self.errors.decode(errors="replace")


class ChildPipes:
    """A child process of this machine as `Pipes`."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )

    @property
    def closed(self) -> bool:
        return self.process.poll() is not None

    def recv(self, size: int) -> bytes:
        return os.read(self.process.stdout.fileno(), size) if self.process.stdout else b""

    def recv_stderr(self, size: int) -> bytes:
        return os.read(self.process.stderr.fileno(), size) if self.process.stderr else b""

    def sendall(self, data: bytes) -> None:
        if self.process.stdin is None or self.process.stdin.closed:
            raise BrokenPipeError
        while data:
            data = data[os.write(self.process.stdin.fileno(), data) :]

    def shutdown_write(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()

    def settimeout(self, seconds: float) -> None:
        """A pipe has none."""

    def recv_exit_status(self) -> int:
        return self.process.wait()


class ChildLink:
    """This machine, or a stand-in for a host: every command runs this program, with the command as its argument."""

    def __init__(self, argv: Sequence[str], where: str = "root@localhost", host_key: PKey | None = None) -> None:
        self.argv, self.where, self.host_key = tuple(argv), where, host_key
        self.user = where.partition("@")[0]
        self.password: Secret | None = None
        self.peer, self.by_password = "127.0.0.1", False
        self.alive = True
        self.started: list[ChildPipes] = []

    def start(self, command: str) -> Channel:
        self.started.append(ChildPipes((*self.argv, command)))
        return Channel(self.started[-1])

    def again(self, own: tuple[str, ...]) -> "ChildLink":
        return ChildLink(self.argv, self.where, self.host_key)

    def close(self) -> None:
        self.alive = False
        for pipes in self.started:
            pipes.shutdown_write()
