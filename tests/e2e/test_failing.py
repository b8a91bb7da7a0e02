"""`fab deploy` on a real server: what a failure leaves."""

import hashlib
import json
import os
import re
import socket
import subprocess
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from breaking import Relay, interrupt, on_small_disk, resume
from standing import SNAPSHOT, Project, Server, answers, change_app, wait_for

from deploy import sandbox
from deploy.agent.resources.release.uploads import receive
from deploy.agent.system import System
from deploy.agent.wire import Entry


def test_an_app_that_raises_at_import_is_shown_and_the_old_release_serves(live: Server, project: Project):
    before = project.deployed()
    change_app(project, 'raise ImportError("no module named tide")')
    with live.requests("/") as answered:
        ran = project.fab("deploy", status=1)
    assert "ImportError: no module named tide" in ran.err and "Traceback (most recent call last)" in ran.err
    assert f"state: traffic stays on {before}; " in ran.err and "was stopped and removed" in ran.err
    assert re.search(r"hint: +fab logs --release \d{8}-\d{6}", ran.err)
    assert set(answered.statuses) == {200}
    assert live.release() == before
    assert live.run("ls", "/srv/visitors/releases").split()[-1] == before
    assert "note: `deploy` by" not in project.fab("deploy", "--check").out  # its end was heard
    assert "failed" not in live.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "visitors@*")


def test_a_missing_app_callable_is_shown_and_the_old_release_serves(live: Server, project: Project):
    before = project.deployed()
    project.write_config(wsgi="webapp:no_such_factory()")
    ran = project.fab("deploy", status=1)
    assert "has no no_such_factory, which wsgi names" in ran.err
    assert "state: nothing was changed" in ran.err and 'wsgi = "webapp:create_app()"' in ran.err
    assert live.release() == before


def test_a_release_that_answers_500_gets_no_traffic(live: Server, project: Project):
    before = project.deployed()
    project.write_config('[app.env]\nNOTE = "x"')
    text = (project.directory / "deploy.toml").read_text().replace("health_seconds = 10", "health_seconds = 60")
    (project.directory / "deploy.toml").write_text(text.replace('"/healthz"', '"/no-such-page"'))
    ran = project.fab("deploy", status=1)
    assert re.search("answers GET /no-such-page with 404: .*, not with 200", ran.err)
    assert live.release() == before


def test_requirements_that_cannot_be_resolved_are_quoted_and_the_old_release_serves(live: Server, project: Project):
    before = project.deployed()
    project.append("webapp/requirements.txt", "flask==99.99\n")
    project.commit()
    ran = project.fab("deploy", status=1)
    assert "the packages in webapp/requirements.txt could not be installed" in ran.err
    assert "flask==99.99" in ran.err
    assert f"traffic stays on {before}" in ran.err
    assert live.release() == before
    complete = live.script("ls -d /srv/visitors/venvs/*; ls /srv/visitors/venvs/*/.complete | wc -l").split()
    assert int(complete[-1]) == len(complete) - 1, "a virtualenv that was not finished stayed"


def test_a_new_unit_text_does_not_reach_the_release_that_serves(own: Server, project: Project):
    before = project.deployed()
    unit = own.run("cat", f"/etc/systemd/system/visitors@{before}.service")
    units = own.script("ls /etc/systemd/system")
    # Another unit text, and an app that does not come up with it.
    project.write_config("timeout_seconds = 3\nhealth_seconds = 3")
    change_app(project, "raise SystemExit(7)")
    project.fab("deploy", status=1)
    assert own.run("cat", f"/etc/systemd/system/visitors@{before}.service") == unit
    assert own.script("ls /etc/systemd/system") == units
    sandbox.reboot(own.machine.name)
    wait_for(lambda: answers(own), "the old release after a reboot")
    assert own.release() == before


def test_deploying_before_provisioning_says_so(bare: sandbox.Machine, project: Project):
    server = Server(bare)
    before = server.state()
    ran = project.fab("deploy", status=1)
    assert "the server is not provisioned yet for visitors" in ran.err
    assert re.search(r"hint: +fab provision", ran.err)
    assert server.state() == before


