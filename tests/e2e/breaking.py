"""Ways to break a run, a link or a server."""

import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from standing import REPO, Project, Running, Server


def interrupt(process: Running) -> None:
    """Ctrl-C."""
    os.killpg(process.pid, signal.SIGINT)


class Relay:
    """A TCP relay to a server's sshd, to cut a link in the middle; or by itself, once so many bytes went up.

    silently: as where a laptop is closed or a firewall forgets: packets are lost, and neither side hears of an end.
    """

    def __init__(self, address: str, bytes_up: int | None = None, silently: bool = False) -> None:
        self.address, self.silently = address, silently
        self.silent = threading.Event()
        self.bytes_left = bytes_up
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                inside, _ = self.listener.accept()
            except OSError:
                return
            outside = socket.create_connection((self.address, 22))
            self.sockets += [inside, outside]
            for source, target in ((inside, outside), (outside, inside)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                if self.silent.is_set():
                    continue
                target.sendall(data)
                if self.bytes_left is not None and source in self.sockets[::2]:
                    self.bytes_left -= len(data)
                    if self.bytes_left < 0 and self.silently:
                        self.silent.set()
                    elif self.bytes_left < 0:
                        self.cut()
        except OSError:
            pass

    def cut(self) -> None:
        self.listener.close()
        for end in self.sockets:
            with suppress(OSError):  # that side has gone already
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def on_small_disk(server: Server, megabytes: int, files: int = 10**6) -> None:
    """Move /srv/visitors onto a disk of its own with so much room left; a serving app does not notice."""
    server.script(
        "size=$(du -sm /srv/visitors | cut -f1); files=$(find /srv/visitors | wc -l); mkdir /mnt/small;"
        f" mount -t tmpfs -o size=$((size + {megabytes}))m,nr_inodes=$((files + {files})),mode=0755 tmpfs /mnt/small;"
        " cp -a /srv/visitors/. /mnt/small/; chown --reference=/srv/visitors /mnt/small;"
        " chmod --reference=/srv/visitors /mnt/small; mount --bind /mnt/small /srv/visitors"
    )


@contextmanager
def clock_off(server: Server, server_by: str, operator_by: str) -> Iterator[dict[str, str]]:
    """Our agent on the server goes by a clock that is off ("+400d"); the environment that it yields does so to `fab`.

    As in life, files have the times that they had, and clocks that count from the machine's start do not jump.
    """
    server.script("command -v faketime >/dev/null || { apt-get update -qq; apt-get install -qq faketime; } >/dev/null")
    library = server.script("ls /usr/lib/*/faketime/libfaketime.so.1").strip()
    faked = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
    words = " ".join(f"{name}={value}" for name, value in {**faked, "LD_PRELOAD": library}.items())
    python = "/usr/local/bin/python3"  # sudo finds it before the other
    server.script(f"echo '#!/bin/sh\n{words} FAKETIME={server_by} exec /usr/bin/python3 \"$@\"' > {python}")
    server.run("chmod", "755", python)
    try:
        yield {"LD_PRELOAD": f"{server.machine.root}{library}", "FAKETIME": operator_by, **faked}
    finally:
        server.run("rm", python)


def kill(server: Server, process: Running, halted: dict) -> None:
    """kill -9, at the agent."""
    server.run("kill", "-9", str(halted["pid"]))
    process.ended()
    assert process.returncode == 1


def resume(server: Server, process: Running, halted: dict) -> tuple[str, str]:
    """Have a halted run go on, to a good end; its standard output and error from there on."""
    server.run("kill", "-USR1", str(halted["pid"]))
    out, err = process.ended()
    assert process.returncode == 0, out + err
    return out, err


def at_every_step(project: Project, *words: str, each: int = 1) -> Iterator[tuple[int, Running, dict]]:
    """A run of `fab WORDS` halted before each step that changes something, behind the last of them, and at its end.

    Before a step that changes nothing, the server is as before the next one. each: 3 is every third of them.
    """
    checked = project.fab(*words, "--check", "--json", status=None).events
    states = [event["state"] for event in checked if event["event"] == "step"]
    changing = [number for number, state in enumerate(states) if state == "would change"]
    assert len(changing) > 5, checked[-3:]
    seen = 0
    for number in (*changing[::each], changing[-1] + 1, len(states)):
        process, halted = project.halted(number, *words)
        if halted is None:
            process.ended()
            assert process.returncode == 0, process.said[-3:]
            break
        yield number, process, halted
        seen += 1
    assert seen > 5, "the halts were not reached"


def kit_with(directory: Path, *changes: tuple[str, str, str]) -> Path:
    """A copy of the kit in which, in each of these files, the one text is the other."""
    kit = directory / "kit"
    for name in ("deploy", "templates"):
        shutil.copytree(REPO / name, kit / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPO / "fabfile.py", kit)
    for name, before, after in changes:
        text = (kit / name).read_text()
        assert before in text, (name, before)
        (kit / name).write_text(text.replace(before, after))
    return kit
