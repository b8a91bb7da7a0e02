"""What must be true of the machine before anything is installed."""

import glob
import os
import re

from ...dataclass import dataclass
from ...sockets import listening, owners, sockets_of
from ...system import System
from ...wire import Drift, Refused, Resource
from ..files import replace, text_of, unified
from ..serving.rivals import Rival
from .versions import UPGRADE, is_newer, made_by, parts

HOSTS = "/etc/hosts"
RESOLVERS = "/etc/resolv.conf"


@dataclass(frozen=True)
class Platform(Resource):
    """One of the systems that the kit knows, by ID or ID_LIKE of os-release."""

    ids: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"operating system: {' or '.join(name.capitalize() for name in self.ids)}"

    def check(self, system: System) -> list[Drift]:
        release = os_release()
        if release.get("ID") not in self.ids:
            name = release.get("PRETTY_NAME") or release.get("ID") or "an unknown system"
            raise Refused(
                f"the server runs {name}", f"use a server with {' or '.join(name.capitalize() for name in self.ids)}"
            )
        return []


@dataclass(frozen=True)
class KitVersion(Resource):
    """No newer version of the kit has provisioned the server, for any app: this one would undo what is new.

    files: a pattern of what provisions leave, see layout.provisioned.
    """

    version: str
    files: str

    @property
    def title(self) -> str:
        return f"Ashore on the server: not newer than {self.version}"

    def check(self, system: System) -> list[Drift]:
        found = [made_by(text_of(path) or "") for path in glob.glob(self.files)]
        newest = max(found, key=parts, default="")
        if is_newer(newest, self.version):
            raise Refused(
                f"the server was provisioned by Ashore {newest}, and this is {self.version}: it would undo what is new",
                f"upgrade to Ashore {newest} or later: {UPGRADE}\n--force provisions with this version all the same",
            )
        return []


@dataclass(frozen=True)
class Port(Resource):
    """A TCP port that is free, or used by the named program.

    rivals: proxies of the kit that may have it until the next deploy of `app`, if they serve nothing else.
    """

    number: int
    program: str
    app: str = ""
    rivals: tuple[Rival, ...] = ()

    @property
    def title(self) -> str:
        return f"port {self.number}: available for {self.program}"

    @property
    def units(self) -> tuple[str, ...]:
        return (f"{self.program}.service",)

    def check(self, system: System) -> list[Drift]:
        sockets = {inode for inode, port in listening(system.tcp()).items() if port == self.number}
        sockets -= sockets_of(system.unit(self.units[0]).get("MainPID", "0"))  # to look at all processes takes 10 ms
        for name, pid in owners(sockets) if sockets else ():
            if name == self.program:
                continue
            rivals = [rival for rival in self.rivals if rival.name == name]
            if not rivals:
                raise Refused(
                    f"port {self.number} is taken by {name} (process {pid})",
                    f"stop and disable it (for a service: `systemctl disable --now {name}`), then run again",
                )
            from ..serving.rivals import require_alone

            require_alone(rivals[0], self.app, self.program)
        return []


@dataclass(frozen=True)
class HostNames(Resource):
    """/etc/hosts has localhost and the host's own name; otherwise sudo warns and may wait for DNS."""

    @property
    def title(self) -> str:
        return f"{HOSTS}: localhost and the host name present"

    def check(self, system: System) -> list[Drift]:
        found, hostname = self._read(), os.uname().nodename
        if not unnamed(found, hostname):
            return []
        return [Drift("names", "missing", "present", unified(HOSTS, found, with_host_names(found, hostname)))]

    def apply(self, system: System) -> None:
        replace(HOSTS, with_host_names(self._read(), os.uname().nodename).encode(), 0o644, 0, 0)

    def _read(self) -> str:
        if not os.path.exists(HOSTS):
            return ""
        with open(HOSTS, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()


@dataclass(frozen=True)
class SecretKey(Resource):
    """A random key in a file for systemd's EnvironmentFile=, made once on the server and never shown."""

    path: str
    name: str = "SECRET_KEY"

    @property
    def title(self) -> str:
        return f"{self.name}: generated on the server"

    def check(self, system: System) -> list[Drift]:
        if os.path.exists(self.path) and os.path.getsize(self.path):
            return []
        return [Drift(self.name, "absent", "[hidden]")]

    def apply(self, system: System) -> None:
        import secrets

        replace(self.path, f"{self.name}={secrets.token_hex(32)}\n".encode(), 0o600, 0, 0)


def dns_is_link_local() -> bool:
    """Whether a process here asks a link-local address for names, as in Google's cloud."""
    return bool(re.search(r"(?mi)^\s*nameserver\s+(169\.254\.|fe80:)", text_of(RESOLVERS) or ""))


@dataclass(frozen=True)
class DnsElsewhere(Resource):
    """A step for servers that resolve names without a link-local address; for others, `otherwise`."""

    step: Resource
    otherwise: Resource

    @property
    def title(self) -> str:
        return self._chosen().title

    @property
    def titled(self) -> str:  # type: ignore[override]
        return "otherwise" if dns_is_link_local() else "step"

    @property
    def shares(self) -> str:
        return self.step.shares

    def check(self, system: System) -> list[Drift]:
        return self._chosen().check(system)

    def apply(self, system: System) -> None:
        self._chosen().apply(system)

    def _chosen(self) -> Resource:
        chosen: Resource = getattr(self, self.titled)
        return chosen


def unnamed(text: str, hostname: str) -> list[str]:
    """The names that the text of /etc/hosts lacks."""
    named = {name for line in text.splitlines() for name in line.split("#")[0].split()[1:]}
    return [name for name in ("localhost", hostname) if name not in named]


def with_host_names(text: str, hostname: str) -> str:
    """The text of /etc/hosts, with lines added at its end for what it does not name."""
    own = f"127.0.1.1 {hostname}" + (f" {hostname.split('.')[0]}" if "." in hostname else "")
    missing = ["127.0.0.1 localhost" if name == "localhost" else own for name in unnamed(text, hostname)]
    start = text if not text or text.endswith("\n") else text + "\n"
    return start + "".join(f"{line}\n" for line in missing)


def os_release() -> dict[str, str]:
    text = text_of("/etc/os-release") or text_of("/usr/lib/os-release") or ""
    rows = [line.strip().partition("=") for line in text.splitlines()]
    return {key: value.strip("\"'") for key, equals, value in rows if equals}
