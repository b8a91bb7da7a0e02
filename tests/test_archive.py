"""Source tree → release."""

import subprocess
import zlib
from pathlib import Path

import pytest

from deploy.agent.resources.uploads import BLOCK, Entry, escaping, unpacked
from deploy.archive import collect, stream
from deploy.errors import SourceError


def git(directory: Path, *words: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run(["git", *who, *words], cwd=directory, check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "app.py").write_text("app = 1\n")
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "run.sh").chmod(0o755)
    return tmp_path


@pytest.fixture
def repository(tree: Path) -> Path:
    git(tree, "init", "-q")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "first")
    return tree


def names(directory: Path, include: tuple[str, ...] = ()) -> list[str]:
    return [entry.path for entry in collect(directory, include).entries]


def test_without_git_everything_but_rubbish_travels(tree: Path):
    for rubbish in (".venv/x.py", "shop/__pycache__/app.pyc", "env2/pyvenv.cfg", "node_modules/a.js", "db.sqlite3"):
        (tree / rubbish).parent.mkdir(parents=True, exist_ok=True)
        (tree / rubbish).write_text("x")
    assert names(tree) == ["run.sh", "shop/app.py"]


def test_with_git_what_it_tracks_travels_as_it_is_in_the_work_tree(repository: Path):
    (repository / "shop" / "app.py").write_text("app = 2\n")
    (repository / "untracked.py").write_text("x")
    source = collect(repository, ())
    assert [entry.path for entry in source.entries] == ["run.sh", "shop/app.py"]
    assert source.commit.endswith("+dirty")
    assert any("git does not track it: untracked.py" in note for note in source.notes)
    assert source.entries[1].size == len("app = 2\n")


def test_a_tracked_file_that_was_deleted_stays_behind(repository: Path):
    (repository / "run.sh").unlink()
    assert names(repository) == ["shop/app.py"]


def test_executables_are_told_from_plain_files(repository: Path):
    assert [entry.kind for entry in collect(repository, ()).entries] == ["x", "f"]


def test_include_chooses_directories_and_files(repository: Path):
    assert names(repository, ("shop",)) == ["shop/app.py"]
    with pytest.raises(SourceError, match=r"app\.include names sho, which is not there"):
        collect(repository, ("sho",))


KEY = "-----BEGIN {}PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END {}PRIVATE KEY-----\n"
SUSPICIOUS = {
    ".env": ("PASSWORD=x", "may hold secrets"),
    "shop/.env.production": ("PASSWORD=x", "may hold secrets"),
    "keys/id_ed25519": ("x", "may hold secrets"),
    "store.p12": ("x", "may hold secrets"),
    "shop/note.txt": (f"here it is\n{KEY.format('RSA ', 'RSA ')}", "a private key"),
    "tls.pem": (KEY.format("", ""), "a private key"),
    "data": ("SQLite format 3\0and so on", "a database"),
}


@pytest.mark.parametrize("name", SUSPICIOUS)
def test_a_secret_or_a_database_that_git_tracks_is_refused_unless_it_is_named(repository: Path, name: str):
    text, why = SUSPICIOUS[name]
    (repository / name).parent.mkdir(exist_ok=True)
    (repository / name).write_text(text)
    git(repository, "add", "-A", "-f")
    with pytest.raises(SourceError, match="should be on no server") as raised:
        collect(repository, ())
    assert raised.value.detail == f"{name}: {why}" and "include_anyway" in raised.value.hint
    assert name in [entry.path for entry in collect(repository, (), (name,)).entries]


def test_without_git_secrets_and_databases_are_left_out_and_that_is_said(tree: Path):
    for name, (text, _) in SUSPICIOUS.items():
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_text(text)
    source = collect(tree, ())
    assert [entry.path for entry in source.entries] == ["run.sh", "shop/app.py"]
    assert all(f"{name} ({why})" in source.notes[0] for name, (_, why) in SUSPICIOUS.items())


@pytest.mark.parametrize(
    ("name", "text"),
    [(".env.example", "PASSWORD="), ("shop/keys.py", 'BEGIN = "-----BEGIN PRIVATE KEY-----"\n'), ("id_rsa.pub", "x")],
)
def test_what_only_resembles_a_secret_travels(repository: Path, name: str, text: str):
    (repository / name).write_text(text)
    git(repository, "add", "-A", "-f")
    assert name in names(repository)


def test_a_repository_that_tracks_nothing_says_what_to_do(tmp_path: Path):
    git(tmp_path, "init", "-q")
    (tmp_path / "app.py").write_text("x")
    with pytest.raises(SourceError, match="no files to deploy") as raised:
        collect(tmp_path, ())
    assert "git add" in raised.value.hint


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "shop/../../outside"])
def test_a_link_that_leaves_the_source_is_refused(tree: Path, target: str):
    (tree / "link").symlink_to(target)
    with pytest.raises(SourceError, match="would leave the release"):
        collect(tree, ())


def test_a_link_inside_the_source_travels_as_a_link(tree: Path):
    (tree / "shop" / "again.py").symlink_to("app.py")
    assert Entry("shop/again.py", "l", 0, "app.py") in collect(tree, ()).entries


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "", "a//b", "./a", "a\0b"])
def test_the_server_refuses_names_that_leave_the_release(path: str):
    assert escaping([Entry(path, "f", 1, "0" * 64)])


def test_the_server_refuses_to_write_through_a_link():
    assert escaping([Entry("a", "l", 0, "b"), Entry("a/x", "f", 1, "0" * 64)])
    assert not escaping([Entry("a", "l", 0, "b"), Entry("b/x", "f", 1, "0" * 64)])


@pytest.mark.parametrize(
    "links",
    [
        {"a/b/up": "../..", "a/b/out": "up/../x"},  # each is inside by its words alone
        {"a/b/up": "../..", "a/b/higher": "up/..", "a/b/out": "higher/../etc"},
        {"up": "a/b/c", "a/b/c": "../../.."},
        {"x": "y", "y": "x"},
        {"x": "/etc/passwd"},
        {"x": "y/z", "y": "/etc"},
    ],
)
def test_links_that_leave_the_source_by_way_of_each_other_are_refused(links: dict):
    assert escaping([Entry(path, "l", 0, target) for path, target in links.items()])


def test_links_that_lead_through_others_and_stay_inside_are_taken():
    links = {"a/up": "..", "b": "a/up/c", "d": "b/../e"}
    assert not escaping([Entry("c/f", "f", 1, "0" * 64), *(Entry(p, "l", 0, t) for p, t in links.items())])


def test_a_name_that_is_there_twice_is_refused():
    assert "twice" in escaping([Entry("a", "l", 0, "b"), Entry("a", "f", 1, "0" * 64)])


@pytest.mark.parametrize("size", [0, 5, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_what_is_unpacked_comes_whole_and_in_bounded_pieces(size: int):
    packed = zlib.compress(b"x" * size)
    blobs = iter([packed[:7], packed[7:]])
    pieces = list(unpacked(lambda: next(blobs)))
    assert b"".join(pieces) == b"x" * size
    assert all(len(piece) <= BLOCK for piece in pieces)


def test_the_stream_is_the_chosen_files_bytes_in_order(tree: Path):
    source = collect(tree, ())
    packed = b"".join(stream(source, [1, 0]))
    assert zlib.decompress(packed) == b"app = 1\n#!/bin/sh\n"
