"""What a bad release, a full disk or a bad moment does to a site: nothing that a visitor would notice."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from breaking import clock_off, interrupt, on_small_disk
from standing import Project, Server, answers, change_app, in_create_app, serving, wait_for

from deploy import sandbox

ID = r"\d{8}-\d{6}"


@pytest.fixture(scope="module")
def faulty(snapshot: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for releases that fail; every one of them leaves it serving."""
    with serving("faults", snapshot, tmp_path_factory) as made:
        yield Server(made)


@pytest.fixture
def project(tmp_path: Path, faulty: Server) -> Project:
    made = Project(tmp_path / "project", faulty.machine)
    made.fab("deploy")
    return made


def fails(project: Project, server: Server, *words: str) -> str:
    """The command fails, while and after which the release from before serves; what it said on stderr."""
    before = server.current
    with server.requests("/healthz", clients=2) as answered:
        ran = project.fab(*words, status=1)
    assert set(answered.statuses) == {200}, ran.text
    assert server.release() == before, ran.text
    assert server.leftovers() == [], ran.text
    return ran.err


def test_a_release_whose_health_says_500_gets_no_traffic(faulty: Server, project: Project):
    in_create_app(project, "@app.before_request\ndef broken():\n    raise RuntimeError('no tide')")
    said = fails(project, faulty, "deploy")
    assert "did not answer GET /healthz with 200 within 10 s (last answer: 500: " in said
    assert "RuntimeError: no tide" in said


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "requests got a 5xx response|were restarted|failed"),
        ("raise RuntimeError('no tide')", "requests got a 5xx response .before the switch"),
    ],
    ids=["its worker is killed", "it raises"],
)
def test_a_release_that_breaks_on_real_traffic_is_switched_back_by_itself(
    faulty: Server, project: Project, fault: str, shown: str
):
    project.app = "watch_seconds = 20"
    project.write_config()
    before = faulty.current
    broken = f"@app.before_request\ndef broken():\n    if request.path == '/':\n        {fault}"
    in_create_app(project, f"import signal\nfrom flask import request\n{broken}")
    with faulty.requests("/", clients=3) as answered:
        ran = project.fab("deploy", status=1)
        count = len(answered.statuses)
        wait_for(lambda: len(answered.statuses) > count + 20, "visitors after the way back")
        last = answered.statuses[-10:]
    assert re.search(f"after the switch.*({shown})", ran.err), ran.err
    assert f"state: traffic is back on {before}; " in ran.err and "stopped and removed" in ran.err
    assert set(last) == {200}
    assert faulty.release() == before
    assert faulty.leftovers() == []
    assert re.search(rf"{ID} +failed .*\n .*deploy: after the switch", project.fab("releases").out)


def test_a_good_release_passes_its_watch_though_some_requests_fail(faulty: Server, project: Project):
    project.app = "watch_seconds = 2"
    project.write_config()
    change_app(project, "WATCHED = 1")
    with faulty.requests("/no-such-page", clients=2):
        ran = project.fab("deploy")
    assert "new release: watched for errors for 2 s" in ran.out
    assert re.search(r"\n0 of \d\d+ requests failed, slowest \d+ ms\n", ran.out)


def test_an_app_that_forks_and_dies_gets_no_lasting_traffic(faulty: Server, project: Project):
    project.app = "watch_seconds = 8\nhealth_seconds = 5"
    project.write_config()
    change_app(project, "import os\nif os.fork():\n    os._exit(0)")
    fails(project, faulty, "deploy")


def test_an_app_over_its_memory_limit_at_import_is_shown(faulty: Server, project: Project):
    limits = "/etc/systemd/system/visitors@.service.d"
    faulty.script(f"mkdir -p {limits}; printf '[Service]\\nLimitAS=800M\\n' > {limits}/a.conf; systemctl daemon-reload")
    try:
        change_app(project, "TIDE = bytearray(900 << 20)")
        assert "MemoryError" in fails(project, faulty, "deploy")
    finally:
        faulty.script(f"rm {limits}/a.conf; systemctl daemon-reload")


def test_a_release_command_that_fails_ends_the_deploy_before_traffic(faulty: Server, project: Project):
    project.app = 'release_command = "echo migrating $RELEASE_ID; echo no tide >&2; exit 3"'
    project.write_config()
    change_app(project, "COMMAND = 1")
    said = fails(project, faulty, "deploy")
    assert re.search(rf"release command `echo migrating .*` exited with 3\n  \| migrating {ID}\n  \| no tide", said)


