"""The firewall: the kit's own table of nftables; rules of others are not changed."""

import glob
import os
import re
import zlib

from ...dataclass import dataclass
from ...sockets import ports_of
from ...system import System, ssh_connection
from ...wire import Drift, Refused, Resource
from ..files import File, replace, seal, text_of
from .sshd_config import SSHD_CONFIG

DIRECTORY = "/etc/ashore"
RULES = f"{DIRECTORY}/firewall.nft"
ADDED = (f"{DIRECTORY}/firewall.d", f"{DIRECTORY}/firewall-apps.d")  # of the chains input and output
UNIT = "ashore-firewall.service"
LOADED = "/var/lib/ashore/firewall.loaded"
OTHERS = "firewalld.service"


# Prints our table in the kernel, without the elements of its sets; nothing if it is not loaded.
LIST_TABLE = ("nft", "-s", "-t", "list", "table", "inet", "ashore")


def fingerprint(system: System) -> str:
    """A checksum of the rules' files and of the table in the kernel."""
    texts = [RULES, *(path for directory in ADDED for path in sorted(glob.glob(f"{directory}/*.nft")))]
    seen = [(path, text_of(path)) for path in texts]
    return f"{zlib.crc32(repr((seen, system.printed(LIST_TABLE))).encode()):08x}"


def ports_named(config: str) -> set[int]:
    """The ports that sshd's configuration names."""
    found = re.findall(r"(?mi)^\s*(?:Port\s+|ListenAddress\s+\S*[\]\w.]:)(\d+)\s*(?:#.*)?$", config)
    return {int(port) for port in found}


def sshd_texts() -> str:
    directory = f"{SSHD_CONFIG}.d"
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    paths = [SSHD_CONFIG, *(f"{directory}/{name}" for name in names if name.endswith(".conf"))]
    return "\n".join(text_of(path) or "" for path in paths)


@dataclass(frozen=True)
class SshPorts(Resource):
    """The firewall's file for SSH: the ports that sshd listens on, those of its configuration, and the operator's own.

    rule: `%s` stands for the ports, `%u` for the ID of `user`. If sshd's port changes, the old and the new port must
    both be open.
    """

    path: str
    rule: str
    force: bool = False
    unit: str = "ssh.service"
    user: str = ""

    @property
    def title(self) -> str:
        return f"file {self.path}"

    @property
    def units(self) -> tuple[str, ...]:
        return (self.unit,)

    def check(self, system: System) -> list[Drift]:
        return self._file(system).check(system)

    def apply(self, system: System) -> None:
        self._file(system).apply(system)

    def _file(self, system: System) -> File:
        ports = ports_of(system.unit(self.unit).get("MainPID", "0"), system.tcp()) | ports_named(sshd_texts())
        listed = ", ".join(str(port) for port in sorted({*ports, ssh_connection()[1]}) if port) or "22"
        rule = self.rule.replace("%s", listed).replace("%u", self._user_id())
        return File(self.path, seal(rule), force=self.force)

    def _user_id(self) -> str:
        import pwd

        try:
            return str(pwd.getpwnam(self.user).pw_uid) if self.user else ""
        except KeyError:
            return self.user  # an earlier step will create it


@dataclass(frozen=True)
class ConnectionLimit(Resource):
    """The firewall's file for how many connections one address may hold to the proxy.

    A connection belongs to no app before its first line is read, so all apps share one number: the largest of their
    settings, and no limit if one of them is 0. Each app's setting is in its app-NAME.nft. rules: `%s` is the number.
    """

    path: str
    rules: str
    app: str
    most: int
    force: bool = False

    @property
    def title(self) -> str:
        return f"file {self.path}"

    def check(self, system: System) -> list[Drift]:
        return self._file().check(system)

    def apply(self, system: System) -> None:
        self._file().apply(system)

    def _file(self) -> File:
        numbers = [self.most, *limits_of_others(os.path.dirname(self.path), self.app).values()]
        first, _, rules = self.rules.partition("\n")
        text = rules.replace("%s", str(max(numbers))) if all(numbers) else "# One of the apps asks for no limit.\n"
        return File(self.path, seal(f"{first}\n{text}"), force=self.force)


def limits_of_others(directory: str, app: str) -> dict[str, int]:
    """Map app to its connections_per_address, by the files of all apps but this one."""
    found = {}
    for path in sorted(glob.glob(f"{directory}/app-*.nft")):
        name = os.path.basename(path)[len("app-") : -len(".nft")]
        number = re.search(r"(?m)^# connections_per_address = (\d+)$", text_of(path) or "")
        if number and name != app:
            found[name] = int(number[1])
    return found


@dataclass(frozen=True)
class Firewall(Resource):
    """Our table is loaded in the kernel as in our files, and at every boot.

    The kernel's list is compared with the list after loading, so rules that somebody added or removed at run time are
    detected, too.
    """

    @property
    def title(self) -> str:
        return "firewall rules: loaded"

    @property
    def units(self) -> tuple[str, ...]:
        return (UNIT, OTHERS)

    @property
    def asks(self) -> tuple[tuple[str, ...], ...]:
        return (LIST_TABLE,)

    def check(self, system: System) -> list[Drift]:
        other = "ufw" if re.search(r"(?m)^ENABLED=yes", text_of("/etc/ufw/ufw.conf") or "") else ""
        if system.unit(OTHERS).get("ActiveState") == "active":
            other = "firewalld"
        if other:
            raise Refused(
                f"{other} is active on the server, and Ashore would add a second firewall",
                f"keep {other}: set `firewall = false` in the stage of deploy.toml (it must allow 80 and 443),"
                f" or turn it off (`{'ufw disable' if other == 'ufw' else 'systemctl disable --now firewalld'}`)",
            )
        if text_of(LOADED) != fingerprint(system):
            return [Drift("rules in the kernel", "differ from the files", "as in the files")]
        return []

    def apply(self, system: System) -> None:
        hint = "nothing was loaded; fix the file in nft's message, then run again"
        system.run(["nft", "-c", "-f", RULES], hint=hint)
        system.run(["systemctl", "daemon-reload"])  # an undo may have removed the unit's file, and now it is back
        system.run(["systemctl", "restart", UNIT])
        replace(LOADED, fingerprint(system).encode(), 0o600, 0, 0)


@dataclass(frozen=True)
class NoFirewall(Resource):
    """The kit's firewall is removed: the stage uses another one, or none."""

    guards = True

    @property
    def title(self) -> str:
        return "firewall: not managed (firewall = false)"

    def check(self, system: System) -> list[Drift]:
        return [Drift("Ashore's rules", "present", "absent")] if os.path.exists(RULES) else []

    def apply(self, system: System) -> None:
        import shutil

        system.run(["systemctl", "disable", "--now", "--quiet", UNIT])
        system.run(["nft", "table inet ashore; delete table inet ashore"])
        for directory in ADDED:
            shutil.rmtree(directory, ignore_errors=True)
        os.unlink(RULES)