def test_a_disk_that_would_run_full_is_told_before_anything_is_sent(own: Server, project: Project):
    before = project.deployed()
    on_small_disk(own, 80)
    there = own.script("ls /srv/visitors")
    big = project.directory / "webapp" / "big.bin"
    big.write_bytes(b"\0" * (90 << 20))
    project.commit()
    ran = project.fab("deploy", status=1)
    assert re.search(r"the server's disk is too full: \d+ MB more are needed", ran.err), ran.err
    assert "free some space" in ran.err and "state: nothing was changed" in ran.err
    assert own.release() == before
    assert own.script("ls /srv/visitors") == there


def test_a_disk_that_fills_during_the_upload_is_emptied_again(tmp_path: Path):
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", incoming], check=True)
    try:
        data = [os.urandom(1 << 20), os.urandom(8 << 20)]
        manifest = [[str(n), "f", len(text), hashlib.sha256(text).hexdigest()] for n, text in enumerate(data)]
        packer = zlib.compressobj()
        blobs = [packer.compress(data[0]), packer.compress(data[1]), packer.flush()]

        def next_blob() -> bytes:
            if len(blobs) == 2:  # the first file is there; now somebody else takes the rest
                with suppress(OSError), (incoming / "filler").open("wb") as filler:
                    while True:
                        filler.write(bytes(1 << 16))
            return blobs.pop(0)

        with pytest.raises(OSError, match="No space left"):
            receive(str(tmp_path), [Entry(*item) for item in manifest], next_blob, System())
        assert list(incoming.iterdir()) == []
    finally:
        subprocess.run(["umount", incoming], check=True)


def test_ctrl_c_during_a_deploy_leaves_the_old_release_and_the_next_deploy_works(live: Server, project: Project):
    before = project.deployed()
    change_app(project, "import time; time.sleep(3)")
    process = project.start("deploy", "--json")
    for line in process.stdout:
        if json.loads(line).get("event") == "start" and "answers GET" in json.loads(line)["step"]:
            break
    interrupt(process)
    out, err = process.ended()
    assert process.returncode == 130, out + err
    assert f"traffic stays on {before}" in out, out
    assert live.release() == before
    assert project.deployed() > before


def test_ctrl_c_before_the_connection_changes_nothing(live: Server, project: Project):
    before = live.state()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        project.hosts = [f"admin@127.0.0.1:{silent.getsockname()[1]}"]
        project.write_config()
        process = project.start("deploy")
        silent.settimeout(120)
        with silent.accept()[0]:
            interrupt(process)
            _, err = process.ended()
    assert process.returncode == 130
    assert "Traceback" not in err
    assert live.state() == before


def test_a_cut_link_does_not_stop_a_deploy_and_the_next_command_tells_how_it_ended(live: Server, project: Project):
    before = project.deployed()
    relay = Relay(live.machine.address)
    project.through(relay.port)
    change_app(project, "import time; time.sleep(1)")
    process = project.start("deploy", "--json")
    for line in process.stdout:
        if "virtualenv: linked into the release" in line:
            break
    relay.cut()
    out, _ = process.ended()
    assert process.returncode == 1
    assert "the SSH connection was lost" in out and "the server finishes or undoes by itself" in out
    wait_for(lambda: live.release() > before, "the server to switch by itself")
    wait_for(live.idle, "the server to finish")
    project.through(None)
    ran = project.fab("deploy")
    assert "continued without its operator and finished" in ran.out
    assert "continued without its operator" not in project.fab("deploy").out


def test_a_link_cut_during_the_upload_changes_nothing_and_what_came_is_not_sent_again(live: Server, project: Project):
    before = project.deployed()
    files = [project.directory / "webapp" / f"large-{number}" for number in range(8)]
    for file in files:
        file.write_bytes(os.urandom(1_000_000))
    project.commit()
    project.through(Relay(live.machine.address, bytes_up=4_500_000).port)
    ran = project.fab("deploy", status=1)
    assert "the SSH connection was lost" in ran.err
    wait_for(live.idle, "the server to give up")
    assert live.release() == before
    project.through(None)
    ran = project.fab("deploy")
    assert re.search(r"upload: [4-7] new of \d+ files", ran.out), ran.out  # of nine; what was under way is lost
    assert live.release() > before
    assert live.leftovers() == []


