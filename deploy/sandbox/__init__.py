"""A throwaway Debian server on this machine, booted in about two seconds.

It is a container with real systemd, sshd and apt and an address of its own, reached over SSH as user admin
with passwordless sudo, like a new cloud server. It needs Linux and root. Every failure is a SandboxError.
"""

import contextlib
import errno
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ..agent.dataclass import dataclass, replace
from ..config.reader import Stage
from ..errors import SandboxError
from . import boot, disk, image, lent, local, making, network
from .disk import Disk, Record
from .local import Say


@dataclass(frozen=True)
class Machine:
    """A sandbox as others see it. `host_key`: SHA256 fingerprint of its ed25519 key; `root`: its file system, here."""

    name: str
    address: str
    user: str
    key_file: str
    host_key: str
    state: str
    release: str
    root: Path


def as_json(machine: Machine) -> dict[str, str]:
    """What other tools may rely on."""
    keys = ("name", "address", "user", "key_file", "host_key", "state")
    return {key: str(getattr(machine, key)) for key in keys}


def up(
    name: str = "default", release: str = "bookworm", *, say: Say, snapshot: str | None = None, megabytes: int = 0
) -> Machine:
    """Boot it, created from the release or the snapshot if it is new; returns when SSH answers. Silent if it runs.

    megabytes: the size of its disk, if it is new (0: as usual); that takes as much room here as there is in it.
    """
    with _working_on(name, say):
        record = disk.read_machine(name)
        if record is None:
            local.require_packages(say)
            record = making.create(name, _origin(release, snapshot, say), snapshot, megabytes)
        elif snapshot is not None and snapshot != record.snapshot:
            raise _exists(name, f"from {_described(record)}", f"snapshot {snapshot}")
        elif snapshot is None and release != record.disk.release:
            raise _exists(name, f"with Debian {record.disk.release}", f"Debian {release}")
        return _boot(record, say)


def reset(
    name: str = "default", release: str | None = None, *, say: Say, snapshot: str | None = None, megabytes: int = 0
) -> Machine:
    """Delete its disk and boot from a new one, with new host keys: from the snapshot or release, by default its own."""
    with _working_on(name, say):
        local.require_packages(say)
        record = disk.read_machine(name)
        fallback = record.disk.release if record else "bookworm"
        origin = _origin(release or fallback, snapshot, say)
        if record:
            _stop(record)
        return _boot(making.create(name, origin, snapshot, megabytes), say)


def stage(machine: Machine) -> Stage:
    """The machine as a stage to work on, with a certificate for its address by a CA of this machine's own."""
    from . import authority

    with _working_on(machine.name):
        chain, key = authority.certificate(_existing(machine.name).folder, machine.address)
    return Stage(
        "sandbox",
        hosts=(f"{machine.user}@{machine.address}",),
        host_keys=(machine.host_key,),
        key_file=machine.key_file,
        pin=False,
        tls="files",
        certificate=str(chain),
        certificate_key=str(key),
        authority=str(authority.ca_file()),
        hsts_days=0,  # another sandbox may have the address tomorrow
    )


def down(name: str = "default") -> bool:
    """Stop it, keep its disk. False if it was not running."""
    with _working_on(name):
        record = _existing(name)
        was_running = boot.is_running(name)
        _stop(record, clean_seconds=20)
        with contextlib.suppress(SandboxError):  # somebody uses the directory: leave it mounted
            disk.unmount(record)
        _leave_network()
        return was_running


def cut_power(name: str = "default") -> None:
    """Stop it like a power cut, without a clean shutdown."""
    with _working_on(name):
        _stop(_existing(name))


def destroy(name: str = "default") -> None:
    """Stop it and delete its disk. Snapshots of it stay."""
    with _working_on(name):
        record = _existing(name)
        _stop(record)
        disk.unmount(record, force=True)
        with disk.lock("disks"):
            shutil.rmtree(record.folder)
            disk.collect()
        _leave_network()


def reboot(name: str = "default") -> None:
    """Reboot it by its own systemd; returns when SSH answers again."""
    with _working_on(name):
        machine = _seen(_existing(name))
        if machine.state != "running":
            raise SandboxError(
                f"sandbox {name} is not running", where=name, state="nothing was done", hint="start it: fab sandbox"
            )
        if not boot.boot_again(name, machine.address, seconds=60):
            raise SandboxError(
                f"sandbox {name} did not answer within 60 s after its reboot",
                where=str(_existing(name).folder / "console.log"),
                state="running" if boot.is_running(name) else "stopped, its disk is kept",
                hint=f"fab sandbox.reset --name {name}",
            )


def machines() -> list[Machine]:
    """All there are, by name."""
    local.require_linux_root()
    return [_seen(record) for record in disk.machine_records()]


def save(name: str, label: str) -> None:
    """Stop it and keep its disk as snapshot `label`, replacing an older one. The machine goes on from there."""
    _check_name(label, "snapshot label")
    with _working_on(name):
        record = _existing(name)
        _stop(record, clean_seconds=20)
        disk.unmount(record)
        with disk.lock("disks"):
            record = disk.frozen(record)
            disk.write_machine(record)
            disk.write_snapshot(label, replace(record.disk, upper=""))
            disk.collect()
        _leave_network()


