"""The directory of Nginx's logs, on a real one."""

import os
import stat
import threading
from pathlib import Path

from deploy.agent.resources.host.logs import LogDirectory
from deploy.agent.system import System


def test_a_log_directory_is_root_s_with_plain_files_that_others_cannot_read(tmp_path: Path):
    logs = LogDirectory(str(tmp_path / "shop"))
    assert logs.check(System())
    logs.apply(System())
    assert logs.check(System()) == []
    assert sorted(os.listdir(logs.path)) == ["access.log", "error.log"]
    assert {stat.S_IMODE(os.stat(f"{logs.path}/{name}").st_mode) for name in logs.files} == {0o640}


def test_links_that_an_owner_before_root_left_are_removed_and_not_followed(tmp_path: Path):
    logs = LogDirectory(str(tmp_path / "shop"))
    logs.apply(System())
    target = tmp_path / "nologin"
    other = tmp_path / "other"
    other.write_text("kept")
    (tmp_path / "shop" / "access.log").unlink()
    (tmp_path / "shop" / "access.log").symlink_to(target)
    os.link(other, tmp_path / "shop" / "error.log.1")
    os.mkfifo(tmp_path / "shop" / "pipe")
    assert {drift.what for drift in logs.check(System())} >= {"access.log", "error.log.1", "pipe"}
    logs.apply(System())
    assert logs.check(System()) == []
    assert not target.exists() and other.read_text() == "kept"
    assert sorted(os.listdir(logs.path)) == ["access.log", "error.log"]


def test_a_log_that_all_could_read_is_closed_and_keeps_its_lines(tmp_path: Path):
    logs = LogDirectory(str(tmp_path / "shop"))
    logs.apply(System())
    old = tmp_path / "shop" / "access.log.2.gz"
    old.write_text("lines")
    old.chmod(0o644)
    assert [drift.what for drift in logs.check(System())] == ["access.log.2.gz"]
    logs.apply(System())
    assert stat.S_IMODE(old.stat().st_mode) == 0o640 and old.read_text() == "lines"


def test_what_logrotate_does_meanwhile_is_no_error(tmp_path: Path):
    logs = LogDirectory(str(tmp_path / "shop"))
    logs.apply(System())
    ended = threading.Event()

    def rotate() -> None:
        path = tmp_path / "shop" / "rotated"
        while not ended.is_set():
            path.touch()
            path.unlink()

    rotating = threading.Thread(target=rotate)
    rotating.start()
    try:
        for _ in range(3000):
            logs.check(System())
    finally:
        ended.set()
        rotating.join()
