"""Building an app's packages in a box like the app's own: who may not do more than the app gets no more by building."""

import os
import stat
from collections.abc import Sequence

SECONDS = 1800
BOX = (
    "NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes", "PrivateDevices=yes",
    "DevicePolicy=closed", "PrivateUsers=yes", "PrivateMounts=yes", "PrivateIPC=yes", "ProtectProc=invisible",
    "ProcSubset=pid", "ProtectClock=yes", "ProtectHostname=yes", "ProtectKernelLogs=yes", "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes", "ProtectControlGroups=yes", "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "RestrictNamespaces=yes", "RestrictRealtime=yes", "RestrictSUIDSGID=yes", "LockPersonality=yes",
    "SystemCallArchitectures=native", "SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources",
    "SystemCallFilter=@chown", "SystemCallErrorNumber=EPERM", "CapabilityBoundingSet=", "AmbientCapabilities=",
    "KeyringMode=private", "UMask=0022", "MemoryMax=75%", "TasksMax=512", "OOMPolicy=stop",
    # Whoever listens there could start something outside.
    "InaccessiblePaths=-/run/dbus -/run/user -/run/systemd/private -/run/ashore-ci -/run/ashore",
)  # fmt: skip


def boxed(argv: Sequence[str], unit: str, user: str, writable: str, cwd: str, environment: dict[str, str]) -> list[str]:
    """The argv that runs another one as `user` in BOX; it can write to one directory, and nothing of it outlives it."""
    own = [f"User={user}", f"Group={user}", f"ReadWritePaths={writable}", f"WorkingDirectory={cwd}"]
    own += [f"InaccessiblePaths=-/var/lib/{user}", f"RuntimeMaxSec={SECONDS}", "SyslogIdentifier=ashore-build"]
    own += [f"Environment={name}={value}" for name, value in environment.items()]
    options = [word for item in (*BOX, *own) for word in ("-p", item)]
    return ["systemd-run", "--quiet", "--wait", "--collect", "--pipe", f"--unit={unit}", *options, "--", *argv]


def hand_over(top: str) -> None:
    """All of a tree is root's from now on, and nobody else's to write. Links are not followed.

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
