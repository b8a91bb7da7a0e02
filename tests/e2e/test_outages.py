"""A disk that fails in the middle of a switch, and outages that are to be ended by a deploy or a restart."""

from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest
from breaking import on_small_disk
from standing import DOMAIN, Project, Server, answers, change_app, in_create_app, serving, wait_for


@pytest.fixture(scope="module")
def failing(snapshot: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("outages", snapshot, tmp_path_factory) as made:
        server = Server(made)
        on_small_disk(server, 100, files=20000)
        yield server


@pytest.fixture
def project(tmp_path: Path, failing: Server) -> Project:
    made = Project(tmp_path / "project", failing.machine)
    made.fab("deploy")
    return made


MOUNT = "mount -o remount,bind,{} /srv/visitors"
FAULTS = {  # what happens to the server once it has switched; how that ends; on which release it is meanwhile
    "the disk is read-only": (MOUNT.format("ro"), MOUNT.format("rw"), "new"),
    "there are no inodes left": (
        "mkdir /mnt/small/full;"
        ' python3 -c \'for i in range(10**6): open(f"/mnt/small/full/{{i}}", "w").close()\' || true',
        "rm -r /mnt/small/full",
        "old",
    ),
    "the agent can open no file": ("prlimit --pid {pid} --nofile=3", "true", "old"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_after_the_switch_leaves_a_release_that_serves_and_the_next_deploy_ends_it(
    failing: Server, project: Project, fault: str
):
    begin, end, serves = FAULTS[fault]
    old = failing.release()
    change_app(project, f"FAULT = {fault!r}")
    with failing.requests("/healthz", clients=2) as answered:
        process, halted = project.halted("/state", "deploy")
        assert halted, process.said
        new = failing.run("readlink", "/srv/visitors/current").strip().rpartition("/")[2]
        try:
            failing.script(begin.format(pid=halted["pid"]))
            failing.run("kill", "-USR1", str(halted["pid"]))
            said = "".join(process.ended())
            assert process.returncode == 1 and new != old, (halted, said)
            expected = new if serves == "new" else old  # once Nginx has closed the connections that it kept
            wait_for(lambda: failing.release() == expected, f"{expected} to have the traffic: {said}")
            assert ("not everything could be undone" in said) == (fault != "there are no inodes left"), said
        finally:
            failing.script(end.format())
        project.fab("deploy")
    assert set(answered.statuses) == {200}
    assert failing.leftovers() == []


HANGS = """
import time
@app.get("/hang")
def hang():
    time.sleep(3600)
""".strip()


def test_an_app_that_hangs_is_repaired_by_a_restart(failing: Server, project: Project):
    project.app = "workers = 1\nthreads = 2\ntimeout_seconds = 4\nwatch_seconds = 8"
    project.write_config()
    in_create_app(project, HANGS)
    project.fab("deploy")
    hung = failing.release()
    with ExitStack() as stack:
        for _ in range(4):
            connection = HTTPConnection(failing.machine.address, 80, timeout=60)
            stack.callback(connection.close)
            connection.request("GET", "/hang", headers={"Host": DOMAIN})
        socket = f"/run/visitors/{hung}/http.sock"
        ask = ["curl", "-s", "-m", "0.5", "-o", "/dev/null", "--unix-socket", socket, "http://x/healthz"]
        wait_for(lambda: failing.run(*ask, "-w", "%{http_code}", check=False) != "200", "the app to hang")
        ran = project.fab("restart")
    assert "restarted: " in ran.out and f"switch back to {hung}" in ran.out
    assert failing.release() > hung and answers(failing)
    # Visitors were connected to it, so it ends in the background, and the next run removes it.
    wait_for(lambda: not [left for left in failing.leftovers() if hung in left and "half" not in left], "its end")
    project.fab("deploy")
    assert failing.leftovers() == []


def test_a_good_release_deployed_into_an_outage_stays(failing: Server, project: Project):
    project.app = "workers = 1\ntimeout_seconds = 4\nwatch_seconds = 6"
    project.write_config()
    broken = "@app.before_request\ndef broken():\n    assert not os.path.exists(os.environ['DATA_DIR'] + '/broken')"
    in_create_app(project, broken)
    project.fab("deploy")
    dead = failing.release()
    failing.run("touch", "/var/lib/visitors/broken")
    with failing.requests("/", clients=4):
        wait_for(lambda: not answers(failing), "the outage")
        project.git("reset", "-q", "--hard", "HEAD~1")
        project.write_config()
        change_app(project, "FIXED = 1")
        project.fab("deploy")
    assert failing.release() > dead and answers(failing)


def test_a_bad_release_deployed_into_an_outage_is_not_exchanged_for_the_dead_one(failing: Server, project: Project):
    project.app = "workers = 1\ntimeout_seconds = 4\nwatch_seconds = 10"
    project.write_config()
    broken = "@app.before_request\ndef broken():\n    assert not os.path.exists(os.environ['DATA_DIR'] + '/broken')"
    failing.run("rm", "-f", "/var/lib/visitors/broken")
    in_create_app(project, broken)
    project.fab("deploy")
    dead = failing.release()
    failing.run("touch", "/var/lib/visitors/broken")
    project.git("reset", "-q", "--hard", "HEAD~1")
    project.write_config()
    in_create_app(project, "from flask import request\n@app.before_request\ndef b():\n    assert request.path != '/'")
    with failing.requests("/", clients=4):
        ran = project.fab("deploy", status=1)
    assert f"{dead} did not answer before the switch (500), so traffic does not go back to it" in ran.err
    assert failing.release() > dead and answers(failing)
    failing.run("rm", "/var/lib/visitors/broken")


def test_a_virtualenv_that_has_lost_its_runner_or_its_python_is_built_anew_and_no_visitor_notices(
    failing: Server, project: Project
):
    venv = failing.script("readlink -f /srv/visitors/current/venv").strip()
    with failing.requests("/healthz", clients=2) as answered:
        failing.run("rm", f"{venv}/bin/gunicorn")
        project.fab("restart")
        failing.run("rm", f"{venv}/bin/python")
        ran = project.fab("deploy")
    assert "changed  virtualenv" in ran.out and "nothing new: 1 changed" in ran.out
    assert set(answered.statuses) == {200}
    failing.script(f"{venv}/bin/python -c 'import flask' && test -x {venv}/bin/gunicorn")
    assert failing.script(f"find {venv} ! -user root") == ""
    assert failing.leftovers() == []


def test_a_site_whose_current_link_was_removed_is_brought_back_by_a_rollback(failing: Server, project: Project):
    change_app(project, "LINKED = 1")
    project.fab("deploy")
    newest = failing.release()
    failing.run("rm", "/srv/visitors/current")
    wait_for(lambda: not answers(failing), "the outage")
    said = project.fab("restart", status=1).err
    assert "no release of visitors gets traffic: /srv/visitors/current does not exist" in said
    assert "fab rollback switches to the newest good release" in said
    assert f"rolled back to {newest}" in project.fab("rollback").out
    assert failing.release() == newest
    assert failing.leftovers() == []


def test_an_app_that_needs_a_secret_to_start_is_given_it_before_its_first_deploy(failing: Server, project: Project):
    project.domain = "needy.example"
    project.write_config('[app.env]\nSHOP_SECRET_KEY = "$SECRET_KEY"\nSHOP_URL = "https://$DOMAIN"', name="needy")
    in_create_app(project, "assert os.environ['STRIPE_API_KEY'] + os.environ['SHOP_SECRET_KEY'], 'no key'")
    project.write_config('[app.env]\nSHOP_SECRET_KEY = "$SECRET_KEY"\nSHOP_URL = "https://$DOMAIN"', name="needy")
    project.fab("provision")
    assert "KeyError: 'STRIPE_API_KEY'" in project.fab("deploy", status=1).err
    (project.directory / "variables").write_text("STRIPE_API_KEY=tide\n")
    ran = project.fab("env.set", "--file", "variables")
    assert "environment set; the first `fab deploy` uses it: 1 changed" in ran.out and "tide" not in ran.text
    assert "STRIPE_API_KEY" in project.fab("env").out
    project.fab("deploy")
    shown = project.fab(
        "run", 'echo "$STRIPE_API_KEY $SHOP_URL" $(test "$SHOP_SECRET_KEY" = "$SECRET_KEY" && echo same)'
    )
    assert shown.out == "tide https://needy.example same\n"
    assert failing.run("ls", "-A", "/srv/needy").split() == [
        "current", "provisioned", "releases", "secrets.env", "venvs",
    ]  # fmt: skip
