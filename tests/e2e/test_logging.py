"""`fab logs`: the journal of the app, and Nginx's lines."""

import json
import re

from breaking import interrupt
from standing import Project, Running, Server, change_app


def test_the_last_lines_come_plain_in_a_pipe_with_time_and_release(live: Server, project: Project):
    ran = project.fab("logs", "-n", "5")
    lines = ran.out.splitlines()
    assert len(lines) == 5
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d visitors@\d{8}-\d{6} ", line) for line in lines), lines
    assert "\x1b" not in ran.out


def test_one_release_and_a_time_can_be_asked_for(live: Server, project: Project):
    current = project.deployed()
    ran = project.fab("logs", "--release", current, "--since", "1 hour ago")
    assert ran.out and all(f"visitors@{current}" in line for line in ran.out.splitlines())
    ran = project.fab("logs", "--since", "tomorrow", status=1)
    assert "the journal has no lines" in ran.err
    ran = project.fab("logs", "--since", "whenever", status=1)
    assert "'whenever' is not a time" in ran.err and "1 hour ago" in ran.err


def test_nginx_lines_come_too(live: Server, project: Project):
    live.get("/?seen-by-nginx")
    assert "nginx/access.log" in project.fab("logs", "--nginx", "--since", "1 hour ago").out


def test_json_has_one_object_a_line(live: Server, project: Project):
    events = project.fab("logs", "-n", "3", "--json").events
    assert [event["event"] for event in events if event["event"] == "line"] == ["line"] * 3
    assert {"host", "time", "source", "level", "text"} <= set(events[0])


def followed(process: Running, wanted: str) -> str:
    for line in process.stdout:
        if wanted in line:
            return line
    raise AssertionError(process.communicate())


def test_following_shows_new_lines_and_ctrl_c_ends_it_cleanly(live: Server, project: Project):
    process = project.start("logs", "-f", "-n", "1", "--nginx", "--json")
    assert json.loads(process.stdout.readline())["event"] == "line"
    live.get("/?while-following")
    followed(process, "while-following")
    unit = f"visitors@{live.current}.service"
    live.run("systemctl", "kill", "--signal=USR1", unit)
    assert json.loads(followed(process, "usr1"))["source"] == unit
    interrupt(process)
    _, err = process.ended()
    assert process.returncode == 0 and "Traceback" not in err
    assert "journalctl" not in live.script("ps -eo args | grep '[j]ournalctl.*-f' || true")


def test_a_reader_that_has_had_enough_ends_it(live: Server, project: Project):
    process = project.start("logs", "-n", "200")
    process.stdout.readline()
    process.stdout.close()
    process.wait(timeout=120)
    assert "Traceback" not in process.stderr.read()


def test_control_sequences_of_an_app_reach_no_terminal(live: Server, project: Project):
    change_app(project, r'import sys; sys.stderr.write("seen \x1b]52;c;ZQ==\x07 \x1b[2J\t\u202e end\n")')
    project.fab("deploy")
    ran = project.fab("logs", "-n", "50")
    assert r"seen \x1b]52;c;ZQ==\x07 \x1b[2J" in ran.out and "\t\\u202e end" in ran.out
    assert "\x1b" not in ran.text and "\x07" not in ran.text and "\u202e" not in ran.text
    events = project.fab("logs", "-n", "50", "--json")
    assert "\x1b" not in events.out and any("\x1b[2J" in event["text"] for event in events.events)
    change_app(project, r'raise RuntimeError("why \x1b]52;c;ZQ==\x07 \x1b[2J")')
    ran = project.fab("deploy", "-v", status=1)
    assert r"why \x1b]52;c;ZQ==\x07 \x1b[2J" in ran.err
    assert "\x1b" not in ran.text and "\x07" not in ran.text
