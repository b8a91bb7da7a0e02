"""An app that fills the disk with its data: it stops there, and everything else goes on."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from breaking import resume
from standing import Project, Server, change_app, serving, wait_for

SIZE = "30M"
TIMER = "ashore-data-visitors.timer"
HOLDING = """
import os
from contextlib import suppress
{open}
def app(environ, answer):
    answer("200 OK", [])
    return [str(os.getppid()).encode()]
"""
HELD = 'with suppress(OSError):\n    held = open("/var/lib/visitors/held", "ab")'
DELETED = f"""
with suppress(OSError):
    held = open("/var/lib/visitors/gone", "wb")
    os.unlink("/var/lib/visitors/gone")
    held.write(bytes({SIZE[:-1]} << 20))
    held.flush()
"""


@pytest.fixture(scope="module")
def filled(snapshot: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("filled", snapshot, tmp_path_factory) as made:
        yield Server(made)


@pytest.fixture
def project(tmp_path: Path, filled: Server) -> Iterator[Project]:
    """With an app whose data may take 20 MB."""
    project = Project(tmp_path / "project", filled.machine)
    project.app = "data_megabytes = 20"
    project.write_config()
    project.fab("provision", "deploy")
    filled.run("systemctl", "stop", TIMER)  # what it does, these tests do at moments of their own
    yield project
    filled.script(f"systemctl start {TIMER}")
    filled.script("rm -f /var/lib/visitors/fill; systemctl start ashore-data-visitors")
    project.wsgi = "webapp:create_app()"
    project.write_config()
    project.fab("deploy")


def counted(server: Server) -> None:
    server.run("systemctl", "start", "ashore-data-visitors.service")


def mounted(server: Server) -> str:
    """Whether the running instance may write its data: "rw" or "ro"."""
    process = server.script(f"systemctl show -p MainPID --value visitors@{server.current}.service").strip()
    found = [line.split() for line in server.run("cat", f"/proc/{process}/mountinfo").splitlines()]
    return [words[5] for words in found if words[4] == "/var/lib/visitors"][-1].partition(",")[0]


def pids(server: Server) -> str:
    return server.script(f"systemctl show -p MainPID --value visitors@{server.current}.service")


def lines(server: Server, what: str) -> list[str]:
    said = server.run("journalctl", "-u", "ashore-data-visitors", "-o", "cat", "--no-pager")
    return [line for line in said.splitlines() if what in line]


def test_data_beyond_its_bound_is_read_only_until_there_is_less(filled: Server, project: Project):
    before = pids(filled), len(lines(filled, "read-only"))
    assert mounted(filled) == "rw"
    project.fab("run", f"head -c {SIZE} /dev/zero > /var/lib/visitors/fill")
    filled.run("systemctl", "start", TIMER)
    wait_for(lambda: mounted(filled) == "ro", "the timer to count", 300)
    assert pids(filled) == before[0], "it was started anew, and nothing was open for writing"
    assert filled.get("/healthz")[0] == 503 and filled.get("/")[0] == 200
    counted(filled)
    said = lines(filled, "read-only")[before[1] :]
    assert len(said) == 1 and re.search(r"the data of visitors in /var/lib/visitors takes 30 MB of 20 MB", said[0])
    assert "read-only for the app" in project.fab("deploy", "--check").out
    filled.run("systemctl", "kill", "-s", "KILL", f"visitors@{filled.current}.service")
    wait_for(lambda: filled.get("/")[0] == 200 and pids(filled) != before[0], "the app to be back")
    assert mounted(filled) == "ro"  # also what was started anew by itself

    project.fab("run", "rm /var/lib/visitors/fill")
    counted(filled)
    assert mounted(filled) == "rw" and filled.get("/healthz")[0] == 200
    assert lines(filled, "is writable again")
    assert "read-only" not in project.fab("deploy").out
    assert filled.leftovers() == []


def test_a_deploy_goes_on_meanwhile_and_says_so(filled: Server, project: Project):
    project.fab("run", f"head -c {SIZE} /dev/zero > /var/lib/visitors/fill")
    counted(filled)
    change_app(project, "FILLED = 1")
    process, halted = project.halted("traffic: switched to", "deploy")
    counted(filled)
    out, err = resume(filled, process, halted)
    assert "takes 30 MB of 20 MB (data_megabytes)" in "".join(process.said) + out + err
    assert mounted(filled) == "rw"  # while it showed that it works
    counted(filled)
    assert mounted(filled) == "ro"


def test_what_has_a_file_open_for_writing_is_started_anew_without(filled: Server, project: Project):
    (project.directory / "plain.py").write_text(HOLDING.format(open=HELD))
    project.wsgi = "plain:app"
    project.write_config()
    project.commit()
    project.fab("deploy")
    before = pids(filled)
    project.fab("run", f"head -c {SIZE} /dev/zero > /var/lib/visitors/fill")
    counted(filled)
    assert mounted(filled) == "ro" and pids(filled) != before
    assert filled.get("/healthz")[0] == 200


def test_a_deleted_file_counts_for_as_long_as_it_is_open(filled: Server, project: Project):
    (project.directory / "plain.py").write_text(HOLDING.format(open=DELETED))
    project.wsgi = "plain:app"
    project.write_config("workers = 1")
    project.commit()
    project.fab("deploy")
    before = pids(filled)
    counted(filled)
    assert pids(filled) != before  # and with the process the file is gone
    counted(filled)
    assert mounted(filled) == "rw" and "takes 3" in lines(filled, "read-only")[-1]


def test_counting_costs_nothing_while_the_disk_holds_less_than_the_bound(filled: Server, project: Project):
    project.app = ""
    project.write_config()
    project.fab("provision")
    traced = filled.script("sh -x /usr/local/lib/ashore/data-limit.sh visitors 0 2>&1")
    assert "exit 0" in traced and "du -" not in traced
    assert lines(filled, "Starting") == []
