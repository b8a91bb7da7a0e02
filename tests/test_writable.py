"""Data in the source: what moves, what it begins with, and what the hints say."""

import json
import os
from pathlib import Path

import pytest

from deploy.agent.resources.release import built, writable
from deploy.agent.resources.release.trees import copy_tree
from deploy.agent.resources.release.uploads import known_files, places_of
from deploy.agent.resources.release.writable import Writable
from deploy.agent.resources.serving.read_only import hint_of_read_only
from deploy.agent.system import System
from deploy.agent.wire import Entry, Failed
from deploy.config.reader import App
from deploy.config.values import Wrong
from deploy.config.values import writable as paths
from deploy.plan.record import as_recorded, recorded, static_links, unit_text
from deploy.stack.data import served_data

RELEASE = "20260301-120405"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release's source, and the app's data beside it."""
    home = tmp_path / "srv/releases" / RELEASE
    (home / "source").mkdir(parents=True)
    monkeypatch.setattr(Writable, "home", property(lambda self: str(home)))
    monkeypatch.setattr(Writable, "data", property(lambda self: str(tmp_path / "data")))
    monkeypatch.setattr(writable, "required_ids", lambda user, group: (os.getuid(), os.getgid()))
    monkeypatch.setattr(writable, "as_user", lambda uid, gid, groups, work: work())
    return home


def put(top: Path, **files: str) -> None:
    for name, text in files.items():
        path = top / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def done(step: Writable) -> None:
    assert step.check(System())
    step.apply(System())
    assert step.check(System()) == []


def test_what_is_uploaded_is_what_the_data_begins_with_and_never_again(shop: Path, tmp_path: Path):
    put(shop / "source", media__a="first")
    done(Writable("shop", RELEASE, ("media",)))
    assert (shop / "source/media/a").read_text() == "first"
    assert os.readlink(shop / "source/media") == str(tmp_path / "data/media")
    (tmp_path / "data/media/a").write_text("changed there")
    os.unlink(shop / "source/media")
    put(shop / "source", media__a="second")
    (shop / "uploaded").rename(shop / "before")
    done(Writable("shop", RELEASE, ("media",)))
    assert (shop / "source/media/a").read_text() == "changed there"
    assert (shop / "uploaded/media/a").read_text() == "second"


def test_a_directory_that_is_not_uploaded_is_made_and_a_file_is_left_to_the_app(shop: Path, tmp_path: Path):
    done(Writable("shop", RELEASE, ("logs", "var/cache", "db.sqlite3", ".data")))
    for name in ("logs", "var/cache", ".data"):
        assert (tmp_path / "data" / name).is_dir()
    assert not (tmp_path / "data/db.sqlite3").exists()
    (shop / "source/db.sqlite3").write_text("made by the app")
    assert (tmp_path / "data/db.sqlite3").read_text() == "made by the app"


def test_a_file_that_is_in_the_way_of_data_is_named(shop: Path):
    put(shop / "source", var="a file")
    with pytest.raises(Failed, match="writable names var/cache, but var is not a directory"):
        Writable("shop", RELEASE, ("var/cache",)).apply(System())


def test_later_uploads_still_find_the_bytes_of_what_has_moved(shop: Path):
    put(shop / "source", media__a="first", app_dot_py="code")
    entries = [Entry("media/a", "f", 5, "1" * 64), Entry("app.py", "f", 4, "2" * 64)]
    (shop / "manifest.json").write_text(json.dumps(entries))
    done(Writable("shop", RELEASE, ("media",)))
    known = known_files(str(shop.parents[1]))
    assert Path(known[f"{'1' * 64}-f"]).read_text() == "first"
    assert Path(known[f"{'2' * 64}-f"]).read_text() == "code"


def test_what_a_build_has_changed_is_not_taken_for_what_was_uploaded(tmp_path: Path):
    release = tmp_path / "releases" / RELEASE
    put(release / "source", app_dot_py="code", kept="kept", gone="x")
    entries = [Entry(name, "f", size, digest(text)) for name, size, text in SIZES]
    (release / "manifest.json").write_text(json.dumps(entries))
    (release / "source/app.py").write_text("edit")
    (release / "source/gone").unlink()
    (release / "places.json").write_text(json.dumps(built.moved(str(release / "source"), entries)))
    assert places_of(str(release)) == {"app.py": "", "gone": ""}
    assert list(known_files(str(tmp_path))) == [f"{digest('kept')}-f"]


SIZES = [("app.py", 4, "code"), ("kept", 4, "kept"), ("gone", 1, "x")]


def digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def test_a_build_leaves_files_and_links_only_and_all_of_it_readable(tmp_path: Path):
    put(tmp_path, a__b="x")
    os.mkfifo(tmp_path / "a/pipe")
    os.symlink("b", tmp_path / "a/link")
    (tmp_path / "a/b").chmod(0o4777)
    built.seal(str(tmp_path), os.getgid())
    assert sorted(os.listdir(tmp_path / "a")) == ["b", "link"]
    assert (tmp_path / "a/b").stat().st_mode & 0o7777 == 0o750


def made(home: Path, files: dict[str, str], venv: str = "k", env: str = "{}") -> str:
    (home / "source/out").mkdir(parents=True)
    (home / "manifest.json").write_text(json.dumps([Entry(name, "f", 1, text) for name, text in files.items()]))
    (home / "env.json").write_text(env)
    os.symlink(f"../{venv}", home / "venv")
    (home / "built").touch()
    return str(home)


@pytest.mark.parametrize(
    ("files", "venv", "env", "same"),
    [
        ({"app/views.py": "b", "a.css": "a"}, "k", "{}", True),
        ({"app/views.py": "a", "a.css": "a", "app/new.py": "x", "README.md": "x"}, "k", "{}", True),
        ({"app/views.py": "a", "a.css": "b"}, "k", "{}", False),
        ({"app/views.py": "a"}, "k", "{}", False),
        ({"app/views.py": "a", "a.css": "a", "site/settings/live.py": "x"}, "k", "{}", False),
        ({"app/views.py": "a", "a.css": "a", "app/storages.py": "x"}, "k", "{}", False),
        ({"app/views.py": "a", "a.css": "a", "app/static/x.html": "x"}, "k", "{}", False),
        ({"app/views.py": "a", "a.css": "a"}, "other", "{}", False),
        ({"app/views.py": "a", "a.css": "a"}, "k", '{"app": {"STATIC_URL": "/x/"}}', False),
    ],
)
def test_collected_files_are_taken_over_where_only_other_code_has_changed(
    tmp_path: Path, files: dict[str, str], venv: str, env: str, same: bool
):
    before = made(tmp_path / "1", {"app/views.py": "a", "a.css": "a"})
    assert built.is_current(before, made(tmp_path / "2", files, venv, env), ("out",)) == same
    assert not built.is_current(before, str(tmp_path / "2"), ("other",))


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", ".."])
def test_static_files_of_a_build_lead_nowhere_else(tmp_path: Path, target: str):
    (tmp_path / "top/out").mkdir(parents=True)
    (tmp_path / "outside").write_text("x")
    os.symlink(target, tmp_path / "top/out/leak")
    if target == "..":
        built.require_static(str(tmp_path / "top"), ("out",), "make")
        return
    with pytest.raises(Failed, match="leads outside the source: out/leak"):
        built.require_static(str(tmp_path / "top"), ("out",), "make")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (["."], "the whole source"),
        (["a", "a/b"], "below 'a'"),
        (["/srv/x"], "a path inside the project"),
        (["../x"], "a path inside the project"),
        ("media", "a list of strings"),
    ],
)
def test_a_wrong_path_of_data_is_refused(value: object, said: str):
    with pytest.raises(Wrong, match=said):
        paths(value)


MEDIA = App("shop", "shop:app", static=(("/static/", "out"), ("/media/", "media/public")), writable=("media",))


def test_data_that_is_served_needs_no_link_and_lets_the_proxy_read():
    assert served_data(MEDIA) == (("/media/", "media/public"),)
    assert static_links(MEDIA) == ((",static,", "out"),)
    assert "UMask=0027\n" in unit_text(MEDIA) and "StateDirectoryMode=0710\n" in unit_text(MEDIA)
    assert "UMask=0077\n" in unit_text(App("shop", "shop:app", writable=("media",)))


def test_a_release_of_before_has_no_data_in_its_source():
    old = recorded(App("shop", "shop:app"))
    assert "writable" not in old and "build_command" not in old
    assert as_recorded(MEDIA, {"app": old}).writable == ()
    assert as_recorded(App("shop", "shop:app"), {"app": recorded(MEDIA)}).writable == ("media",)


AT = f"/srv/shop/releases/{RELEASE}/source"


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        (f"OSError: [Errno 30] Read-only file system: '{AT}/uploads/a.png'", 'writable = ["uploads"]'),
        (f"OSError: [Errno 30] Read-only file system: '{AT}/uploads'", 'writable = ["uploads"]'),
        ("PermissionError: [Errno 13] Permission denied: 'logs/app.log'", 'writable = ["logs"]'),
        (f"OSError: [Errno 30] Read-only file system: '{AT}/app.log'", 'writable = ["app.log"]'),
        ("OSError: [Errno 30] Read-only file system: '/data/x'", "writable_paths"),
        ("sqlite3.OperationalError: attempt to write a readonly database", "below $DATA_DIR"),
        ("sqlite3.OperationalError: unable to open database file", "below $DATA_DIR"),
        ("PermissionError: [Errno 13] Permission denied: '/etc/shadow'", ""),
        ("ValueError: [Errno 30]", ""),
    ],
)
def test_an_error_of_writing_becomes_the_setting_that_allows_it(said: str, hint: str):
    found = hint_of_read_only(said)
    assert hint in found and bool(found) == bool(hint)


def test_the_database_that_the_code_names_is_named(tmp_path: Path):
    put(tmp_path, app_dot_py='connect("data/site.db")\n')
    said = hint_of_read_only("sqlite3.OperationalError: attempt to write a readonly database", str(tmp_path))
    assert 'writable = ["data/site.db"]' in said


def test_a_disk_that_is_full_while_a_tree_is_copied_is_told_as_such(tmp_path: Path):
    put(tmp_path / "from", a="x")

    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device", target)

    with pytest.raises(OSError, match="No space left on device") as failure:
        copy_tree(str(tmp_path / "from"), str(tmp_path / "to"), full)
    assert failure.value.errno == 28
