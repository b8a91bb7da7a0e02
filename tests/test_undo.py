"""Restoring SSH access on a disk that has no room left: the script of the server, in a file system of its own."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.agent.locks import Locks
from deploy.agent.resources.access.sshd_config import SSHD_CONFIG
from deploy.stack.render import render

OURS, KEYS, NEW = f"{SSHD_CONFIG}.d/10-ashore.conf", "/home/admin/.ssh/authorized_keys", "/etc/ashore/firewall.nft"
OLD, TRIED = "# as it was\n" * 2000, "# as it was tried\n"
# A root of its own, of one small file system: programs from this machine, all else on it. No network of this machine.
INSIDE = """
set -e
mount -t tmpfs -o size=$SIZE,nr_inodes=$INODES tmpfs $ROOT
cd $ROOT
mkdir -p usr proc dev/shm run home/admin/.ssh etc/ssh/sshd_config.d etc/ashore var/lib/ashore/undo
mount --rbind /usr usr
mount --rbind /dev dev
for link in bin sbin lib lib64; do [ ! -L /$link ] || ln -s usr/$link $link; done
cp -a $FILES/. .
[ ! "$HOME_APART" ] || { mount -t tmpfs -o size=$HOME_APART,nr_inodes=$INODES tmpfs home; cp -a $FILES/home/. home; }
for full in . $([ ! "$HOME_APART" ] || echo home); do
    dd if=/dev/zero of=$full/filling bs=1k status=none 2>/dev/null || true
    if [ $INODES != 0 ]; then i=0; while touch $full/inode$i 2>/dev/null; do i=$((i + 1)); done; fi
done
for run in $RUNS; do
    [ $run = full ] || rm -rf filling home/filling inode* home/inode*
    status=0
    chroot . /bin/sh usr.undo.sh >$OUT/said.$run 2>&1 || status=$?
    echo $status >$OUT/status.$run
    mkdir -p $OUT/$run
    for part in etc home var; do cp -a $part $OUT/$run/; done
done
"""


@dataclass
class Ran:
    """What a run left, below `root`, and its exit status."""

    status: int
    root: Path
    said: str

    def text(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    def exists(self, path: str) -> bool:
        return (self.root / path.lstrip("/")).exists()

    @property
    def pending(self) -> bool:
        return self.exists("/var/lib/ashore/undo/undoing")


def tree(files: Path) -> None:
    """A server on which a change was tried: sshd's file and a user's keys are others, a firewall is new."""
    for path, now, before in ((OURS, TRIED, OLD), (KEYS, TRIED, OLD), (NEW, TRIED, None)):
        for where, text in ((path, now), (f"/var/lib/ashore/undo/files{path}", before)):
            if text is not None:
                (files / where.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
                (files / where.lstrip("/")).write_text(text)
    undo = files / "var/lib/ashore/undo"
    (undo / "armed").touch()
    (undo / "paths").write_text(f"{OURS}\n{KEYS}\n{NEW}\n")
    (undo / "absent").write_text(f"{NEW}\n")
    (undo / "table.nft").write_text("table inet ashore\ndelete table inet ashore\n")
    (files / "usr.undo.sh").write_text(render("ssh/undo.sh.j2"))


def undone(directory: Path, runs: str, **more: str) -> list[Ran]:
    """The script, run as often as `runs` has words: "full" with the disk full, anything else with room again."""
    files, out, root = (directory / name for name in ("files", "out", "root"))
    for made in (files, out, root):
        made.mkdir()
    tree(files)
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SIZE": "400k", "INODES": "0", "HOME_APART": "", **more}
    environment |= {"FILES": str(files), "OUT": str(out), "ROOT": str(root), "RUNS": runs}
    argv = [shutil.which("unshare"), "--map-root-user", "--mount", "--net", "sh", "-c", INSIDE]
    ran = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return [
        Ran(int((out / f"status.{run}").read_text()), out / run, (out / f"said.{run}").read_text())
        for run in runs.split()
    ]


def test_on_a_full_disk_everything_is_restored_without_new_room(tmp_path: Path):
    (ran,) = undone(tmp_path, "full")
    assert ran.status == 0, ran.said
    assert ran.text(OURS) == OLD and ran.text(KEYS) == OLD and not ran.exists(NEW)
    assert not ran.exists("/var/lib/ashore/undo")
    assert list(ran.root.rglob("*.before-undo")) == []


@pytest.mark.parametrize(
    "more",
    [{"HOME_APART": "50k"}, {"SIZE": "4m", "INODES": "60"}],  # a tmpfs counts names as inodes, unlike other systems
    ids=["no blocks on another file system", "no inodes"],
)
def test_what_cannot_be_restored_stays_whole_in_its_backup_until_there_is_room(tmp_path: Path, more: dict[str, str]):
    full, later = undone(tmp_path, "full room", **more)
    assert full.status == 1 and f"not restored: {KEYS}" in full.said
    assert full.text(KEYS) == TRIED, "half written"
    assert full.pending and full.text(f"/var/lib/ashore/undo/files{KEYS}") == OLD
    assert not full.exists(NEW)
    assert later.status == 0, later.said
    assert later.text(KEYS) == OLD and later.text(OURS) == OLD and not later.exists(NEW)
    assert not later.exists("/var/lib/ashore/undo")
    assert list(later.root.rglob("*.before-undo")) == []


def test_a_step_that_is_under_way_is_waited_for(tmp_path: Path):
    text = render("ssh/undo.sh.j2").replace("/var/lib/ashore/undo", str(tmp_path)).replace("/run/ashore", str(tmp_path))
    (tmp_path / "armed").touch()
    with Locks(str(tmp_path)).alone("access"):
        undo = subprocess.Popen(["sh", "-c", text.partition("# The backup stays")[0] + "echo undone"])
        with pytest.raises(subprocess.TimeoutExpired):
            undo.wait(0.3)
        assert (tmp_path / "armed").exists()
    assert undo.wait(60) == 0 and (tmp_path / "undoing").exists()
