"""Images: the root tree of a small Debian server, as a cloud would hand it over. Built once per release, then kept."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from ..errors import SandboxError
from . import disk, lent
from .local import SYSTEM_PATH, Say, require_space, run

RELEASES = ("bookworm", "trixie")
PACKAGES = (
    *("systemd", "systemd-sysv", "libpam-systemd", "dbus", "openssh-server", "sudo", "python3", "ca-certificates"),
    *("iproute2", "iputils-ping", "curl", "netbase", "procps", "tzdata", "less"),
)
FILES = {
    "etc/sudoers.d/90-admin": "admin ALL=(ALL) NOPASSWD:ALL\n",
    "etc/ssh/sshd_config.d/50-cloud.conf": "PasswordAuthentication no\nUseDNS no\n",
    # sshd would let admin in before logins are permitted, and PAM would turn admin away.
    "etc/systemd/system/ssh.service.d/sandbox.conf": "[Unit]\nAfter=systemd-user-sessions.service\n",
    "etc/default/locale": "LANG=C.UTF-8\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
}
MODES = {"etc/sudoers.d/90-admin": 0o440}
ENABLED = ("systemd-networkd.service", "ssh.service")
# What a throwaway server does better without: waiting for the network before anything else, upgrades
# that take apt's lock in the middle of a test, and a login on a console that nobody sees.
DISABLED = ("systemd-networkd-wait-online.service", "apt-daily.timer", "apt-daily-upgrade.timer")
MASKED = ("console-getty.service",)
LEFT_OUT = ("etc/resolv.conf", "etc/hostname", "etc/machine-id", "etc/apt/apt.conf.d/99mmdebstrap")


def image_name(release: str) -> str:
    """Names the recipe too: an image of another recipe is another image."""
    recipe = repr((PACKAGES, FILES, MODES, ENABLED, DISABLED, MASKED, LEFT_OUT))
    return f"{release}-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}"


def ensure(release: str, say: Say) -> str:
    """The name of a complete image of `release`, building it if there is none yet."""
    if release not in RELEASES:
        raise SandboxError(
            f"the sandbox does not support the Debian release {release!r}",
            state="nothing was changed",
            hint=f"releases: {', '.join(RELEASES)}",
        )
    name = image_name(release)
    if disk.image_path(name).is_dir():
        return name
    with disk.lock(f"image-{release}", say, f"waiting for another process that builds the {release} image"):
        if not disk.image_path(name).is_dir():
            say(f"building the Debian image {release} (once, about half a minute)")
            _build(release, disk.image_path(name))
    return name


def _build(release: str, image: Path) -> None:
    """Under another name until it is complete: an interrupted build is never taken for an image."""
    for leftover in image.parent.glob(f".{release}-*"):
        shutil.rmtree(leftover)
    building = image.with_name(f".{image.name}")
    building.mkdir(parents=True)
    try:
        require_space(building, 1000)
        _bootstrap(release, building)
        _customize(building / "root")
        os.rename(building / "root", image)
        _forget_older(release, image)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _forget_older(release: str, image: Path) -> None:
    """Delete the images of this release by earlier recipes, but for those below some machine's disk."""
    with disk.lock("disks"):
        kept = {image.name, *(known.image for known in disk.all_disks())}
        for path in image.parent.glob(f"{release}-*"):
            if path.name not in kept:
                shutil.rmtree(path)


def _bootstrap(release: str, building: Path) -> None:
    """Make `building`/root."""
    sources = lent.sources_for(release)
    source_list, apt_conf = building / "debian.sources", building / "apt.conf"
    source_list.write_text(lent.as_deb822(sources, lent.host_keyring()), encoding="utf-8")
    apt_conf.write_text(lent.host_apt_settings() or "// none\n", encoding="utf-8")
    argv = [
        # Namespaces of its own: when it is killed, its mounts and children go with it.
        *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
        *("mmdebstrap", "--mode=root", "--variant=apt", "--format=directory", f"--include={','.join(PACKAGES)}"),
        *(f"--aptopt={apt_conf}", release, str(building / "root"), str(source_list)),
    ]
    environment = {**os.environ, "PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", env=environment)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:", "Err:", "dpkg: error"))]
        raise SandboxError(
            f"could not build the Debian image {release} from {sources[0].uris[0]}",
            where=str(building.parent),
            state="the unfinished image was removed; existing sandboxes are untouched",
            hint=f"is the mirror reachable (apt-get update)? Is the disk full (df {disk.STATE})? Then run again",
            detail="\n".join([f"mmdebstrap: exit status {done.returncode}", *said[-8:]]),
        )


def _customize(root: Path) -> None:
    """From a bare Debian to what clouds hand over: a user with sudo, SSH by key only, DHCP's work done by networkd."""
    failed = "could not finish the sandbox image"
    run(["chroot", root, "useradd", "--create-home", "--shell=/bin/bash", "--groups=sudo", "admin"], failed=failed)
    for path, text in FILES.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        target.chmod(MODES.get(path, 0o644))
    for verb, units in (("enable", ENABLED), ("disable", DISABLED), ("mask", MASKED)):
        run(["chroot", root, "systemctl", "--quiet", verb, *units], failed=failed)
    (root / "var/log/journal").mkdir(parents=True, exist_ok=True)  # a journal that survives reboots
    leftovers = [*(root / "etc/ssh").glob("ssh_host_*"), *(root / "etc/apt/sources.list.d").iterdir()]
    for leftover in (*leftovers, *(root / name for name in LEFT_OUT)):
        leftover.unlink(missing_ok=True)
