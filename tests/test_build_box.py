"""A build of packages that fails: whose fault it is, the requirements' or the disk's."""

import os
from pathlib import Path

import pytest

from deploy.agent.resources.release import build_box
from deploy.agent.system import System
from deploy.agent.wire import Failed

NO_SPACE = "error: failed to create directory `/srv/shop/venvs/k/lib`: No space left on device (os error 28)"


def failed(
    directory: Path, monkeypatch: pytest.MonkeyPatch, said: str, left: tuple[int, int] = (1 << 50, 1 << 40)
) -> Failed:
    """A build without its box that ends badly with these words; left: bytes and files that then fit on the disk."""
    ended = directory / "ended"
    monkeypatch.setattr(build_box, "stop", lambda unit: None)
    monkeypatch.setattr(build_box, "hand_over", lambda top: None)
    monkeypatch.setattr(build_box, "required_ids", lambda owner, group: (os.getuid(), os.getgid()))
    monkeypatch.setattr(build_box, "boxed", lambda argv, *rest: argv)
    monkeypatch.setattr(build_box, "room", lambda path: left if ended.exists() else (1 << 50, 1 << 40))
    argv = ["sh", "-c", f"echo '{said}' >&2; touch {ended}; exit 2"]
    with pytest.raises(Failed) as failure:
        build_box.build(System(), argv, "shop", str(directory), "/", {})
    return failure.value


def test_a_build_that_meets_a_disk_without_room_says_so_and_blames_no_requirements(tmp_path: Path, monkeypatch):
    failure = failed(tmp_path, monkeypatch, NO_SPACE)
    assert failure.what.startswith("the server's disk has no room for the packages")
    assert "df -i" in failure.hint and "os error 28" in failure.detail


def test_inodes_that_have_run_out_are_named(tmp_path: Path, monkeypatch):
    failure = failed(tmp_path, monkeypatch, "error: it failed", left=(1 << 50, 3))
    assert "room for 3 more files" in failure.what and "df -i" in failure.hint


def test_other_failures_of_a_build_are_left_to_the_requirements(tmp_path: Path, monkeypatch):
    assert failed(tmp_path, monkeypatch, "no such package").hint == ""
