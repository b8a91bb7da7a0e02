"""sshd's settings: our file, the effective settings together with other files, and the running sshd."""

import base64
import os
import re
import time
from contextlib import suppress

from ...dataclass import dataclass
from ...sockets import ports_of, tcp_sockets
from ...system import System, ssh_connection
from ...wire import Drift, Failed, Refused, Resource
from ..files import File, replace, text_of
from ..serving.services import RUN, walk
from .sshd_config import ELSEWHERE, SSHD_CONFIG, Line, Login, lines

SSHD = "/usr/sbin/sshd"
RSA_BITS = 3072
RSA_KEY, OTHER_KEY = "/etc/ssh/ssh_host_rsa_key.pub", "/etc/ssh/ssh_host_ed25519_key.pub"
RELOAD_SECONDS = 10
REREAD = f"{RUN}/sshd.reread"  # its time says when; `undo.sh` writes it, too
MUST_BE = {
    "passwordauthentication": ("no",),
    "kbdinteractiveauthentication": ("no",),
    "permitrootlogin": ("without-password", "prohibit-password", "no", "forced-commands-only"),
}


def rsa_bits(public_key: str) -> int:
    """The size of an RSA key, from its line in a .pub file: "ssh-rsa BASE64 …" is name, exponent, modulus."""
    blob = base64.b64decode(public_key.split()[1])
    parts = []
    while blob:
        size = int.from_bytes(blob[:4], "big")
        parts.append(blob[4 : 4 + size])
        blob = blob[4 + size :]
    return int.from_bytes(parts[2], "big").bit_length()


def rsa_is_weak() -> bool:
    """Whether the host's RSA key is short, and there is a better key."""
    key = text_of(RSA_KEY)
    return bool(key) and os.path.exists(OTHER_KEY) and rsa_bits(key or "") < RSA_BITS


def may_differ(config: list[Line], path: str) -> bool:
    """Whether the file at `path` may not decide: there is a Match block, or an earlier line sets one of MUST_BE."""
    for line in config:
        if line.path == path:
            break
        if line.keyword in MUST_BE or line.keyword in ("challengeresponseauthentication", "authenticationmethods"):
            return True
    return any(line.blocks for line in config)


def read_at(unit: str) -> float:
    """When sshd has read its files: at its start, or before the last reload by us or by an undo. A kernel's time."""
    found = 0.0
    for path in (f"/run/systemd/units/invocation:{unit}", REREAD):
        with suppress(FileNotFoundError):
            found = max(found, os.lstat(path).st_ctime)
    return found


def image_of(pid: str) -> bytes:
    """Differs after each exec of a process: the kernel's memory addresses of its program."""
    try:
        with open(f"/proc/{pid}/auxv", "rb") as file:
            return file.read()
    except OSError:
        return b""


@dataclass(frozen=True)
class Sshd(Resource):
    """Our file among sshd's settings, accepted by sshd, and loaded by the one that runs.

    file: how it is to be; without_rsa: where the host's RSA key is too short to be offered.
    """

    file: File
    without_rsa: File
    unit: str = "ssh.service"

    @property
    def title(self) -> str:
        return f"sshd: {self.file.path} loaded"

    @property
    def path(self) -> str:
        return self.file.path

    @property
    def units(self) -> tuple[str, ...]:
        return (self.unit,)

    def check(self, system: System) -> list[Drift]:
        config = text_of(SSHD_CONFIG)
        if config is None or system.unit(self.unit).get("LoadState", "loaded") != "loaded":
            raise Refused(
                "the SSH server is not OpenSSH as packaged by Debian and Ubuntu",
                f"install openssh-server (the kit looks for {SSHD_CONFIG} and {self.unit})",
            )
        if not re.search(rf"(?mi)^\s*Include\s+.*{re.escape(SSHD_CONFIG)}\.d/\*\.conf", config):
            raise Refused(
                f"{SSHD_CONFIG} does not read the files in {SSHD_CONFIG}.d",
                f"add `Include {SSHD_CONFIG}.d/*.conf` at its beginning, as Debian and Ubuntu do",
            )
        drifts = [Drift(d.what, d.found, d.wanted, d.diff) for d in self._file().check(system)]
        written = lines()
        if drifts or may_differ(written, self.path):
            self._must_hold(self._file().text if drifts else "")
        return drifts or self._stale(system, written)

    def apply(self, system: System) -> None:
        if self._file().check(system):
            self._file().apply(system)
        hint = "sshd did not load it, SSH access is unchanged; fix the file in the message, then run again"
        system.run([SSHD, "-t"], hint=hint)
        self._must_hold()
        if self._stale(system, lines()):
            found = system.unit(self.unit)
            before = image_of(found["MainPID"])
            os.makedirs(RUN, exist_ok=True)
            replace(REREAD, b"", 0o600, 0, 0)  # first: what is written from now on may come too late
            system.run(["systemctl", "reload", self.unit])
            wait_until_reloaded(found["MainPID"], before)

    def _file(self) -> File:
        return self.without_rsa if rsa_is_weak() else self.file

    def _stale(self, system: System, written: list[Line]) -> list[Drift]:
        """Nothing where sshd does not run by itself: systemd starts one for each login, which reads what is there."""
        found = system.unit(self.unit)
        if found.get("ActiveState") != "active":
            return []
        paths = {SSHD_CONFIG, *walk(f"{SSHD_CONFIG}.d"), *(line.path for line in written)}
        changed = max(os.lstat(path).st_ctime for path in paths)
        return [Drift("config", "changed since sshd loaded it", "reloaded")] if changed > read_at(self.unit) else []

    def _must_hold(self, first: str = "") -> None:
        """Check the effective settings for this login and for users with a password. first: see `asked`."""
        from .logins import asked, groups_of, one, own_connection, require_keys_only

        user, port = os.environ.get("SUDO_USER") or "root", ssh_connection()[1]
        require_keys_only(self.path, first)
        at = {**ELSEWHERE, **own_connection()}
        found = asked(Login(user, groups_of(user), tuple(at.items())), first)
        with_key = all("publickey" in way for way in one(found, "authenticationmethods", "any").split())
        for keyword, wanted in MUST_BE.items():
            if not found.get(keyword, set(wanted)) & set(wanted) and not with_key:
                raise Refused(
                    f"sshd would use {keyword} {' '.join(sorted(found[keyword]))}, despite {self.path}",
                    f"another file sets it first; on the server: `grep -ri {keyword} {SSHD_CONFIG} {SSHD_CONFIG}.d`",
                )
        if port and str(port) not in found.get("port", {str(port)}):
            raise Refused(
                f"sshd listens on port {port}, but its config no longer has this port",
                f"connect on the new port (first `systemctl restart ssh`, with a second login open),"
                f" or add `Port {port}` to {SSHD_CONFIG} again",
            )


def wait_until_reloaded(pid: str, before: bytes) -> None:
    """A reload makes sshd execute itself again: until then, a login meets the old settings, or nobody listens."""
    deadline = time.monotonic() + RELOAD_SECONDS
    while image_of(pid) == before or not ports_of(pid, tcp_sockets()):
        if time.monotonic() > deadline:
            raise Failed(f"sshd did not load its settings within {RELOAD_SECONDS} s", "journalctl -u ssh -n 20")
        time.sleep(0.02)
