"""Builds an app's packages in a sandbox like the app's: a build runs code, which must not be able to do more.

The same for operators and CI keys: its files belong to root afterwards, and no process or cache of it is left.
"""

import os
import re
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from ...system import ENVIRONMENT, System, complaint
from ...wire import Cancelled, Failed
from ..files import replace, required_ids
from ..host.machine import dns_is_link_local
from .commands import end, follow, stop
from .environment import environment_file
from .trees import owned

SECONDS, LATE_SECONDS = 1800, 60
SECRETS = "/run/ashore"
CREDENTIAL = "uv.toml"  # the server's settings of uv, where only root can read them
ORPHAN_SECONDS = 3
SPARE_BYTES, SPARE_FILES, SPARE_PART = 64 << 20, 5000, 10  # what a build must leave free on the disk
BOX = (  # without ProcSubset=pid: Node counts the processors in /proc/cpuinfo, and npm does nothing with none
    "NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateDevices=yes",
    "TemporaryFileSystem=/tmp:size=64M,nr_inodes=10k,mode=1777 /var/tmp:size=64M,nr_inodes=10k,mode=1777"
    " /dev/shm:size=64M,nr_inodes=10k,mode=1777",
    "DevicePolicy=closed", "PrivateUsers=yes", "PrivateMounts=yes", "PrivateIPC=yes", "ProtectProc=invisible",
    "ProtectClock=yes", "ProtectHostname=yes", "ProtectKernelLogs=yes", "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes", "ProtectControlGroups=yes", "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "RestrictNamespaces=yes", "RestrictRealtime=yes", "RestrictSUIDSGID=yes", "LockPersonality=yes",
    "SystemCallArchitectures=native", "SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources",
    "SystemCallFilter=@chown", "SystemCallErrorNumber=EPERM", "CapabilityBoundingSet=", "AmbientCapabilities=",
    "KeyringMode=private", "UMask=0022", "MemoryMax=75%", "TasksMax=512", "OOMPolicy=stop", "TimeoutStopSec=3",
    # Whoever listens there could start something outside, or tells what other apps are started with.
    "InaccessiblePaths=-/run/dbus -/run/user -/run/systemd/private -/run/systemd/transient -/run/ashore-ci"
    " -/run/ashore",
)  # fmt: skip


def boxed(
    argv: Sequence[str],
    unit: str,
    user: str,
    top: str,
    at: str,
    cwd: str,
    environment: dict[str, str],
    more: Sequence[str] = (),
) -> list[str]:
    """The argv that runs another one as `user` in BOX; it can write to one directory, and nothing of it outlives it.

    more: properties of systemd, such as files of variables, which no argv may show.
    """
    own = [f"User={user}", f"Group={user}", f"ReadWritePaths={at}", f"WorkingDirectory={cwd}"]
    own += [f"BindPaths={top}:{at}"] if at != top else []
    own += [f"InaccessiblePaths=-/var/lib/{user}", f"SyslogIdentifier={user}", *more]
    own += [] if dns_is_link_local() else ["IPAddressDeny=link-local"]  # what the firewall says more exactly
    own += [f"LogNamespace={user}"]
    options = [word for item in (*BOX, *own) for word in ("-p", item)]
    options += [f"--setenv={name}={value}" for name, value in environment.items()]
    return ["systemd-run", "--quiet", "--wait", "--collect", "--pipe", f"--unit={unit}", *options, "--", *argv]