def test_a_release_command_that_hangs_is_stopped_after_its_time(faulty: Server, project: Project):
    project.app = 'release_command = "echo waiting; sleep 1000"\nrelease_seconds = 10'
    project.write_config()
    change_app(project, "COMMAND = 2")
    said = fails(project, faulty, "deploy")
    assert "did not end within 10 s and was stopped" in said and "| waiting" in said


def test_a_release_command_runs_once_as_the_app_s_user_with_the_release_s_environment(faulty: Server, project: Project):
    project.app = (
        'release_command = "echo $RELEASE_ID $(id -un) >> $DATA_DIR/ran; test -n \\"$SECRET_KEY\\" && ! touch here"'
    )
    project.write_config()
    change_app(project, "COMMAND = 3")
    faulty.script("rm -f /var/lib/visitors/ran")
    current = project.deployed()
    project.fab("deploy")
    project.fab("restart")
    assert faulty.run("cat", "/var/lib/visitors/ran") == f"{current} visitors\n"


def test_a_release_command_that_its_agent_left_behind_is_ended_by_the_next_run(faulty: Server, project: Project):
    project.app = 'release_command = "echo begun >> $DATA_DIR/begun; test -e $DATA_DIR/short || sleep 100"'
    project.write_config()
    change_app(project, "COMMAND = 4")
    faulty.script("rm -f /var/lib/visitors/short /var/lib/visitors/begun")
    process = project.start("deploy")
    wait_for(lambda: faulty.run("cat", "/var/lib/visitors/begun", check=False), "the command to begin")
    faulty.script("touch /var/lib/visitors/short; kill -9 $(pgrep -fx 'python3 -ISc .*')")
    process.ended()
    project.fab("deploy")
    assert faulty.run("cat", "/var/lib/visitors/begun").count("begun") == 2
    assert faulty.leftovers() == []


@pytest.mark.parametrize("step", ["source of release", "virtualenv", "still served", "traffic: switched to"])
def test_a_disk_that_fills_at_a_step_is_told_and_the_next_deploy_works_once_there_is_room(
    own: Server, tmp_path: Path, step: str
):
    project = Project(tmp_path / "small", own.machine)
    before = project.deployed()
    on_small_disk(own, 400)
    project.append("webapp/requirements.txt", f"itsdangerous>=2.{len(step) % 3}\n")  # another virtualenv
    change_app(project, f"FULL = {step!r}")
    process, halted = project.halted(step, "deploy")
    assert halted, process.communicate()
    own.script("dd if=/dev/zero of=/srv/visitors/filler bs=4k 2>/dev/null || true")
    own.run("kill", "-USR1", str(halted["pid"]))
    out, _ = process.ended()
    assert process.returncode == 1
    error = next(event for event in map(json.loads, out.splitlines()) if event["event"] == "error")
    assert "disk" in error["what"] + error["detail"] or "No space left" in error["detail"], error
    assert own.release() == before and f"on {before}; " in error["state"]
    own.script("rm /srv/visitors/filler")
    assert [left for left in own.leftovers() if "unused virtualenv" not in left] == []  # for the next try
    project.fab("deploy")
    assert own.release() > before
    assert own.leftovers() == []


def test_two_operators_at_the_same_second_do_one_after_the_other_or_one_is_told(faulty: Server, project: Project):
    before = faulty.current
    change_app(project, "TWO = 1")
    both = [project.start("deploy"), project.start("deploy")]
    said = [process.ended() for process in both]
    statuses = sorted(process.returncode for process in both)
    assert statuses in ([0, 0], [0, 1]), said
    if statuses == [0, 1]:
        assert any("is running `deploy` on visitors since" in err for _, err in said)
    assert faulty.release() > before
    assert faulty.leftovers() == []


def test_a_release_command_goes_on_while_nobody_reads_what_it_prints(faulty: Server, project: Project):
    project.app = 'release_command = """yes \'%s\' | head -n 100000; echo ended > $DATA_DIR/ended"""' % ("x" * 100)
    project.write_config()
    change_app(project, "CHATTY = 1")
    before = faulty.current
    faulty.script("rm -f /var/lib/visitors/ended")
    process = project.start("deploy")
    for line in process.stdout:
        if "xxx" in line:
            break
    os.kill(process.pid, signal.SIGSTOP)  # Ctrl-Z
    wait_for(lambda: faulty.run("cat", "/var/lib/visitors/ended", check=False), "the command to end")
    wait_for(lambda: faulty.release() > before, "the new release to serve")
    os.kill(process.pid, signal.SIGCONT)
    out, err = process.ended()
    assert process.returncode == 0, err
    assert re.search(r"\(\d+ lines are left out: output came faster than it was read\)", out)
    assert "requests failed, slowest" in out and "how do users reach it?" in out
    assert "note: `deploy`" not in project.fab("deploy", "--check").out  # its end was heard


