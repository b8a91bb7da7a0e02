"""Which host keys are accepted: known ones, those in deploy.toml, and those that a person accepts.

Fabric would accept any host key (`AutoAddPolicy`); here an unknown one is asked about, or refused without a
terminal, and a changed or revoked one is always refused.
"""

import base64
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

from fabric import Connection
from paramiko import MissingHostKeyPolicy, PKey, SSHClient

from ..agent.dataclass import dataclass
from ..config.paths import expanded
from ..config.reader import Stage, host_and_port
from ..errors import ConnectionFailed
from . import known_hosts

ASKING = threading.Lock()  # one question at a time, however many hosts
DEFAULT_FILES = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
SYSTEM_FILES = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")}  # of a type of key; for others, its name


def fingerprint(key: PKey) -> str:
    """As `ssh-keygen -lf` prints it."""
    return fingerprint_of(key.asbytes())


def fingerprint_of(blob: bytes) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def files_of(made: Connection) -> tuple[list[Path], list[Path]]:
    """The operator's files of host keys, of which the first is written to, and the machine's. ssh's `none` is none."""

    def files(key: str, default: str) -> list[Path]:
        names = made.ssh_config.get(key.lower(), default).split()
        return [expanded(name, f"{key} in SSH's config") for name in names if name != "none"]

    return files("UserKnownHostsFile", DEFAULT_FILES), files("GlobalKnownHostsFile", SYSTEM_FILES)


def lookup_name(made: Connection) -> str:
    """How known_hosts has the host: HostKeyAlias of ssh_config, or its name, with the port where that is not 22."""
    alias = made.ssh_config.get("hostkeyalias")
    return str(alias or (made.host if made.port == 22 else f"[{made.host}]:{made.port}"))


def preferred(types: tuple[str, ...], offered: tuple[str, ...]) -> list[str]:
    """The host key algorithms, those of known keys first, so that the server shows a known key, as with ssh."""
    first = {name for kind in types for name in ALGORITHMS.get(kind, (kind,))}
    return sorted(offered, key=lambda name: name not in first)


def expected(stage: Stage, made: Connection) -> tuple[str, ...]:
    """The fingerprints of `host_keys` that are for this host: those that name it, and those that name none."""
    own = (made.original_host.lower(), made.port)
    usual = int(made.ssh_config.get("port") or 22)
    found = []
    for entry in stage.host_keys:
        name, _, print_ = entry.rpartition(" ")
        host, port = host_and_port(name)
        if not name or (host, port or usual) == own:
            found.append(print_.rstrip("="))
    return tuple(found)


def as_written(stage: Stage, name: str, print_: str) -> str:
    """An entry of `host_keys`: with the host's name, where the stage has several hosts."""
    return f"{name} {print_}" if len(stage.hosts) > 1 else print_


def entry_name(stage: Stage, made: Connection) -> str:
    """The host as deploy.toml writes it, without the user."""
    for written in stage.hosts:
        host, port = host_and_port(written.rpartition("@")[2])
        if (host, port or int(made.ssh_config.get("port") or 22)) == (made.original_host.lower(), made.port):
            return written.rpartition("@")[2]
    return str(made.original_host)


@dataclass(frozen=True)
class KeyLookup:
    """Where the key of one host is looked up. name: how deploy.toml has the host; known_as: how known_hosts has it.

    files: the operator's known_hosts, and the machine's. expected: see that.
    """

    stage: Stage
    name: str
    known_as: str
    files: tuple[list[Path], list[Path]]
    expected: tuple[str, ...] = ()

    @classmethod
    def of(cls, made: Connection, stage: Stage) -> "KeyLookup":
        return cls(stage, entry_name(stage, made), lookup_name(made), files_of(made), expected(stage, made))


