"""The changes of one machine, in its own file system of a fixed size, so it cannot fill this machine's disk.

/var/lib/ashore-sandbox/
    volumes/ID.img                 a file system that takes the room of what is in it, up to its size
    layers/ID/{upper,work}         where it is mounted, as long as a machine needs it
"""

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from .local import run

MEGABYTES = 8000


def name_one() -> str:
    return secrets.token_hex(6)


def upper(state: Path, layer: str) -> Path:
    return state / "layers" / layer / "upper"


def attach(state: Path, layer: str, megabytes: int = 0) -> None:
    """Mount a layer, if it is not; megabytes: make it of that size, if there is none."""
    place, volume = state / "layers" / layer, state / "volumes" / f"{layer}.img"
    if megabytes and not volume.exists() and not upper(state, layer).exists():
        volume.parent.mkdir(parents=True, exist_ok=True)
        fresh = volume.with_suffix(".new")
        fresh.unlink(missing_ok=True)  # left by an interrupted run
        options = ["-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", "-m", "0"]
        argv: list[str | Path] = ["mke2fs", "-q", "-F", "-t", "ext4", *options, fresh, f"{megabytes}M"]
        run(argv, failed=f"could not create a disk of {megabytes} MB", where=str(volume))
        os.rename(fresh, volume)
    if volume.exists() and not os.path.ismount(place):
        place.mkdir(parents=True, exist_ok=True)
        run(["mount", "-o", "loop,noatime", volume, place], failed="could not mount the disk of a sandbox")
    for part in ("upper", "work") if megabytes else ():
        (place / part).mkdir(parents=True, exist_ok=True)


def detach(state: Path, layer: str) -> None:
    """Unmount a layer. A machine whose disk is still mounted somewhere keeps hold of what it needs of it."""
    place = state / "layers" / layer
    if os.path.ismount(place):
        run(["umount", "--lazy", place], failed="could not unmount the disk of a sandbox")


def forget(state: Path, used: set[str]) -> None:
    """Delete the layers that are not in use by any record."""
    for path in [*state.glob("layers/*"), *state.glob("volumes/*")]:
        layer = path.name.partition(".")[0]
        if layer not in used:
            detach(state, layer)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
