"""This machine: whether it can host sandboxes, and the commands and packages that it needs for them."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import SandboxError

Say = Callable[[str], None]

# The program that shows a package is there: looking costs nothing, asking dpkg costs 20 ms.
PACKAGES = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "nft": "nftables",
    "ip": "iproute2",
    "ssh": "openssh-client",
}
ELSEWHERE = "use a server instead: fab -H root@ADDRESS provision"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(argv: Sequence[str | Path], *, failed: str, stdin: str = "", hint: str = "", where: str = "") -> str:
    """What the command printed. If it fails: a SandboxError saying `failed`, with its argv and its last lines."""
    words = [str(word) for word in argv]
    environment = {**os.environ, "PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, errors="replace", env=environment)
    except FileNotFoundError as error:
        raise SandboxError(failed, where="this machine", state="nothing was run", hint=f"install {words[0]}") from error
    if done.returncode == 0:
        return done.stdout
    said = (done.stderr or done.stdout).strip().splitlines()[-8:]
    detail = "\n".join([" ".join(words), f"exit status {done.returncode}", *said])
    raise SandboxError(failed, where=where or "this machine", hint=hint, detail=detail)


def require_linux_root() -> None:
    """Sandboxes are containers: they take a Linux kernel, and root to make them."""
    if not sys.platform.startswith("linux"):
        raise SandboxError(
            f"the sandbox needs Linux, but this is {sys.platform}",
            where="this machine",
            state="nothing was changed",
            hint=ELSEWHERE,
        )
    if os.geteuid() != 0:
        raise SandboxError(
            "the sandbox needs root: it mounts disks and creates networks",
            where="this machine",
            state="nothing was changed",
            hint=f"run the same command as root: {as_root(sys.argv)}\nor {ELSEWHERE}",
        )


def as_root(argv: list[str]) -> str:
    """The command line for sudo, whose PATH does not have what a user has installed."""
    return shlex.join(["sudo", shutil.which(argv[0]) or argv[0], *argv[1:]])


def missing_packages(found: Callable[[str], str | None] | None = None) -> list[str]:
    look = found or (lambda program: shutil.which(program, path=SYSTEM_PATH))
    return [package for program, package in PACKAGES.items() if look(program) is None]


def os_release(text: str) -> dict[str, str]:
    """The fields of /etc/os-release, unquoted."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs}


def this_system() -> dict[str, str]:
    path = Path("/etc/os-release")
    return os_release(path.read_text(encoding="utf-8")) if path.exists() else {}


def require_packages(say: Say) -> None:
    """Install what is missing with apt-get, saying so first."""
    missing = missing_packages()
    if not missing:
        return
    names = ", ".join(missing)
    system = this_system()
    if not {"debian", "ubuntu"} & {system.get("ID", ""), *system.get("ID_LIKE", "").split()}:
        raise SandboxError(
            f"the sandbox needs packages that are not installed: {names} (names in Debian)",
            where=f"this machine, {system.get('PRETTY_NAME', 'an unknown system')}",
            state="nothing was changed",
            hint=f"install them with your package manager, or {ELSEWHERE}",
        )
    say(f"installing on this machine with apt-get: {names}")
    failed = f"could not install {names}"
    hint = f"try it yourself: apt-get install {' '.join(missing)}"
    run(["apt-get", "update", "-q"], failed=failed, hint=hint)
    # Without recommendations: the operator's machine gains no more than it must.
    run(["apt-get", "install", "-yq", "--no-install-recommends", *missing], failed=failed, hint=hint)


def require_space(path: Path, megabytes: int) -> None:
    free = shutil.disk_usage(path).free // 1_000_000
    if free < megabytes:
        raise SandboxError(
            f"the disk is too full for a sandbox: {free} MB free, {megabytes} MB needed",
            where=str(path),
            state="nothing was changed",
            hint="free some space, then run the same command again",
        )