def delete_snapshot(label: str) -> None:
    """Machines made from it keep what they have."""
    local.require_linux_root()
    _snapshot(label)
    with disk.lock("disks"):
        disk.snapshot_path(label).unlink(missing_ok=True)
        disk.collect()


def shell(name: str = "default") -> int:
    """A login on it for the person at the terminal; the exit status of ssh."""
    local.require_linux_root()
    record = _existing(name)
    machine = _seen(record)
    known_hosts = record.folder / "known_hosts"
    known_hosts.write_text(f"{machine.address} {disk.read_file(record, making.HOST_KEY)}", encoding="ascii")
    options = [f"UserKnownHostsFile={known_hosts}", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "LogLevel=ERROR"]
    arguments = [word for option in options for word in ("-o", option)]
    return subprocess.call(["ssh", "-i", machine.key_file, *arguments, f"{machine.user}@{machine.address}"])


@contextlib.contextmanager
def _working_on(name: str, say: Say | None = None) -> Iterator[None]:
    """Lock machine `name`, and turn OSErrors into SandboxErrors."""
    local.require_linux_root()
    _check_name(name, "sandbox name")
    try:
        with disk.lock(f"machine-{name}", say, f"waiting for another process that uses sandbox {name}"):
            yield
    except OSError as error:
        full = error.errno == errno.ENOSPC
        raise SandboxError(
            f"sandbox {name}: {'the disk is full' if full else error.strerror or error}",
            where=str(error.filename or disk.STATE),
            state="running" if boot.is_running(name) else "not running",
            hint="free some space, then run the same command again" if full else "run the same command again",
        ) from error


def _check_name(name: str, kind: str) -> None:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?", name):
        raise SandboxError(
            f"{name!r} is not a valid {kind}",
            state="nothing was changed",
            hint="use up to 20 of a-z, 0-9 and -, beginning and ending with a letter or digit",
        )


def _existing(name: str) -> Record:
    record = disk.read_machine(name)
    if record is None:
        raise _missing(f"sandbox {name!r}", [known.name for known in disk.machine_records()])
    return record


def _snapshot(label: str) -> Disk:
    found = disk.read_snapshot(label)
    if found is None:
        raise _missing(f"snapshot {label!r}", disk.snapshot_labels())
    return found


def _missing(what: str, there: list[str]) -> SandboxError:
    hint = f"existing ones: {', '.join(there) or 'none'}"
    return SandboxError(f"there is no {what}", where="this machine", state="nothing was changed", hint=hint)


def _described(record: Record) -> str:
    return f"snapshot {record.snapshot}" if record.snapshot else f"Debian {record.disk.release}"


def _exists(name: str, made: str, wanted: str) -> SandboxError:
    return SandboxError(
        f"sandbox {name} was created {made}, not {wanted}",
        where=name,
        state="nothing was changed",
        hint=f"reset it: fab sandbox.reset --name {name}; or choose another name",
    )


def _origin(release: str, snapshot: str | None, say: Say) -> Disk:
    """What a new machine starts from."""
    return _snapshot(snapshot) if snapshot else Disk(release, image.ensure(release, say))


def _stop(record: Record, clean_seconds: float = 0) -> None:
    boot.stop(record.name, clean_seconds=clean_seconds)
    network.unplug(record.number)


def _boot(record: Record, say: Say) -> Machine:
    name, console = record.name, record.folder / "console.log"
    if not boot.is_running(name):
        _stop(record)  # what a killed nspawn left behind
        local.require_packages(say)
        say(f"booting sandbox {name} ({_described(record)})")
        if not disk.image_path(record.disk.image).is_dir():
            raise SandboxError(
                f"the Debian image of sandbox {name} is missing",
                where=str(disk.image_path(record.disk.image)),
                state="it cannot boot",
                hint=f"reset it: fab sandbox.reset --name {name}",
            )
        with disk.lock("network"):  # until it runs: the last machine to stop takes the network down
            net = network.bring_up(_network_state())
            disk.mount(record)
            network.configure(record.root, net, record.number, lent.resolv_conf())
            boot.start(name, record.number, record.root, console)
    machine = _seen(record)
    boot.wait_until_it_answers(name, machine.address, console)
    return machine


def _leave_network() -> None:
    with disk.lock("network"):
        if not any(boot.is_running(record.name) for record in disk.machine_records()):
            network.take_down(_network_state())


def _network_state() -> Path:
    return disk.STATE / "network.json"


def _seen(record: Record) -> Machine:
    net = network.known(_network_state())
    public_key = disk.read_file(record, making.HOST_KEY)
    return Machine(
        name=record.name,
        address=net.address(record.number) if net else "",
        user=making.USER,
        key_file=str(making.key_file()),
        host_key=making.fingerprint(public_key) if public_key else "",
        state="running" if boot.is_running(record.name) else "stopped",
        release=record.disk.release,
        root=record.root,
    )
