"""Files, directories and links, on a real temporary directory."""

import os
from pathlib import Path

import pytest

from deploy.agent.resources.config_files import ConfigFiles
from deploy.agent.resources.files import Absent, Directory, File, Link, beside, seal
from deploy.agent.system import System
from deploy.agent.wire import Failed, Refused, Secret


@pytest.fixture
def system() -> System:
    return System()


def test_a_link_is_repointed_and_then_drifts_no_more(tmp_path: Path, system: System):
    link = Link(str(tmp_path / "current"), "releases/2")
    os.symlink("releases/1", tmp_path / "current")
    assert [(d.found, d.wanted) for d in link.check(system)] == [("releases/1", "releases/2")]
    link.apply(system)
    assert link.check(system) == []


def test_a_link_left_half_made_does_not_matter(tmp_path: Path, system: System):
    os.symlink("nowhere", beside(str(tmp_path / "current")))
    link = Link(str(tmp_path / "current"), "releases/2")
    link.apply(system)
    assert os.readlink(tmp_path / "current") == "releases/2"
    assert os.listdir(tmp_path) == ["current"]


def test_a_file_s_drift_is_a_unified_diff(tmp_path: Path, system: System):
    path = tmp_path / "a.conf"
    path.write_text(seal("# old\nsame\n"))
    (drift,) = File(str(path), seal("# new\nsame\n")).check(system)
    assert "-# old" in drift.diff and "+# new" in drift.diff and " same" in drift.diff


def test_what_waits_for_its_name_is_not_read_by_nginx(tmp_path: Path):
    """Debian's nginx.conf includes sites-enabled/*, which leaves out what begins with a dot."""
    assert os.path.basename(beside("/etc/nginx/sites-enabled/shop.conf")).startswith(".")


def test_a_file_that_is_kept_may_have_an_older_text_of_ours_but_no_edit(tmp_path: Path, system: System):
    path = tmp_path / "shop@1.service"
    path.write_text(seal("# ours\nolder\n"))
    file = File(str(path), seal("# ours\nnewer\n"), keep=True)
    path.chmod(0o644)
    assert file.check(system) == []
    path.write_text(path.read_text() + "mine\n")
    with pytest.raises(Refused, match="edited by hand"):
        file.check(system)


def test_a_new_file_s_diff_is_against_the_one_that_it_comes_after(tmp_path: Path, system: System):
    (tmp_path / "1").write_text(seal("# unit\nA=1\n"))
    (drift,) = File(str(tmp_path / "2"), seal("# unit\nA=2\n"), was=str(tmp_path / "1")).check(system)
    assert "-A=1" in drift.diff and "+A=2" in drift.diff
    (drift,) = File(str(tmp_path / "2"), seal("# unit\nA=1\n"), was=str(tmp_path / "1")).check(system)
    assert drift.diff == ""


def test_looking_changes_nothing(tmp_path: Path, system: System):
    File(str(tmp_path / "a"), "x").check(system)
    Directory(str(tmp_path / "d")).check(system)
    Link(str(tmp_path / "l"), "x").check(system)
    assert os.listdir(tmp_path) == []


def test_a_written_file_has_its_text_owner_and_mode_and_leaves_no_other(tmp_path: Path, system: System):
    file = File(str(tmp_path / "a"), "text", 0o640)
    file.apply(system)
    assert file.check(system) == []
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_a_mode_that_drifted_is_seen(tmp_path: Path, system: System):
    file = File(str(tmp_path / "a"), "text")
    file.apply(system)
    (tmp_path / "a").chmod(0o666)
    assert [d.what for d in file.check(system)] == ["mode"]


def test_a_secret_is_written_and_never_shown(tmp_path: Path, system: System):
    file = File(str(tmp_path / "env"), Secret("PASSWORD=tide"), 0o600)
    shown = repr(file.check(system)) + repr(file)
    assert "tide" not in shown and "[hidden]" in shown
    file.apply(system)
    assert (tmp_path / "env").read_text() == "PASSWORD=tide"


def test_an_edit_by_hand_is_refused_with_the_difference(tmp_path: Path, system: System):
    path = tmp_path / "a.conf"
    path.write_text(seal("# ours\nold\n") + "by hand\n")
    with pytest.raises(Refused, match="edited by hand") as raised:
        File(str(path), seal("# ours\nnew\n")).check(system)
    assert "-by hand" in raised.value.detail and "--force" in raised.value.hint


def test_a_newer_text_of_ours_goes_over_an_older_one(tmp_path: Path, system: System):
    path = tmp_path / "a.conf"
    path.write_text(seal("# ours\nold\n"))
    file = File(str(path), seal("# ours\nnew\n"))
    file.apply(system)
    assert file.check(system) == []


def test_overwriting_keeps_a_copy(tmp_path: Path, system: System):
    path = tmp_path / "a.conf"
    path.write_text("by hand\n")
    file = File(str(path), seal("# ours\n"), force=True)
    assert file.check(system)
    file.apply(system)
    assert (tmp_path / "a.conf.before-ashore").read_text() == "by hand\n"


def test_a_file_where_a_directory_should_be_is_refused(tmp_path: Path, system: System):
    (tmp_path / "d").write_text("x")
    with pytest.raises(Refused, match="is not a directory"):
        Directory(str(tmp_path / "d")).check(system)
    with pytest.raises(Refused, match="is a directory"):
        File(str(tmp_path), "x").check(system)


def test_removing_a_tree_does_not_follow_links(tmp_path: Path, system: System):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "gone").mkdir()
    os.symlink(tmp_path / "kept", tmp_path / "gone" / "link")
    Absent(str(tmp_path / "gone")).apply(system)
    assert (tmp_path / "kept" / "file").exists() and not (tmp_path / "gone").exists()


def test_files_that_a_program_refuses_are_put_back_together(tmp_path: Path, system: System):
    (tmp_path / "a").write_text("before")
    config = ConfigFiles(
        "site",
        (File(str(tmp_path / "a"), "after"), File(str(tmp_path / "b"), "new"), Link(str(tmp_path / "l"), "b")),
        ("sh", "-c", "echo no good >&2; exit 1"),
    )
    with pytest.raises(Failed) as raised:
        config.apply(system)
    assert "no good" in raised.value.detail
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "before"


def test_files_that_a_program_accepts_stay(tmp_path: Path, system: System):
    config = ConfigFiles("site", (File(str(tmp_path / "a"), "after"),), ("true",))
    config.apply(system)
    assert config.check(system) == []
