"""What the machine says, as it was captured, and what we make of it."""

import json
from pathlib import Path

import pytest

from deploy.agent.questions.journal import file_line, file_lines, journal_line
from deploy.agent.resources.host.machine import with_host_names
from deploy.agent.resources.host.packages import apt_percent
from deploy.agent.resources.release.uploads import ancestors_of, receive
from deploy.agent.resources.serving.reasons import telling
from deploy.agent.system import System, package_version, unit_blocks, upstream
from deploy.agent.wire import Entry, Failed, Refused

STATUS = b"""
Package: nginx
Status: install ok installed
Version: 1.22.1-9+deb12u3

Package: nginx-common
Status: deinstall ok config-files
Version: 1.22.1-9+deb12u3

Package: tzdata
Status: install ok unpacked
Version: 2025b-0
"""


def test_dpkg_s_record_tells_installed_from_removed_and_half_done():
    found = {name: package_version(STATUS, name) for name in ("nginx", "nginx-common", "tzdata", "ngin", "curl")}
    assert found == {"nginx": "1.22.1-9+deb12u3", "nginx-common": "", "tzdata": "", "ngin": "", "curl": ""}


def test_versions_compare_by_their_numbers():
    assert upstream("1:1.22.1-9+deb12u3") == (1, 22, 1)
    assert upstream("1.9.15-1") < upstream("1.25.1") < upstream("1.26.3-3+deb13u1")


def test_systemctl_show_is_a_block_a_unit():
    text = "Id=a.service\nActiveState=active\nX=a=b\n\nId=b.service\nActiveState=inactive\n"
    assert unit_blocks(text)["a.service"] == {"Id": "a.service", "ActiveState": "active", "X": "a=b"}
    assert unit_blocks(text)["b.service"]["ActiveState"] == "inactive"
    assert unit_blocks("") == {}


def test_apt_s_progress_is_downloads_then_installation():
    assert apt_percent("dlstatus:1:50.0:Retrieving file 1 of 2\n") == 25
    assert apt_percent("pmstatus:nginx:50.0:Configuring nginx\n") == 75
    assert apt_percent("pmerror:x") is None and apt_percent("") is None


def test_hosts_gets_what_it_lacks_and_keeps_what_it_has():
    text = "127.0.0.1 localhost\n10.0.0.1 db # web1\n"
    assert with_host_names(text, "web1") == text + "127.0.1.1 web1\n"
    assert with_host_names(text + "127.0.1.1 web1\n", "web1") == text + "127.0.1.1 web1\n"
    assert with_host_names("", "web1.example.com") == "127.0.0.1 localhost\n127.0.1.1 web1.example.com web1\n"
    assert with_host_names("127.0.0.1 localhost", "localhost") == "127.0.0.1 localhost\n"


def test_the_app_s_own_frames_are_what_a_traceback_shows():
    text = (
        "[1] [INFO] Booting worker\n"
        "Traceback (most recent call last):\n"
        '  File "/srv/s/venvs/k/lib/gunicorn/util.py", line 1, in import_app\n'
        "    mod = importlib.import_module(module)\n"
        '  File "/srv/s/releases/1/source/shop.py", line 7, in <module>\n'
        "    raise ImportError('tide')\n"
        "ImportError: tide\n"
        "[1] [ERROR] Worker exited\n"
        "Traceback (most recent call last):\n"
        '  File "/srv/s/venvs/k/lib/gunicorn/arbiter.py", line 1, in run\n'
        "    self.halt()\n"
        "gunicorn.errors.HaltServer: 3\n"
    )
    shown = telling(text)
    assert shown.startswith("Traceback") and shown.endswith("ImportError: tide")
    assert "gunicorn" not in shown and "shop.py" in shown


def test_without_frames_of_the_app_the_last_lines_are_shown():
    assert (
        telling("a\nFailed to find attribute 'app' in 'shop'.\n  at x\n")
        == "a\nFailed to find attribute 'app' in 'shop'."
    )


def test_a_journal_line_may_hold_bytes_or_nothing():
    base = '{"__REALTIME_TIMESTAMP":"1500000","PRIORITY":"3","_SYSTEMD_UNIT":"shop@1.service","MESSAGE":'
    assert journal_line(json.loads(base + '"hello"}'))["text"] == "hello"
    assert journal_line(json.loads(base + "[104,105]}"))["text"] == "hi"
    assert journal_line(json.loads(base + "null}"))["text"] == ""
    assert journal_line(json.loads(base + '"x"}'))["time"] == 1.5


def test_nginx_s_lines_have_their_time_and_level():
    line = file_line("/x/access.log", '2026-11-20T10:00:00+00:00 1.2.3.4 "GET / HTTP/1.1" 502 1 0.1 s', 0.0)
    assert line["time"] == 1795168800 and line["level"] == 3 and line["text"].startswith("1.2.3.4")
    line = file_line("/x/error.log", "2026/11/20 10:00:00 [warn] 1#1: conflicting server name", 0.0)
    assert line["time"] == 1795168800 and line["level"] == 4 and line["text"].startswith("[warn]")
    assert file_line("/x/error.log", "no time", 5.0)["time"] == 5.0


def test_the_end_of_a_file_is_its_last_lines(tmp_path: Path):
    path = tmp_path / "log"
    lines = [f"{number} {'x' * (number % 3000)}" for number in range(500)]  # more than what is read at a time
    path.write_text("\n".join(lines) + "\n")
    size = path.stat().st_size
    for count in (1, 2, 100, 499, 500, 501, 0):
        assert [line["text"] for line in file_lines(str(path), size, count)] == lines[-count:]
    path.write_text("a\nb\nstill being writ")
    assert [line["text"] for line in file_lines(str(path), 5, 2)] == ["b", "s"]
    assert list(file_lines(str(tmp_path / "rotated away"), 5, 2)) == []


def test_the_parents_of_a_path_come_from_the_top():
    assert ancestors_of("a/b/c") == ["a", "a/b"]
    assert ancestors_of("c") == []


MANIFEST = [Entry("a/x.py", "f", 3, "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae")]  # "foo"


def blobs(*parts: object):
    waiting = list(parts)
    return lambda: waiting.pop(0) if waiting else None


def test_an_upload_that_breaks_off_keeps_what_came_whole(tmp_path: Path):
    import zlib

    with pytest.raises(Failed, match="was interrupted"):
        receive(str(tmp_path), MANIFEST, blobs(zlib.compress(b"foo")[:4]), System())
    assert [path.name for path in (tmp_path / "incoming").iterdir() if not path.name.endswith(".partial")] == []


def test_bytes_that_are_not_what_was_announced_are_refused(tmp_path: Path):
    import zlib

    with pytest.raises(Failed, match="does not match its checksum"):
        receive(str(tmp_path), MANIFEST, blobs(zlib.compress(b"bar")), System())


def test_a_file_that_is_there_is_not_asked_for_again(tmp_path: Path):
    import zlib

    asked: list[list[int]] = []
    system = System(emit=lambda event: asked.append(event["indices"]))
    receive(str(tmp_path), MANIFEST, blobs(zlib.compress(b"foo")), system)
    receive(str(tmp_path), MANIFEST, blobs(zlib.compress(b"")), system)
    assert asked == [[0], []]


def test_a_name_that_escapes_is_refused_by_the_server_too(tmp_path: Path):
    with pytest.raises(Refused, match="leads outside it"):
        receive(str(tmp_path), [Entry("../x", "f", 1, "0" * 64)], blobs(), System())
