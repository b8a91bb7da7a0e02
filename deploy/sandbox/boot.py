"""Booting a sandbox with systemd-nspawn, and ending it.

Each machine has its own control group, which contains exactly its processes: it shows whether the machine runs, and it
is what gets killed. A process ID in a file could belong to another process by now; a control group cannot.

    …/ashore-sandbox/NAME/keeper       the loop that boots it again after a reboot
    …/ashore-sandbox/NAME/box          systemd-nspawn, and below it all of the machine
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from ..errors import SandboxError
from .local import ELSEWHERE, SYSTEM_PATH
from .network import BRIDGE, machine_name

# Unified comes first: it is the hierarchy that can tell and kill. Hybrid hosts have systemd's own beside it.
HIERARCHIES = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/systemd"))
# SIGRTMIN+4 and +5 to systemd: power off, reboot. Python's number is glibc's, as is systemd's.
POWEROFF, REBOOT = 4, 5
# sh, because what it runs lives as long as the machine and takes 1 MB. Exit status 133 asks for a reboot.
KEEPER = """
while (for group in $BOX_GROUPS; do echo 0 >"$group"; done; exec "$@"); [ $? -eq 133 ]; do :; done
"""
# Joins the group before it detaches, so that the machine counts as running when this returns.
LAUNCH = """
for group in $KEEPER_GROUPS; do echo $$ >"$group" || exit; done
exec setsid --fork sh -c "$KEEPER" keeper "$@"
"""


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true in time. Looks every 10 ms."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _groups(name: str) -> list[Path]:
    return [hierarchy / "ashore-sandbox" / name for hierarchy in HIERARCHIES if (hierarchy / "cgroup.procs").exists()]


def _is_populated(name: str, part: str = ".") -> bool:
    for group in _groups(name)[:1]:
        with contextlib.suppress(OSError):  # it is not there, or was removed while we read
            return "populated 1" in (group / part / "cgroup.events").read_text()
    return False


def is_running(name: str) -> bool:
    """Whether its keeper runs. A machine whose nspawn was killed counts as stopped."""
    return _is_populated(name, "keeper")


def start(name: str, number: int, root: Path, console: Path) -> None:
    """Start the machine detached from this process; returns at once."""
    groups = _groups(name)
    if not (groups and (groups[0].parent.parent / "cgroup.controllers").exists()):
        raise SandboxError(
            "the sandbox needs control groups version 2",
            where="/sys/fs/cgroup",
            state=f"sandbox {name} is stopped",
            hint=ELSEWHERE,
        )
    for group in groups:
        for part in ("keeper", "box"):
            (group / part).mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": SYSTEM_PATH,
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
        "KEEPER": KEEPER,
        "KEEPER_GROUPS": " ".join(str(group / "keeper/cgroup.procs") for group in groups),
        "BOX_GROUPS": " ".join(str(group / "box/cgroup.procs") for group in groups),
    }
    nspawn = [
        *("systemd-nspawn", "--quiet", "--boot", f"--directory={root}", f"--machine={machine_name(number)}"),
        *("--register=no", "--keep-unit", "--settings=no", "--link-journal=no", "--resolv-conf=off", "--timezone=off"),
        *(f"--network-bridge={BRIDGE}", "--setenv=SYSTEMD_COLORS=0"),
        "--suppress-sync=yes",  # its disk is thrown away anyway, and dpkg calls fsync thousands of times
    ]
    with console.open("wb") as log:
        launched = subprocess.run(
            ["sh", "-c", LAUNCH, "launch", *nspawn],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            cwd="/",
        )
    if launched.returncode:
        raise SandboxError(
            f"sandbox {name} could not be started: its control group could not be joined",
            where=str(groups[0]),
            state="it is stopped, its disk is kept",
            hint=ELSEWHERE,
            detail=console.read_text(encoding="utf-8", errors="replace"),
        )


def leader(name: str) -> int | None:
    """The process on this machine that is process 1 of the sandbox; None while there is none."""
    for group in _groups(name)[:1]:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for process in (group / "box/payload/init.scope/cgroup.procs").read_text().split():
                # "NSpid: 4711 1": its number here, and the one that it has inside
                if re.search(r"(?m)^NSpid:.*\s1$", Path(f"/proc/{process}/status").read_text()):
                    return int(process)
    return None


def _signal(name: str, offset: int) -> int | None:
    process = leader(name)
    if process:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGRTMIN + offset)
    return process


def stop(name: str, *, clean_seconds: float) -> None:
    """Power off and wait; what still runs then is killed, as it is at once with 0 seconds."""
    if clean_seconds and _signal(name, POWEROFF):
        until(lambda: not is_running(name), clean_seconds)
    for group in _groups(name)[:1]:
        if _is_populated(name):
            (group / "cgroup.kill").write_text("1")
            until(lambda: not _is_populated(name), 10)
    for group in _groups(name):
        for folder, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):  # a process that is just ending still holds it; it is used again
                os.rmdir(folder)


def boot_again(name: str, address: str, seconds: float) -> bool:
    before = _signal(name, REBOOT)
    renewed = until(lambda: leader(name) not in (None, before), seconds)
    return renewed and until(lambda: answers(address), seconds)


def answers(address: str) -> bool:
    """Whether sshd answers. The image makes sure that admin can log in by then."""
    try:
        # TCP retries only after a second: give up early and connect again.
        with socket.create_connection((address, 22), timeout=0.1) as connection:
            connection.settimeout(2)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def wait_until_it_answers(name: str, address: str, console: Path, seconds: float = 30) -> None:
    settled = until(lambda: answers(address) or not is_running(name), seconds)
    if settled and is_running(name):
        return
    lines = console.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
    running = is_running(name)
    raise SandboxError(
        f"sandbox {name} did not answer on SSH within {seconds:.0f} s" if running else f"sandbox {name} did not boot",
        where=f"{address}, {console}",
        state="it is still running" if running else "it is stopped, its disk is kept",
        hint=f"reset it: fab sandbox.reset --name {name}",
        detail="\n".join(lines),
    )