class Pinned(MissingHostKeyPolicy):
    """Accepts a known key, or one in the config; asks about another at a terminal, and records it.

    It is asked about every key: paramiko is not given known_hosts, which it reads in its own way. Without the stage's
    `pin`, known_hosts is neither read nor written.
    """

    def __init__(self, lookup: KeyLookup, ask: Callable[[str], str] | None) -> None:
        self.lookup, self.ask = lookup, ask
        self.stage, self.expected, self.known_as = lookup.stage, lookup.expected, lookup.known_as
        self.entries = known_hosts.read([*lookup.files[0], *lookup.files[1]]) if self.stage.pin else []

    @property
    def types(self) -> tuple[str, ...]:
        """Of the keys that are known of the host."""
        return known_hosts.KnownHost.of(self.known_as, self.entries).types

    def verdict(self, key: PKey) -> tuple[str, known_hosts.KnownEntry | None]:
        return known_hosts.verdict(self.known_as, self.entries, key.get_name(), key.get_base64())

    def missing_host_key(self, client: SSHClient | None, hostname: str, key: PKey) -> None:
        said, entry = self.verdict(key)
        if said == known_hosts.KNOWN:
            return
        if said == known_hosts.UNKNOWN:
            self._unknown(hostname, key)
        elif entry:
            raise refused(said, hostname, self.known_as, key, entry)

    def _unknown(self, hostname: str, key: PKey) -> None:
        found = fingerprint(key)
        if found in self.expected:
            return
        if self.expected:
            raise ConnectionFailed(
                f"{hostname} has another host key than deploy.toml expects",
                where=hostname,
                state="nothing was sent",
                hint="correct host_keys if the server was reinstalled; otherwise somebody may intercept the connection",
                detail=f"it shows {found} ({key.get_name()})\nexpected {', '.join(self.expected)}",
            )
        if self.ask is None:
            authority = known_hosts.KnownHost.of(self.known_as, self.entries).has_authority
            more = "\nknown_hosts has a certificate authority for it, but Ashore does not check host certificates"
            raise ConnectionFailed(
                f"the host key of {hostname} is not known",
                where=hostname,
                state="nothing was sent",
                hint="compare it with the one your provider shows (or, on the server's console,\n"
                "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`); then connect once at a terminal,\n"
                f'or add "{as_written(self.stage, self.lookup.name, found)}" to host_keys of the stage in deploy.toml',
                detail=f"it shows {found} ({key.get_name()})" + (more if authority else ""),
            )
        with ASKING:
            contact = f"First contact with {hostname}. Its {key.get_name()} host key is"
            if self.ask(f"{contact}\n  {found}\nIs it the right one? [yes/no] ").strip().lower() not in ("yes", "y"):
                raise ConnectionFailed(f"the host key of {hostname} was not accepted", hostname, "nothing was sent", "")
            self._write(key)

    def _write(self, key: PKey) -> None:
        if not self.lookup.files[0]:
            return  # UserKnownHostsFile none
        file = self.lookup.files[0][0]
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with file.open("a+b") as opened:
            opened.seek(max(0, opened.seek(0, 2) - 1))
            if opened.read(1) not in (b"", b"\n"):
                opened.write(b"\n")  # the last line has no end
            opened.write(f"{self.known_as} {key.get_name()} {key.get_base64()}\n".encode())


def refused(said: str, hostname: str, known_as: str, key: PKey, entry: known_hosts.KnownEntry) -> ConnectionFailed:
    shown = fingerprint(key)
    if said == known_hosts.REVOKED:
        return ConnectionFailed(
            f"the host key of {hostname} is REVOKED",
            hostname,
            "nothing was sent",
            "somebody marked it as revoked, perhaps because it leaked: give the server a new key, or ask them",
            f"it shows {shown} ({key.get_name()})\nrevoked in {entry.where}",
        )
    return ConnectionFailed(
        f"the host key of {hostname} has CHANGED",
        hostname,
        "nothing was sent",
        f"if you know why (the server was reinstalled), remove the old one: ssh-keygen -R '{known_as}';\n"
        "otherwise somebody may intercept the connection: ask your provider",
        f"known   {fingerprint_of(base64.b64decode(entry.base64))} ({entry.where})\nit shows {shown}",
    )


class Told(Pinned):
    """Accepts the keys that the server reported on the existing connection, and records unknown ones.

    After a change, sshd may offer another of its keys, which would look like a changed key. own: lines "TYPE BASE64".
    """

    def __init__(self, lookup: KeyLookup, own: tuple[str, ...]) -> None:
        super().__init__(lookup, None)
        self.own = own

    def missing_host_key(self, client: SSHClient | None, hostname: str, key: PKey) -> None:
        said, _ = self.verdict(key)
        told = f"{key.get_name()} {key.get_base64()}" in self.own
        if not told or said == known_hosts.REVOKED or (self.stage.host_keys and said == known_hosts.UNKNOWN):
            super().missing_host_key(client, hostname, key)
        elif self.stage.pin and said != known_hosts.KNOWN:
            self._write(key)
