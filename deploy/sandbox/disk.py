"""The sandboxes' disks: layers over a cached image, and the records that say which belong to whom.

    /var/lib/ashore-sandbox/
        images/bookworm-1f2e3d4c/      root tree of a Debian release; complete once it has this name
        layers/ID/{upper,work}         what one machine changed, see `layers`; read-only once a snapshot took it
        machines/NAME/                 machine.json, known_hosts, console.log, root (the mount point)
        snapshots/LABEL.json           image and layers that a new machine can start from
        locks/

A record is written by renaming. Layers that no record names are leftovers of interrupted runs, and are deleted.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from ..agent.dataclass import asdict, dataclass, replace
from . import layers
from .local import Say, run

STATE = Path("/var/lib/ashore-sandbox")


@dataclass(frozen=True)
class Disk:
    """What a machine or a snapshot is made of. `layers`: newest first, all read-only; `upper`: the machine's own."""

    release: str
    image: str
    layers: tuple[str, ...] = ()
    upper: str = ""


@dataclass(frozen=True)
class Record:
    """A machine as kept on disk. `number` is the last one of its address; `snapshot` the label it was made from.

    megabytes: the size of its disk, beside what it was made from.
    """

    name: str
    number: int
    disk: Disk
    snapshot: str | None = None
    megabytes: int = layers.MEGABYTES

    @property
    def folder(self) -> Path:
        return STATE / "machines" / self.name

    @property
    def root(self) -> Path:
        return self.folder / "root"


def _write(path: Path, record: Disk | Record) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(json.dumps(asdict(record), indent=2), encoding="utf-8")
    os.replace(fresh, path)


def _disk(values: dict[str, object]) -> Disk:
    layers = values["layers"]
    assert isinstance(layers, list)
    return Disk(str(values["release"]), str(values["image"]), tuple(map(str, layers)), str(values["upper"]))


def write_machine(record: Record) -> None:
    _write(record.folder / "machine.json", record)


def read_machine(name: str) -> Record | None:
    try:
        values = json.loads((STATE / "machines" / name / "machine.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    size = values.get("megabytes", layers.MEGABYTES)
    return Record(values["name"], values["number"], _disk(values["disk"]), values["snapshot"], size)


def machine_records() -> list[Record]:
    names = sorted(path.parent.name for path in STATE.glob("machines/*/machine.json"))
    return [record for name in names if (record := read_machine(name))]


def snapshot_path(label: str) -> Path:
    return STATE / "snapshots" / f"{label}.json"


def write_snapshot(label: str, disk: Disk) -> None:
    _write(snapshot_path(label), disk)


def read_snapshot(label: str) -> Disk | None:
    try:
        return _disk(json.loads(snapshot_path(label).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def snapshot_labels() -> list[str]:
    return sorted(path.stem for path in STATE.glob("snapshots/*.json") if not path.name.startswith("."))


@contextlib.contextmanager
def lock(name: str, say: Say | None = None, waiting: str = "") -> Iterator[None]:
    """Held by one process of this machine; freed by the kernel when its owner dies. Says `waiting` if it has to."""
    import fcntl  # Unix only, and this module must import everywhere

    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)  # the trees below have old setuid programs in them
    path = STATE / "locks" / f"{name}.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if say and waiting:
                say(waiting)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def frozen(record: Record) -> Record:
    """The same machine with what it has written so far below a fresh layer. Nothing is copied."""
    below = (record.disk.upper, *record.disk.layers)
    return replace(record, disk=replace(record.disk, layers=below, upper=layers.name_one()))


def image_path(image: str) -> Path:
    return STATE / "images" / image


def read_file(record: Record, path: str) -> str:
    """A file of the machine's, mounted or not; "" if it has none."""
    attach_all(record)
    own = [layers.upper(STATE, layer) for layer in (record.disk.upper, *record.disk.layers)]
    for layer in (*own, image_path(record.disk.image)):
        if (layer / path).is_file():
            return (layer / path).read_text(encoding="utf-8")
    return ""


def attach_all(record: Record) -> None:
    """Have all layers of a machine where they can be read."""
    with lock("layers"):
        for layer in record.disk.layers:
            layers.attach(STATE, layer)
        layers.attach(STATE, record.disk.upper, record.megabytes)


def is_mounted(root: Path) -> bool:
    return os.path.ismount(root)


def mount(record: Record) -> None:
    if is_mounted(record.root):
        return
    record.root.mkdir(parents=True, exist_ok=True)
    attach_all(record)
    below = [layers.upper(STATE, layer) for layer in record.disk.layers] + [image_path(record.disk.image)]
    own = layers.upper(STATE, record.disk.upper).parent
    options = (
        f"lowerdir={':'.join(map(str, below))},upperdir={own / 'upper'},workdir={own / 'work'}",
        "redirect_dir=off,metacopy=off,index=off",  # or an upper could not serve as another machine's lower
        "xino=on",  # one device number for all files, as on a server: layers are file systems of their own
    )
    failed = f"could not mount the disk of sandbox {record.name}"
    hint = f"its disk may be broken; reset it: fab sandbox.reset --name {record.name}"
    run(["mount", "-t", "overlay", "ashore-sandbox", "-o", ",".join(options), record.root], failed=failed, hint=hint)


def unmount(record: Record, *, force: bool = False) -> None:
    """A process in the directory keeps it mounted, unless `force` (which detaches it from the tree)."""
    if not is_mounted(record.root):
        return
    failed = f"could not unmount the disk of sandbox {record.name}"
    if force:
        run(["umount", "--lazy", record.root], failed=failed)
    else:
        run(["umount", record.root], failed=failed, hint=f"a program uses the directory {record.root}; leave it")
    if not force:
        mounted = [other.disk for other in machine_records() if is_mounted(other.root)]
        needed = {layer for disk in mounted for layer in (disk.upper, *disk.layers)}
        with lock("layers"):
            for layer in {record.disk.upper, *record.disk.layers} - needed:
                layers.detach(STATE, layer)


def all_disks() -> list[Disk]:
    snapshots = [disk for label in snapshot_labels() if (disk := read_snapshot(label))]
    return [record.disk for record in machine_records()] + snapshots


def collect() -> None:
    """Delete the layers that nothing names any more. Under the lock "disks"."""
    used = {layer for disk in all_disks() for layer in (*disk.layers, disk.upper)}
    with lock("layers"):
        layers.forget(STATE, used)
