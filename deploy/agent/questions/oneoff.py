"""Runs a command of the operator as the app, with its input and output passed through."""

import base64
import os
import queue
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..resources.release.commands import end, transient, unit_text
from ..system import ENVIRONMENT
from ..wire import Refused

if TYPE_CHECKING:
    from ..events import End, Event, Stream

Window = dict[str, Any]
BLOCK = 1 << 16
INTERRUPTED = 130  # a shell's exit status after Ctrl-C


class Attached:
    """One command as a transient unit: at a terminal of its own (`tty`: rows, columns, term), or on three pipes."""

    def __init__(self, emit: "Callable[[Event], None]", app: str, command: list[str], tty: Window | None) -> None:
        self.emit = emit
        self.terminal = -1
        self.ended = threading.Event()
        self.stopped = False
        try:
            release = os.path.basename(os.readlink(f"/srv/{app}/current"))
        except OSError:
            hint = "fab deploy; or, if `fab releases` lists releases, fab rollback"
            raise Refused(f"no release of {app} gets traffic", hint) from None
        self.unit = f"{app}-run-{release}-{os.getpid()}.service"
        options = ["--pty", "-p", f"Environment=TERM={tty['term']}"] if tty else ["--pipe"]
        argv = transient(unit_text(app, release), app, release, self.unit, command, tuple(options))
        if tty:
            import pty

            self.terminal, inside = pty.openpty()
            self.resize(tty["rows"], tty["columns"])
            self.process = subprocess.Popen(
                argv, stdin=inside, stdout=inside, stderr=inside, env=ENVIRONMENT, start_new_session=True
            )
            os.close(inside)
            outputs: dict[Stream, int] = {"out": self.terminal}
        else:
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(
                argv, stdin=pipe, stdout=pipe, stderr=pipe, env=ENVIRONMENT, start_new_session=True
            )
            assert self.process.stdout and self.process.stderr
            outputs = {"out": self.process.stdout.fileno(), "err": self.process.stderr.fileno()}
        self.readers = [threading.Thread(target=self._read, args=item, daemon=True) for item in outputs.items()]
        for reader in self.readers:
            reader.start()

    def _read(self, stream: "Stream", descriptor: int) -> None:
        while True:
            try:
                data = os.read(descriptor, BLOCK)
            except OSError:  # a terminal whose other side is closed
                return
            if not data:
                return
            self.emit({"event": "data", "stream": stream, "data": base64.b64encode(data).decode()})

    def write(self, data: bytes) -> None:
        """Input for it; what it no longer wants to read is lost, as in a pipe."""
        with suppress(OSError):
            if self.terminal >= 0:
                while data:
                    data = data[os.write(self.terminal, data) :]
            elif self.process.stdin and not self.process.stdin.closed:
                self.process.stdin.write(data)
                self.process.stdin.flush()
        self.emit({"event": "took"})

    def end_input(self) -> None:
        if self.terminal < 0 and self.process.stdin:
            with suppress(OSError):  # it has gone, with something unread
                self.process.stdin.close()

    def resize(self, rows: int, columns: int) -> None:
        if self.terminal >= 0:
            import fcntl
            import termios

            fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            if hasattr(self, "process"):
                self.process.send_signal(signal.SIGWINCH)  # the terminal is not its controlling one; it may have ended


def run(
    emit: "Callable[[Event], None]",
    messages: "queue.Queue[Any]",
    unwanted: Callable[[], bool],
    app: str,
    command: list[str],
    tty: Window | None,
) -> "End":
    """Run a command to its end, `messages` being its input. `unwanted`: who wanted it is gone, or wants it stopped."""
    began = time.monotonic()
    attached = Attached(emit, app, command, tty)

    def watch() -> None:
        while attached.process.poll() is None:
            if unwanted():
                attached.stopped = True
                end(attached.process, attached.unit)
            attached.ended.wait(0.05)
        messages.put({"request": "ended"})

    threading.Thread(target=watch, daemon=True).start()
    while True:
        message = messages.get()
        if isinstance(message, bytes):
            attached.write(message)
        elif message is None:
            messages.put(None)  # for the conversation, which ends, too
            attached.process.wait()
            break
        elif message["request"] == "eof":
            attached.end_input()
        elif message["request"] == "resize":
            attached.resize(message["rows"], message["columns"])
        elif message["request"] == "ended":
            break
    for reader in attached.readers:
        reader.join(5)
    status = INTERRUPTED if attached.stopped else attached.process.returncode
    ended: End = {"event": "end", "state": "ok", "changed": 0, "seconds": time.monotonic() - began}
    return ended | {"status": 128 - status if status < 0 else status}
