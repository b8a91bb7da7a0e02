"""Creating a machine: an empty disk over an image or a snapshot, settings of this machine, its own identity."""

import base64
import hashlib
import secrets
import shutil
from pathlib import Path

from ..agent.dataclass import replace
from . import disk, layers, lent, local
from .disk import Disk, Record

USER = "admin"
# Upgrades would take apt's lock, or restart what is looked at, in the middle of a test: they only run if asked to.
UPGRADES = "[Unit]\nConditionPathExists=/etc/sandbox-upgrades\n"
UPGRADERS = ("apt-daily.service", "apt-daily-upgrade.service")
HOST_KEY = "etc/ssh/ssh_host_ed25519_key.pub"


def key_file() -> Path:
    return disk.STATE / "id_ed25519"


def fingerprint(public_key: str) -> str:
    """Of an OpenSSH public key line, as `ssh-keygen -lf` prints it."""
    digest = hashlib.sha256(base64.b64decode(public_key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def create(name: str, origin: Disk, snapshot: str | None, megabytes: int = 0) -> Record:
    """A machine with an empty disk over `origin` and an identity of its own, in place of one of that name."""
    local.require_space(disk.STATE, 300)
    with disk.lock("disks"):
        previous = disk.read_machine(name)
        taken = {record.number for record in disk.machine_records()}
        number = previous.number if previous else min(set(range(2, 255)) - taken)
        record = Record(name, number, replace(origin, upper=layers.name_one()), snapshot, megabytes or layers.MEGABYTES)
        disk.unmount(record, force=True)
        disk.mount(record)
        if not snapshot:
            _lend(record)
        _give_identity(record)
        disk.write_machine(record)
        disk.collect()
    return record


def _lend(record: Record) -> None:
    """Copy settings of this machine, and disable automatic upgrades."""
    bundle = record.root / lent.CA_BUNDLE.lstrip("/")
    quiet = {f"etc/systemd/system/{unit}.d/sandbox.conf": UPGRADES for unit in UPGRADERS}
    for path, text in {**lent.files_for(record.disk.release), **quiet}.items():
        target = record.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        if path.endswith(".crt"):  # what update-ca-certificates will do, half a second sooner
            with bundle.open("a", encoding="ascii") as file:
                file.write(text if text.endswith("\n") else f"{text}\n")


def _give_identity(record: Record) -> None:
    """Host name, machine ID, host keys, and who may log in. No line in /etc/hosts: many servers come without."""
    root = record.root
    (root / "etc/hostname").write_text("sandbox\n" if record.name == "default" else f"{record.name}\n")
    (root / "etc/machine-id").write_text(f"{secrets.token_hex(16)}\n")
    for path in (root / "etc/ssh").glob("ssh_host_*"):
        path.unlink()
    failed = f"could not create SSH keys for sandbox {record.name}"
    local.run(["ssh-keygen", "-A", "-f", root], failed=failed)
    key = key_file()
    if not key.exists():
        local.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ashore-sandbox", "-f", key], failed=failed)
    authorized = root / f"home/{USER}/.ssh/authorized_keys"
    home = authorized.parent.parent.stat()
    authorized.parent.mkdir(mode=0o700, exist_ok=True)
    authorized.write_text(key.with_suffix(".pub").read_text(encoding="ascii"), encoding="ascii")
    for path in (authorized.parent, authorized):
        shutil.chown(path, home.st_uid, home.st_gid)