def test_who_waits_goes_on_where_the_link_of_another_died_without_a_word(live: Server, project: Project):
    before = project.deployed()
    (project.directory / "webapp" / "large").write_bytes(os.urandom(8_000_000))
    project.commit()
    relay = Relay(live.machine.address, bytes_up=4_500_000, silently=True)
    project.through(relay.port)
    silent = project.start("deploy")
    assert relay.silent.wait(60), silent.communicate()
    assert not live.idle()
    project.through(None)
    ran = project.fab("deploy", "--wait")
    assert "is running `deploy` on visitors since" in ran.out
    assert re.search(
        r"it has heard nothing from its operator since \d\d:\d\d:\d\d UTC; it was asked to stop and undo", ran.out
    )
    assert live.release() > before
    relay.cut()  # as TCP does in the end; until then, its agent waits for an operator who comes back
    wait_for(lambda: live.leftovers() == [], "nothing to be left")
    runs = project.fab("history", "-n", "2", "--json").events
    assert "took the lock because nothing was heard from this run's operator" in runs[0]["why"]
    silent.kill()
    silent.communicate()


def test_break_lock_has_a_run_stop_and_undo_and_goes_on(live: Server, project: Project):
    before = project.deployed()
    change_app(project, "LOCK = 1")
    project.write_config('release_command = "sleep 250"')
    process = project.start("deploy", "--json")
    for line in process.stdout:
        if json.loads(line).get("event") == "start" and "release command" in line:
            break
    project.write_config()
    ran = project.fab("restart", "--break-lock")
    assert "is running `deploy` on visitors" in ran.out and "it was asked to stop and undo" in ran.out
    out, _ = process.ended()
    error = json.loads(out.splitlines()[-1])
    assert process.returncode == 1 and error["what"].endswith("took the lock with --break-lock"), out
    assert f"traffic stays on {before}" in error["state"]
    assert live.release() == live.current > before
    assert live.leftovers() == []


def test_a_second_operator_is_told_who_is_at_work(live: Server, project: Project):
    project.fab("deploy")
    change_app(project, "SECOND = 1")
    process, halted = project.halted("traffic: switched to", "deploy")
    ran = project.fab("deploy", status=1)
    assert re.search(r"error: \S+@\S+ is running `deploy` on visitors since \d\d:\d\d:\d\d UTC", ran.err)
    assert "nothing was changed" in ran.err
    resume(live, process, halted)


def test_a_reboot_brings_the_current_release_back(own: Server, project: Project):
    change_app(project, "BOOT = 1")
    current = project.deployed()
    sandbox.reboot(own.machine.name)
    wait_for(lambda: answers(own), "the site after a reboot")
    assert own.release() == current
    assert "0 changed" in project.fab("provision").out
    assert "0 changed" in project.fab("deploy").out


def test_a_power_cut_in_the_middle_leaves_a_site_and_the_next_deploy_finishes(own: Server, project: Project):
    before = project.deployed()
    change_app(project, "import time; time.sleep(2)")
    process = project.start("deploy", "--json")
    for line in process.stdout:
        if "answers GET" in line:
            break
    sandbox.cut_power(own.machine.name)
    process.kill()
    process.communicate()
    sandbox.up(own.machine.name, say=lambda text: None, snapshot=SNAPSHOT)
    wait_for(lambda: answers(own), "the old release after the power cut")
    assert own.release() == before
    ran = project.fab("deploy")
    assert "was cut off; this run finishes it" in ran.out
    assert own.release() > before


def test_a_link_that_leaves_the_source_is_refused(live: Server, project: Project):
    (project.directory / "webapp" / "passwords").symlink_to("/etc/shadow")
    project.commit()
    before = live.state()
    ran = project.fab("deploy", status=1)
    assert "'webapp/passwords' is a link to '/etc/shadow', outside the source" in ran.err
    assert live.state() == before