def test_ctrl_c_at_every_event_of_a_deploy_undoes_it_or_comes_too_late_for_that(faulty: Server, project: Project):
    change_app(project, "CTRL_C = 0")
    events = project.fab("deploy", "--json").events
    # The end of a step is the moment before the next begins.
    moments = [number for number, event in enumerate(events) if event["event"] != "step"]
    outcomes = []
    with faulty.requests("/healthz", clients=2) as answered:
        for moment in moments:
            before = faulty.current
            change_app(project, f"CTRL_C = {moment + 1}")
            process = project.start("deploy", "--json")
            seen = [line for _, line in zip(range(moment + 1), process.stdout, strict=False)]
            interrupt(process)
            # Not `communicate`: it would lose lines that were read together with the last one seen.
            said = [json.loads(line) for line in [*seen, *process.stdout]]
            err = process.stderr.read()
            process.wait(60)
            # Of a Ctrl-C that came with the last line, a note may tell behind it.
            last = next(event for event in reversed(said) if event["event"] in ("answers", "error", "end"))
            wait_for(faulty.idle, "the lock to be free")
            outcomes.append(process.returncode)
            if last["event"] == "error":
                assert (process.returncode, last["what"]) == (130, "interrupted"), (last, err)
                assert last["state"] == "nothing was changed" or f" on {before}; " in last["state"]
                assert faulty.release() == before, seen[-1]
            else:  # it went on, and says so
                assert process.returncode == 0 or err.startswith("interrupted: the steps shown above were done"), err
                assert last["event"] == "answers", said[-3:]
                assert faulty.release() == last["release"] > before, seen[-1]
            assert "Traceback" not in err and "error" not in err, err
    assert set(answered.statuses) == {200}
    assert outcomes.count(130) > 10
    assert faulty.leftovers() == []


def test_clocks_that_are_off_by_a_year_do_no_harm(faulty: Server, project: Project):
    with faulty.requests("/healthz", clients=2) as answered:
        for jumps in (("-400d", "+300d"), ("+400d", "-300d")):
            with clock_off(faulty, *jumps) as off:
                before = faulty.current
                change_app(project, f"CLOCK = {jumps!r}")
                process = project.start("deploy", environment=off)
                out, err = process.ended()
                assert process.returncode == 0, out + err
                newer = faulty.current
                assert faulty.release() == newer > before
                assert "nothing new: 0 changed" in project.fab("deploy").out
                assert f"rolled back to {before}" in project.fab("rollback").out
                assert "0 changed" in project.fab("provision").out
            project.fab("rollback", newer)
            assert faulty.leftovers() == []
    assert set(answered.statuses) == {200}


def test_a_stopped_nginx_is_started_by_a_deploy(faulty: Server, project: Project):
    change_app(project, "NGINX = 1")
    faulty.run("systemctl", "stop", "nginx")
    current = project.deployed()
    assert faulty.release() == current


@pytest.mark.parametrize("file", ["nginx/sites-available/visitors.conf", "systemd/system/visitors@{}.service"])
def test_an_edit_by_hand_is_shown_and_replaced_only_by_force(faulty: Server, project: Project, file: str):
    path = f"/etc/{file.format(faulty.current)}"
    faulty.script(f"echo '# mine' >> {path}")
    change_app(project, f"EDITED = {file!r}")
    said = fails(project, faulty, "deploy")
    assert f"{path} on the server was edited by hand" in said and "  | -# mine" in said
    assert "state: nothing was changed" in said and "--force" in said
    project.fab("deploy", "--force")
    assert "# mine" in faulty.run("cat", f"{path}.before-ashore")
    faulty.run("rm", f"{path}.before-ashore")


def test_after_a_reboot_the_same_release_serves_with_the_same_environment(faulty: Server, project: Project):
    (project.directory / "variables").write_text("TIDE='high & \"dry\" $HOME'\n")
    project.fab("env.set", "--file", "variables")
    current = faulty.current
    seen = project.fab("run", 'printf "%s|%s" "$TIDE" "$SECRET_KEY"').out
    sandbox.reboot(faulty.machine.name)
    wait_for(lambda: answers(faulty), "the site after a reboot")
    assert faulty.release() == current
    assert project.fab("run", 'printf "%s|%s" "$TIDE" "$SECRET_KEY"').out == seen
    assert seen.startswith('high & "dry" $HOME|') and len(seen.partition("|")[2]) == 64
    assert "0 changed" in project.fab("deploy").out
