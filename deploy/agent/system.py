"""The machine as the agent sees it: commands, systemd's and dpkg's own records, and who is watching."""

import os
import re
import selectors
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from .sockets import tcp_sockets
from .wire import BLOCK, Cancelled, Entry, Failed

if TYPE_CHECKING:
    from .events import Event

UNIT_PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,UnitFileState,NRestarts,ExecMainStatus,ActiveEnterTimestampMonotonic,"
    "MainPID,InvocationID,NeedDaemonReload"
)
SHOW = ("systemctl", "show", "-p", UNIT_PROPERTIES)
# What to do about a machine that lacks memory, processes or open files; the rest of the sentence follows.
SHORT = "find out what uses so much on the server (`free -m`, `ps -ef`), then "
AFTER_SECONDS = 1  # so long its outputs are read on once a command has ended
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",  # machine formats and messages in one language
    "DEBIAN_FRONTEND": "noninteractive",
}


class ThisServer:
    """One look at the server: what two resources ask is asked once, until `forget` after a change.

    emit: told of each command. ran: one was, since the engine has last set this to False. states: the command that
    shows those of all units; () once it was used.
    """

    def __init__(self, units: Iterable[str], emit: "Callable[[Event], None]" = lambda event: None) -> None:
        self.tell, self.ran = emit, False
        self._names = set(units)
        self._units: dict[str, dict[str, str]] = {}
        self.states: tuple[str, ...] = (*SHOW, *sorted(self._names))
        self._asking: dict[tuple[str, ...], subprocess.Popen[bytes]] = {}
        self._packages: bytes | None = None
        self._tcp: str | None = None

    def forget(self) -> None:
        """Something was changed: ask anew."""
        for asking in self._asking.values():
            with suppress(OSError):  # its answer is of no use
                outputs(asking)
        self._asking.clear()
        self._units.clear()
        self.states = ()
        self._packages = self._tcp = None

    def run(
        self,
        argv: Sequence[str],
        *,
        environment: dict[str, str] | None = None,
        accept: tuple[int, ...] = (0,),
        hint: str = "",
    ) -> str:
        """The command's standard output. An exit status not in `accept` raises Failed with its last lines."""
        started = self.start(argv, environment=environment)
        out, err = outputs(started)
        text, errors = out.decode(errors="replace"), err.decode(errors="replace")
        self.tell({"event": "output", "argv": list(argv), "text": text + errors})
        if started.returncode not in accept:
            what, detail = complaint(argv, started.returncode, errors or text)
            raise Failed(what, hint, detail)
        return text

    def start(
        self,
        argv: Sequence[str],
        *,
        environment: dict[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> "subprocess.Popen[bytes]":
        """The running command, its outputs as pipes. Its own session: a signal to the agent is not one to apt."""
        self.ran = True
        try:
            return subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd="/",
                env=ENVIRONMENT | (environment or {}),
                pass_fds=pass_fds,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise Failed(
                f"{argv[0]} is not installed on the server", "run `fab provision`: it installs what is missing"
            ) from error

    def ask(self, *commands: tuple[str, ...]) -> None:
        """Start commands that only look; `printed` waits for what they print."""
        for argv in commands:
            with suppress(FileNotFoundError):
                pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
                self._asking[argv] = subprocess.Popen(argv, stdout=pipe, stderr=nowhere, env=ENVIRONMENT)

    def printed(self, argv: tuple[str, ...]) -> str:
        """What a command that only looks prints, once; "" if it is not installed."""
        if argv not in self._asking:
            self.ask(argv)
        asking = self._asking.pop(argv, None)
        return asking.communicate()[0].decode(errors="replace") if asking else ""

    def unit(self, name: str) -> dict[str, str]:
        """The unit's UNIT_PROPERTIES; {} where the plan did not announce it or systemd does not know it.

        All units are asked for at first; after a change each by itself, at half the time and seldom all of them.
        """
        if name not in self._units and name in self._names:
            self._units |= unit_blocks(self.printed(self.states or (*SHOW, name)))
            self.states = ()
        return self._units.get(name, {})

    def installed(self, package: str) -> bool:
        return bool(self.version(package))

    def version(self, package: str) -> str:
        """Of an installed Debian package, "1.22.1-9+deb12u3"; "" where it is not installed.

        By dpkg's own record: a thousandth of a second instead of dpkg-query's thirty.
        """
        if self._packages is None:
            with open("/var/lib/dpkg/status", "rb") as status:
                self._packages = b"\n" + status.read()
        return package_version(self._packages, package)

    def tcp(self) -> str:
        """/proc/net/tcp and tcp6, together: the kernel takes some milliseconds over them."""
        if self._tcp is None:
            self._tcp = tcp_sockets()
        return self._tcp


class Memory:
    """What a run remembers of itself, beside the machine.

    replaced: path → content and mode before this run. started: unit → when this run started it, in seconds since 1970.
    done: steps that are not a state of the machine. silent: releases that do not answer, and what they did instead.
    probe: asks the site for its health until the run ends. proof: that a new login works, of a step that is not told
    yet, see `access.guarded.Proof`.
    """

    def __init__(self) -> None:
        self.replaced: dict[str, tuple[bytes, int] | None] = {}
        self.started: dict[str, float] = {}
        self.done: set[object] = set()
        self.silent: dict[str, str] = {}
        self.probe: Any = None
        self.proof: Any = None

    def keep_before(self, path: str) -> None:
        """Remember how a file was before this run changed it, so that a failed deploy can put it back."""
        if path not in self.replaced:
            try:
                with open(path, "rb") as file:
                    self.replaced[path] = (file.read(), os.fstat(file.fileno()).st_mode & 0o7777)
            except FileNotFoundError:
                self.replaced[path] = None


class Operator:
    """Whom a run tells of what it does, and asks for what it lacks.

    cancelled: why to stop; None as long as there is no reason. unwanted: nobody waits for what is being made, and it
    need not be. manifest: of the source that the operator has. next_blob: the operator's next bytes. answer: the
    operator's next message, within so many seconds.
    """

    def __init__(self, emit: "Callable[[Event], None]", cancelled: Callable[[], Cancelled | None]) -> None:
        self.emit, self.cancelled = emit, cancelled
        self.unwanted: Callable[[], bool] = lambda: False
        self.manifest: list[Entry] = []
        self.next_blob: Callable[[], Any] = lambda: None
        self.answer: Callable[[float], Any] = lambda seconds: None

    def stop_if_cancelled(self) -> None:
        if why := self.cancelled():
            raise why

    def progress(self, percent: float, what: str) -> None:
        self.emit({"event": "progress", "percent": round(percent, 1), "what": what})


class Observer:
    """Is told where a run is; a test may have it stand still there, see `agent.halting`."""

    def before(self, number: int, title: str) -> None:
        """A step is about to be applied; or the end is reached, whose title is ""."""

    def at(self, place: str) -> None:
        """A place inside of a step."""


class System(ThisServer):
    """What resources are given: the server, the run's memory, and its operator.

    alone: holds a short lock of something that apps share.
    """

    def __init__(
        self,
        units: Iterable[str] = (),
        emit: "Callable[[Event], None]" = lambda event: None,
        cancelled: Callable[[], Cancelled | None] = lambda: None,
    ) -> None:
        super().__init__(units, emit)
        self.memory, self.operator, self.observer = Memory(), Operator(emit, cancelled), Observer()
        self.alone: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext()


def outputs(process: "subprocess.Popen[bytes]") -> tuple[bytes, bytes]:
    """What a command has written to its two outputs, once it has ended."""
    written = (bytearray(), bytearray())
    read_outputs(process, lambda number, data: written[number].extend(data))
    return bytes(written[0]), bytes(written[1])


def read_outputs(
    process: "subprocess.Popen[bytes]", take: Callable[[int, bytes], None], look: Callable[[], None] = lambda: None
) -> None:
    """Read what a command writes until it has ended. What it leaves behind on its outputs is not waited for.

    take: given 0 for standard output or 1 for errors, and what came; b"" is its end. look: called several times a
    second; may raise, having ended the command.
    """
    ended = 0.0
    with selectors.PollSelector() as selector:  # which opens no file: there may be none to be had
        for number, stream in enumerate((process.stdout, process.stderr)):
            if stream is not None:
                selector.register(stream, selectors.EVENT_READ, number)
        while selector.get_map() and not (ended and time.monotonic() > ended + AFTER_SECONDS):
            for key, _ in selector.select(0.1):
                data = os.read(key.fd, BLOCK)
                if not data:
                    selector.unregister(key.fileobj)
                take(key.data, data)
            look()
            if not ended and process.poll() is not None:
                ended = time.monotonic()
    process.wait()
    for stream in filter(None, (process.stdout, process.stderr)):
        stream.close()


def ssh_connection() -> tuple[str, int]:
    """The operator's address and the port of this server that their SSH session uses; ("", 0) where that is not known.

    sudo does not pass SSH_CONNECTION on; the processes above this one still have it.
    """
    pid = os.getpid()
    while pid > 1:
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                found = re.search(rb"(?:^|\0)SSH_CONNECTION=(\S+) \S+ \S+ (\d+)", file.read())
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
        if found:
            return found[1].decode(errors="replace"), int(found[2])
        pid = parent
    return "", 0


def complaint(argv: Sequence[str], status: int, text: str) -> tuple[str, str]:
    """What failed and the command's last lines."""
    ended = f"was killed by signal {-status}" if status < 0 else f"exited with {status}"
    return f"`{' '.join(argv)}` {ended}", "\n".join(text.strip().splitlines()[-25:])


def unit_blocks(text: str) -> dict[str, dict[str, str]]:
    """Map unit to properties, from `systemctl show -p Id,… UNIT…`: a block per unit, blank line between."""
    blocks = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n")]
    return {block["Id"]: block for block in blocks if "Id" in block}


def package_version(status: bytes, package: str) -> str:
    """Of an installed package, from the text of /var/lib/dpkg/status, a newline put before it; "" where it is none."""
    at = status.find(b"\nPackage: %s\n" % package.encode())
    if at < 0:
        return ""
    end = status.find(b"\n\n", at + 1)
    record = status[at : end if end > 0 else None] + b"\n"
    found = re.search(rb"\nVersion: (.+)\n", record)
    return found[1].decode() if found and b"\nStatus: install ok installed\n" in record else ""


def upstream(package_version: str) -> tuple[int, ...]:
    """The upstream version of a Debian package, to compare: "1:1.22.1-9+deb12u3" is (1, 22, 1)."""
    return tuple(int(part) for part in re.findall(r"\d+", package_version.rpartition(":")[2].partition("-")[0]))
