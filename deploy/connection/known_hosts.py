"""known_hosts files, read as OpenSSH reads them (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"). Pure, but for reading.

Names may be lists with `*`, `?` and `!`, or hashed; several keys of one host count, of one type, too; a line that is
broken is skipped. Not supported: host certificates, so `@cert-authority` lines say nothing of a key.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..agent.dataclass import dataclass

KNOWN, UNKNOWN, CHANGED, REVOKED = "known", "unknown", "changed", "revoked"
AUTHORITY = "@cert-authority"


@dataclass(frozen=True)
class KnownEntry:
    """One line. names: as written, in small letters unless hashed. where: its file and line."""

    marker: str
    names: str
    type: str
    base64: str
    where: str

    def matches(self, host: str) -> bool:
        if self.names.startswith("|"):
            return self.names == hashed(host, self.names)
        found = False
        for pattern in self.names.split(","):
            expression = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern.lstrip("!"))
            if re.fullmatch(expression, host, re.S):
                if pattern.startswith("!"):
                    return False
                found = True
        return found


def hashed(host: str, like: str) -> str:
    """The host's name as `ssh-keygen -H` writes it, with the salt of `like`: "|1|SALT|HASH"; "" if that is broken."""
    parts = like.split("|")
    with suppress(ValueError, binascii.Error):
        if len(parts) == 4 and parts[1] == "1":
            digest = hmac.new(base64.b64decode(parts[2], validate=True), host.encode(), hashlib.sha1).digest()
            return f"|1|{parts[2]}|{base64.b64encode(digest).decode()}"
    return ""


def entry(line: str, where: str) -> KnownEntry | None:
    """None for a comment, and for a line that OpenSSH would skip."""
    words = line.split()
    marker = words.pop(0) if words and words[0].startswith("@") else ""
    if len(words) < 3 or words[0].startswith("#") or marker not in ("", AUTHORITY, "@revoked"):
        return None
    names, kind, encoded = words[:3]
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return None
    size = int.from_bytes(blob[:4], "big")
    if blob[4 : 4 + size] != kind.encode() or len(blob) < 4 + size + 32:
        return None
    return KnownEntry(marker, names if names.startswith("|") else names.lower(), kind, encoded, where)


def read(files: Iterable[Path]) -> list[KnownEntry]:
    """Those of all files; one that is not there, or cannot be read, has none."""
    found = []
    for file in files:
        with suppress(OSError):
            text = file.read_bytes().decode("utf-8", "replace")
            lines = (entry(line, f"{file}, line {number}") for number, line in enumerate(text.split("\n"), 1))
            found += [line for line in lines if line is not None]
    return found


@dataclass(frozen=True)
class KnownHost:
    """What is known of one host. name: as OpenSSH looks it up: "shop.example.com", or "[shop.example.com]:2222"."""

    name: str
    entries: tuple[KnownEntry, ...]

    @classmethod
    def of(cls, name: str, every: Iterable[KnownEntry]) -> "KnownHost":
        name = name.lower()
        return cls(name, tuple(entry for entry in every if entry.matches(name)))

    @property
    def keys(self) -> tuple[KnownEntry, ...]:
        return tuple(entry for entry in self.entries if not entry.marker)

    @property
    def types(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(entry.type for entry in self.keys))

    @property
    def has_authority(self) -> bool:
        return any(entry.marker == AUTHORITY for entry in self.entries)

    def verdict(self, kind: str, encoded: str) -> tuple[str, KnownEntry | None]:
        """KNOWN, UNKNOWN, CHANGED or REVOKED for the key that the host shows; and the entry that says so."""
        same = [entry for entry in self.entries if (entry.type, entry.base64) == (kind, encoded)]
        for entry in same:
            if entry.marker == "@revoked":
                return REVOKED, entry
        for entry in same:
            if not entry.marker:
                return KNOWN, entry
        return (CHANGED, self.keys[0]) if self.keys else (UNKNOWN, None)


def verdict(name: str, every: list[KnownEntry], kind: str, encoded: str) -> tuple[str, KnownEntry | None]:
    """As `Host.verdict`. A host on another port than 22 may also be known without it, as to ssh."""
    said = KnownHost.of(name, every).verdict(kind, encoded)
    if said[0] == UNKNOWN and (bare := re.fullmatch(r"\[(.+)\]:\d+", name)):
        without = KnownHost.of(bare[1], every).verdict(kind, encoded)
        return without if without[0] in (KNOWN, REVOKED) else said
    return said