def build(
    system: System,
    argv: Sequence[str],
    user: str,
    top: str,
    cwd: str,
    environment: dict[str, str],
    at: str = "",
    *,
    prepare: Callable[[str], str] | None = None,
    secret: dict[str, str] | None = None,
    more: Sequence[str] = (),
    seconds: int = SECONDS,
    what: str = "the packages",
    shown: str = "",
    each: Callable[[str], None] = lambda line: None,
) -> str:
    """Run a command in the box, as `user` in `cwd`; it may fill the directory `top`, which root has just made.

    at: where the box has that directory, if it is to have another name later: one that is there, too.
    prepare: makes what the command needs in the scratch directory, and returns where it runs, in place of `cwd`.
    secret: variables whose values must not be seen; they are hidden in what the command says, too.
    more: see `boxed`. seconds: how long it may take. what: is built, and shown: the command, for people. each: called
    for each line that it writes.
    When this returns, all in it is root's. Returns what the command wrote to standard output. Failed with its last
    lines where it does not end well or fills the disk; Cancelled where the operator wants it stopped, or nobody waits.
    """
    unit = f"{user}-build.service"
    stop(unit)  # of a run that died
    scratch = f"{top}/.scratch"
    uid, gid = required_ids(user, user)
    os.mkdir(scratch, 0o700)
    inside = f"{at or top}/.scratch"
    if prepare:
        cwd = prepare(scratch).replace(scratch, inside)
    owned(scratch, uid, gid)
    os.chown(top, uid, gid)
    environment = environment | {
        "HOME": inside,
        "TMPDIR": inside,  # on the disk: what a compiler needs does not fit into a small server's memory
        "UV_CACHE_DIR": f"{inside}/cache",  # which no other build has filled
    }

    orphans, deadline = Orphans(unit), time.monotonic() + seconds
    least = [max(spare, free // SPARE_PART) for spare, free in zip((SPARE_BYTES, SPARE_FILES), room(top), strict=True)]

    def look() -> None:
        try:
            system.operator.stop_if_cancelled()
            if system.operator.unwanted():
                raise Cancelled("the client disconnected")
            if lacking := short_of(room(top), least):
                raise Failed(f"{what} would fill the server's disk ({lacking}); the build was stopped", MAKE_ROOM)
            if time.monotonic() > deadline:
                raise Failed(f"the build of {what} did not end within {seconds} s and was stopped")
            orphans.end()
        except Failed:
            end(process, unit)
            raise

    own_settings = environment.get("UV_CONFIG_FILE", "")
    if own_settings and not os.stat(own_settings).st_mode & stat.S_IROTH:  # they have passwords in them
        more = (*more, f"LoadCredential={CREDENTIAL}:{own_settings}")
        environment = environment | {"UV_CONFIG_FILE": f"/run/credentials/{unit}/{CREDENTIAL}"}
    with secret_file(unit, secret or {}) as file:
        more = (*more, *([f"EnvironmentFile={file}"] if file else []))
        more = (*more, f"RuntimeMaxSec={seconds + LATE_SECONDS}")  # should this process die
        process = system.start(boxed(argv, unit, user, top, at or top, cwd, environment, more))
        out, err = (hidden(said, secret or {}) for said in follow(process, look, each))
    lacking = short_of(room(top), least)
    shutil.rmtree(scratch, ignore_errors=True)
    hand_over(top)
    system.operator.emit({"event": "output", "argv": list(argv), "text": out + err})
    if process.returncode:
        said, detail = complaint([shown] if shown else argv, process.returncode, err or out)
        if lacking or NO_SPACE.search(err):
            lacking = lacking or "no space or no free inodes"
            raise Failed(f"the server's disk has no room for {what} ({lacking})", MAKE_ROOM, detail)
        raise Failed(said, "", detail)
    return out


@contextmanager
def secret_file(unit: str, values: dict[str, str]) -> Iterator[str]:
    """A file of variables that only root can read, for as long as the block lasts; "" where there are none."""
    path = f"{SECRETS}/{unit}.env" if values else ""
    if path:
        os.makedirs(SECRETS, 0o700, exist_ok=True)
        replace(path, environment_file(values).encode(), 0o600, 0, 0)
    try:
        yield path
    finally:
        if path:
            os.unlink(path)


CREDENTIALS = re.compile(r"(\b[a-z+]+://)[^/@\s]+@")


def hidden(text: str, secret: dict[str, str]) -> str:
    """What a build says, without values that are secret, and without passwords in URLs."""
    for value in sorted(secret.values(), key=len, reverse=True):
        text = text.replace(value, "[hidden]") if len(value) > 3 else text
    return CREDENTIALS.sub(r"\1[hidden]@", text)


# ENOSPC and EDQUOT, as Rust and Python write them: a build that failed has often removed what it made.
NO_SPACE = re.compile(r"\b(os error|Errno) (28|122)\b")
MAKE_ROOM = "free some space (`df -h`, `df -i`), or use smaller packages, then deploy again"


def short_of(free: tuple[int, int], least: list[int]) -> str:
    """Which of bytes and files are scarce, as text; "" if there is enough of both."""
    found = [f"{free[0] >> 20} MB left"] if free[0] < least[0] else []
    return " and ".join(found + ([f"room for {free[1]} more files"] if free[1] < least[1] else []))


def room(path: str) -> tuple[int, int]:
    """Bytes and files that may still come to this disk."""
    space = os.statvfs(path)
    return space.f_bavail * space.f_frsize, space.f_favail if space.f_files else 1 << 62


class Orphans:
    """Processes of a unit whose parent has ended: uv would wait for what they hold open, and a build needs none."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.seen: dict[str, float] = {}
        self.looked = time.monotonic()

    def end(self) -> None:
        """Kill those that have been there for ORPHAN_SECONDS; looks every second."""
        now = time.monotonic()
        if now < self.looked + 1:
            return
        self.looked = now
        argv = ["systemctl", "show", "-p", "MainPID", "--value", self.unit]
        main = subprocess.run(argv, capture_output=True, env=ENVIRONMENT).stdout.decode().strip()
        found = {pid for pid in os.listdir("/proc") if pid.isdigit() and pid != main and self._is_one(pid)}
        self.seen = {pid: self.seen.get(pid, now) for pid in found}
        for pid, since in self.seen.items():
            if now > since + ORPHAN_SECONDS and self._is_one(pid):
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    def _is_one(self, pid: str) -> bool:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                parent = file.read().rpartition(b")")[2].split()[1]
            if parent != b"1":
                return False
            with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
                return f"/{self.unit}\n" in file.read()
        except OSError:  # it has ended
            return False


def hand_over(top: str) -> None:
    """Make root the owner of a tree, and remove write access of others. Links are not followed.

    Only for a tree that no process of its owner can write to any more.
    """
    for _, directories, files, at in os.fwalk(top):
        for name in (*directories, *files):
            mode = os.lstat(name, dir_fd=at).st_mode
            os.chown(name, 0, 0, dir_fd=at, follow_symlinks=False)
            if not stat.S_ISLNK(mode) and mode & 0o7022:
                os.chmod(name, mode & 0o755, dir_fd=at)
    os.chown(top, 0, 0)
    os.chmod(top, 0o755)
