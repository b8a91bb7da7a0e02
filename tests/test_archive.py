"""Source tree → release."""

import json
import os
import subprocess
import time
import zlib
from pathlib import Path

import pytest

from deploy.agent.resources.release.uploads import BLOCK, Entry, escaping, unpacked
from deploy.errors import SourceError
from deploy.source import tree as archive
from deploy.source.tree import collect, stream


def git(directory: Path, *words: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run(["git", *who, *words], cwd=directory, check=True, capture_output=True)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(directory))
    return directory


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
    with pytest.raises(SourceError, match=r"app\.include names sho, which does not exist"):
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
    with pytest.raises(SourceError, match="should not be on a server") as raised:
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
    with pytest.raises(SourceError, match="leads outside it"):
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


def built(repository: Path) -> None:
    """What a build has made and git ignores, beside what it ignores for good reason."""
    (repository / ".gitignore").write_text("dist\n.env\n")
    git(repository, "add", ".gitignore")
    git(repository, "commit", "-q", "-m", "ignore")
    (repository / "dist" / "__pycache__").mkdir(parents=True)
    for name in ("dist/app.js", "dist/__pycache__/x.pyc", "dist/.env"):
        (repository / name).write_text("x")


def test_what_include_names_is_uploaded_even_if_git_ignores_it(repository: Path):
    built(repository)
    source = collect(repository, ("shop", "dist"))
    assert [entry.path for entry in source.entries] == ["dist/app.js", "shop/app.py"]
    assert "deployed although git does not track it, because app.include names it: dist" in source.notes
    assert "left out: dist/.env (may hold secrets)" in source.notes
    assert [entry.path for entry in collect(repository, ("shop",)).entries] == ["shop/app.py"]
    assert names(repository, ("shop", "dist/app.js")) == ["dist/app.js", "shop/app.py"]


def test_a_file_that_goes_while_the_source_is_uploaded_is_named(tree: Path):
    source = collect(tree, ())
    (tree / "shop" / "app.py").unlink()
    with pytest.raises(SourceError, match=r"shop/app\.py can no longer be read") as told:
        list(stream(source, [0, 1]))
    assert "the previous release serves" in told.value.state


@pytest.mark.parametrize("include", [(".",), ()])
def test_all_of_the_source_is_what_include_names_with_a_dot(repository: Path, include: tuple[str, ...]):
    assert names(repository, include) == names(repository)


def test_what_git_ignores_below_a_path_that_include_names_is_told_but_for_rubbish(repository: Path):
    built(repository)
    (repository / "dist" / ".gitkeep").touch()
    git(repository, "add", "-f", "dist/.gitkeep")
    source = collect(repository, ("shop", "dist"))
    assert [entry.path for entry in source.entries] == ["dist/.gitkeep", "shop/app.py"]
    assert "not deployed, because git ignores them: dist/.env, dist/app.js" in source.notes
    assert not any("git ignores" in note for note in collect(repository, ()).notes)  # git was told so


def test_a_repository_that_git_refuses_to_read_is_not_deployed_with_what_it_ignores(
    repository: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # as where another user has checked it out
    with pytest.raises(SourceError, match="git cannot read this repository") as told:
        collect(repository, ())
    assert "safe.directory" in told.value.detail and told.value.hint and told.value.state == "nothing was uploaded"


def test_a_repository_without_git_to_read_it_is_not_deployed_with_what_it_ignores(
    repository: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(repository))
    with pytest.raises(SourceError, match="git is not installed"):
        collect(repository / "shop", ())


def test_a_directory_in_which_git_tracks_files_brings_only_those(repository: Path):
    (repository / "shop" / "local.py").write_text("x")
    source = collect(repository, ("shop",))
    assert [entry.path for entry in source.entries] == ["shop/app.py"]
    assert any("git does not track it: shop/local.py" in note for note in source.notes)


def long_ago(*paths: Path) -> None:
    """Files as they are some time after they were written, as nearly all are."""
    for path in paths:
        os.utime(path, ns=(10**18, 10**18))


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is some time later than when the files were written."""
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now + 60 * 10**9)


def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read from here on."""
    found: list[str] = []
    real = archive.read
    monkeypatch.setattr(archive, "read", lambda path, name: (found.append(name), real(path, name))[1])
    return found


def test_an_unchanged_file_is_read_once(repository: Path, later: None, monkeypatch: pytest.MonkeyPatch):
    first = collect(repository, ())
    found = reads(monkeypatch)
    assert collect(repository, ()) == first and found == []
    (repository / "run.sh").write_text("#!/bin/sh\n:\n")
    changed = collect(repository, ())
    assert found == ["run.sh"] and changed.entries[0].hash != first.entries[0].hash


def test_a_file_of_the_same_size_and_time_that_was_replaced_is_read_again(
    repository: Path, later: None, monkeypatch: pytest.MonkeyPatch
):
    path = repository / "shop" / "app.py"
    long_ago(path)
    first = collect(repository, ())
    other = repository / "other"
    other.write_text("app = 2\n")
    long_ago(other)
    os.replace(other, path)
    assert path.stat().st_size == len("app = 1\n")
    assert collect(repository, ()).entries[1].hash != first.entries[1].hash


def test_a_file_that_was_just_written_is_not_trusted_to_stay(repository: Path, monkeypatch: pytest.MonkeyPatch):
    collect(repository, ())
    found = reads(monkeypatch)
    collect(repository, ())
    assert found == ["run.sh", "shop/app.py"]


BROKEN = [
    "", "{", "[]", '{"format": 0, "files": {}}', "\xff", '{"format": 1}', '{"format": 1, "files": []}',
    '{"format": 1, "files": {"run.sh": 5}}', '{"format": 1, "files": {"run.sh": null, "shop/app.py": ["x"]}}',
]  # fmt: skip


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_cache_is_done_without(repository: Path, cache: Path, later: None, text: str):
    first = collect(repository, ())
    [path] = cache.rglob("*.json")
    path.write_bytes(text.encode("latin-1"))
    assert collect(repository, ()) == first


def test_a_line_of_the_cache_that_has_no_hash_is_done_without(repository: Path, cache: Path, later: None):
    first = collect(repository, ())
    [path] = cache.rglob("*.json")
    kept = json.loads(path.read_text())
    kept["files"]["run.sh"][:2] = [None, 5]
    path.write_text(json.dumps(kept))
    assert collect(repository, ()) == first


def test_a_path_that_is_too_long_for_a_name_is_not_there(tree: Path):
    with pytest.raises(SourceError, match=r"app\.include names a+, which does not exist"):
        collect(tree, ("a" * 300,))


def test_a_cache_that_cannot_be_written_is_done_without(repository: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert names(repository) == ["run.sh", "shop/app.py"]


def test_a_secret_is_found_in_a_file_that_is_not_read_again(repository: Path, later: None):
    (repository / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\nMIGHAgEA\n-----END PRIVATE KEY-----\n")
    git(repository, "add", "key.pem")
    for _ in range(2):
        with pytest.raises(SourceError, match="should not be on a server"):
            collect(repository, ())
