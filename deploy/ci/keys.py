"""`fab ci.key`: keys that may only deploy one app, and what is installed on the server for them."""

import base64
import binascii
import hashlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..agent import layout
from ..agent.dataclass import dataclass
from ..agent.resources.access.admitted import Admitted
from ..agent.resources.access.keys import EVERY, Disconnected, Keyring, LoginUser, Tree, Unused
from ..agent.resources.files import Absent, Directory, File
from ..agent.resources.host.machine import Platform
from ..agent.resources.host.packages import Packages
from ..agent.resources.serving.services import Service, UnitFile
from ..agent.wire import Plan, Resource
from ..config.paths import expanded
from ..config.reader import App
from ..config.site import Site
from ..errors import NOTHING, ConfigError
from ..plan.facts import SYSTEMS
from ..stack.proxies import proxy_of
from ..stack.render import render
from . import kit, limits

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KINDS = r"ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com"
LEAST_RSA_BITS = 3072
UNUSED = Unused(layout.KIT, "ci-")


class NoSuchKey(ConfigError):
    pass


@dataclass(frozen=True)
class Key:
    """A public key. name: what its comment says."""

    type: str
    base64: str
    name: str

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -lf` prints it."""
        digest = hashlib.sha256(base64.b64decode(self.base64)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    @property
    def id(self) -> str:
        """Its name in the history and on the server's side: the beginning of its fingerprint."""
        return self.fingerprint.removeprefix("SHA256:")[:16]

    @property
    def fields(self) -> tuple[str, str, str, str]:
        """As `Keyring` takes it."""
        return self.type, self.base64, self.name, self.id


def public_key(text: str, where: str) -> Key:
    """From one line as in a .pub file; ConfigError for anything else."""
    lines = text.strip().splitlines()
    if "PRIVATE KEY" in text:
        raise ConfigError("this is a private key; keep it secret", where, NOTHING, "use the file that ends in .pub")
    shape = rf"({KINDS}) ([A-Za-z0-9+/]+={{0,2}})(?: (.*))?"
    match = re.fullmatch(shape, lines[0].strip()) if len(lines) == 1 else None
    hint = "use one line like `ssh-ed25519 AAAA… name`, as in the .pub file of `ssh-keygen -t ed25519`"
    if not match:
        raise ConfigError("this is not one public SSH key (ed25519, ECDSA or RSA)", where, NOTHING, hint)
    kind, encoded, comment = match[1], match[4], match[5] or ""
    require_sound(kind, encoded, where)
    return Key(kind, encoded, re.sub(r"[^\w.@+-]", "_", comment, flags=re.ASCII)[:64] or "ci")


def require_sound(kind: str, encoded: str, where: str) -> None:
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        blob = b""
    size = int.from_bytes(blob[:4], "big")
    if blob[4 : 4 + size] != kind.encode() or len(blob) < 4 + size + 32:
        raise ConfigError("this key is damaged", where, NOTHING, "copy the whole line of the .pub file")
    if kind == "ssh-rsa":
        from cryptography.hazmat.primitives.serialization import load_ssh_public_key

        try:
            bits = getattr(load_ssh_public_key(f"{kind} {encoded}".encode()), "key_size", 0)
        except ValueError:
            bits = 0
        if bits < LEAST_RSA_BITS:
            what = f"this RSA key has {bits} bits; the minimum is {LEAST_RSA_BITS}"
            raise ConfigError(what, where, NOTHING, "create one with ssh-keygen -t ed25519")


def made(path: Path, name: str, keep: bool) -> Key:
    """The key with its private half in a file, generated if missing. keep: write the file; False for a dry run."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_ssh_private_key,
    )

    if path.exists():
        try:
            return public_half(load_ssh_private_key(path.read_bytes(), None), name)  # type: ignore[arg-type]
        except (ValueError, TypeError, OSError) as error:
            hint = "move it away, or use your own key: --public FILE"
            raise ConfigError(f"the key in {path} cannot be read: {error}", str(path), NOTHING, hint) from None
    private = Ed25519PrivateKey.generate()
    if keep:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return public_half(private, name)


def public_half(private: "Ed25519PrivateKey", name: str) -> Key:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    written = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return public_key(f"{written} {name}", name)


def plan(app: App, site: Site, keys: tuple[Key, ...], force: bool = False) -> Plan:
    """Add these keys to the existing ones, and update the server's side."""
    name = app.name
    user, home, unit = layout.ci_user(name), layout.ci_home(name), layout.ci_unit(name)
    service_text, socket_text = units(app, kit.directory())
    service, socket = unit_files(name)
    steps: tuple[Resource, ...] = (
        Platform(SYSTEMS),
        Admitted(user, layout.ci_keys(name), tuple(sorted({key.type for key in keys}))),
        Packages(kit.PACKAGES),
        Tree(kit.directory(), kit.files(), "the kit's code for CI keys"),
        LoginUser(user, home),
        Directory(os.path.dirname(home)),
        Directory(home),
        Directory(f"{home}/.ssh"),
        limits.record(app, site),
        File(service, service_text, force=force),
        UnitFile(f"{unit}.socket", File(socket, socket_text, force=force)),
        Service(f"{unit}.socket", active=True, enabled=True, watches=(socket,), refresh="restart"),
        Keyring(layout.ci_keys(name), name, kit.directory(), tuple(key.fields for key in keys), (), force),
    )
    return Plan("ci.key", steps, (), (UNUSED,))


def revoking(app: App, keys: tuple[Key, ...], left: tuple[Key, ...]) -> Plan:
    """Revoke these keys and end their runs; without a key left, remove everything of CI keys.

    With as few steps as possible, the revocation first, so that other problems of the server cannot prevent it.
    """
    if left:
        return Plan("ci.key", revoked(app.name, tuple(key.id for key in keys)))
    return Plan("ci.key", closed(app.name), (), (UNUSED,))


def revoked(app: str, ids: tuple[str, ...]) -> tuple[Resource, ...]:
    path = layout.ci_keys(app)
    return (Keyring(path, app, "", (), ids), Disconnected(app, path))


def closed(app: str) -> tuple[Resource, ...]:
    """All keys are revoked, and nobody listens for them."""
    service, socket = unit_files(app)
    gone = (layout.ci_keys(app), socket, service, layout.ci_record(app))
    listening = Service(f"{layout.ci_unit(app)}.socket", active=False, enabled=False)
    return (*revoked(app, (EVERY,)), listening, *map(Absent, gone))


def unit_files(app: str) -> tuple[str, str]:
    """Paths of the service and of the socket."""
    unit = layout.ci_unit(app)
    return f"/etc/systemd/system/{unit}@.service", f"/etc/systemd/system/{unit}.socket"


def units(app: App, directory: str) -> tuple[str, str]:
    """The service and the socket. directory: where the copy of the kit is."""
    name = app.name
    values = {"user": layout.ci_user(name), "unit": layout.ci_unit(name), "socket": layout.ci_socket(name)}
    service = render("systemd/ci@.service.j2", app=app, proxy=proxy_of(app), kit=directory, **values)
    return service, render("systemd/ci.socket.j2", app=app, **values)


def without(keys: tuple[Key, ...], revoke: str, where: str) -> tuple[Key, ...]:
    """All but those that `--revoke` names: "all", or a fingerprint with or without SHA256:, or its beginning."""
    wanted = revoke.removeprefix("SHA256:").rstrip("=")
    left = tuple(key for key in keys if revoke != "all" and not named(key, wanted))
    if left == keys and (keys or revoke != "all"):
        there = "\n".join(f"{key.fingerprint} {key.name}" for key in keys) or "none"
        hint = "use its fingerprint, or `all`"
        raise NoSuchKey(f"there is no such key: {revoke}", where, NOTHING, hint, f"keys:\n{there}")
    return left


def named(key: Key, wanted: str) -> bool:
    return len(wanted) >= 8 and key.fingerprint.removeprefix("SHA256:").startswith(wanted)


def given(public: str) -> Key:
    """From a file, or from standard input for "-"."""
    if public == "-":
        return public_key(sys.stdin.buffer.read(1 << 16).decode("utf-8", "replace"), "standard input")
    path = expanded(public, f"--public {public}")
    try:
        return public_key(path.read_bytes()[: 1 << 16].decode("utf-8", "replace"), str(path))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}", str(path), NOTHING, "use a .pub file, or - for standard input"
        ) from None


def found(answer: list[dict[str, Any]]) -> tuple[Key, ...]:
    """Those on a server, see `keys_in`."""
    return tuple(Key(key["type"], key["base64"], key["name"]) for key in answer)
