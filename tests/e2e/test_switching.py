"""What may serve, and who may say so: rollback, releases, environment, restart, history, maintenance, the lock."""

import json
import re
import subprocess

import pytest
from breaking import resume
from standing import Project, Server, change_app, wait_for

ID = r"\d{8}-\d{6}"


def variables(project: Project, text: str) -> None:
    (project.directory / "variables").write_text(text)
    project.fab("env.set", "--file", "variables")


def of_the_app(project: Project, name: str) -> str:
    return project.fab("run", f'printf %s "${name}"').out


def test_rollback_takes_code_packages_and_environment_back(live: Server, project: Project):
    project.write_config('[app.env]\nLANGUAGE = "en"')
    first = project.deployed()
    project.write_config('[app.env]\nLANGUAGE = "de"')
    project.append("webapp/requirements.txt", "itsdangerous\n")
    change_app(project, "BACK = 1")
    second = project.deployed()
    assert of_the_app(project, "LANGUAGE") == "de"
    ran = project.fab("rollback")
    assert f"rolled back to {first}" in ran.out and "requests failed, slowest" in ran.out
    assert live.release() == first
    assert of_the_app(project, "LANGUAGE") == "en"
    assert live.run("readlink", "-f", "/srv/visitors/current/venv") != live.run(
        "readlink", "-f", f"/srv/visitors/releases/{second}/venv"
    )
    states = {row["release"]: row["state"] for row in project.fab("releases", "--json").events}
    assert states[first] == "current" and states[second] == "rolled back"
    project.fab("rollback", second)
    assert live.release() == second
    assert live.leftovers() == []


def test_a_rollback_goes_past_what_was_rolled_back_and_refuses_what_is_not_there(live: Server, project: Project):
    change_app(project, "PAST = 1")
    first = project.deployed()
    change_app(project, "PAST = 2")
    project.fab("deploy")
    project.fab("rollback")
    change_app(project, "PAST = 3")
    project.fab("deploy")
    project.fab("rollback")
    assert live.release() == first
    ran = project.fab("rollback", "20200101-000000", status=1)
    assert "there is no release 20200101-000000 to go back to" in ran.err and "nothing was changed" in ran.err
    assert f"rolled back to {first}: 0 changed" in project.fab("rollback", first).out


def test_releases_tell_who_when_commit_state_and_size(live: Server, project: Project):
    change_app(project, "TOLD = 1")
    current = project.deployed()
    change_app(project, "raise ImportError('no tide')")
    project.fab("deploy", status=1)
    rows = project.fab("releases", "--json").events
    assert rows[0]["state"] == "failed" and "ended while it was starting" in rows[0]["note"]
    assert rows[1]["release"] == current and rows[1]["state"] == "current"
    assert rows[1]["commit"] == project.git("rev-parse", "--short", "HEAD~1").strip()
    assert re.fullmatch(r"[\d.]+ kB", rows[1]["size"]) and "@" in rows[1]["by"]
    assert re.search(rf"^{current}  current +2\d\d\d-\d\d-\d\d \d\d:\d\d:\d\d", project.fab("releases").out, re.M)


def test_failed_and_rolled_back_releases_do_not_push_out_good_ones(live: Server, project: Project):
    project.app = "keep_releases = 2"
    project.write_config()
    good = []
    for number in range(3):
        change_app(project, f"KEPT = {number}")
        good.append(project.deployed())
    for number in range(2):
        change_app(project, f"raise ImportError('{number}')")
        project.fab("deploy", status=1)
    project.git("reset", "-q", "--hard", "HEAD~2")
    project.write_config()
    change_app(project, "KEPT = 4")
    project.fab("deploy")
    project.fab("rollback")
    assert set(good[1:]) <= set(live.run("ls", "/srv/visitors/releases").split())


def test_values_of_the_environment_are_set_from_a_pipe_and_never_shown(live: Server, project: Project):
    project.fab("deploy")
    before = live.current
    secret = 'tide "high" $PATH \\ `id`\nsecond line'
    process = project.start("env.set", "API_TOKEN", "-v", stdin=subprocess.PIPE)
    out, err = process.communicate(secret + "\n", timeout=300)
    assert process.returncode == 0, out + err
    assert "environment set: API_TOKEN added" in out and "requests failed" in out
    assert live.current > before
    assert of_the_app(project, "API_TOKEN") == secret
    listed = project.fab("env")
    assert re.search(r"^API_TOKEN +\[hidden\] +fab env.set$", listed.out, re.M)
    everything = out + err + listed.text + project.fab("history", "--json").text + live.journal()
    everything += live.script(
        "cat /var/lib/ashore/visitors/history.jsonl; ps axww; cat /srv/visitors/current/release.json"
    )
    assert "second line" not in everything and "high" not in everything
    assert (
        live.script("stat -c '%U %a' /srv/visitors/current/env /srv/visitors/current/env.json | sort -u")
        == "root 600\n"
    )
    project.fab("env.unset", "API_TOKEN")
    assert of_the_app(project, "API_TOKEN") == ""
    project.fab("rollback")
    assert of_the_app(project, "API_TOKEN") == secret


def test_the_environment_of_the_server_outlives_deploys_and_goes_over_deploy_toml(live: Server, project: Project):
    project.write_config('[app.env]\nLANGUAGE = "en"')
    project.fab("deploy")
    variables(project, "LANGUAGE=nl\n")
    change_app(project, "KEEPS = 1")
    project.fab("deploy")
    assert of_the_app(project, "LANGUAGE") == "nl"
    assert re.search(r"^LANGUAGE +\[hidden\]  fab env\.set \(over deploy\.toml\)$", project.fab("env").out, re.M)
    project.fab("env.unset", "LANGUAGE")
    assert of_the_app(project, "LANGUAGE") == "en"


def test_an_environment_that_is_so_already_makes_no_release(live: Server, project: Project):
    variables(project, "SAME=1\n")
    before = live.current
    ran = project.fab("env.set", "--file", "variables")
    assert "nothing new: the environment already has these values: 0 changed" in ran.out
    assert live.current == before


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["env.set", "TOKEN=tide"], "the value must not be on the command line"),
        (["env.set"], "env.set needs a name or a file"),
        (["env.set", "--file", "nowhere"], "nowhere cannot be read"),
        (["env.set", "RELEASE_ID"], "RELEASE_ID is set by the kit itself"),
        (["env.set", "EMPTY"], "the value of EMPTY is empty"),
    ],
)
def test_what_cannot_be_set_is_refused_without_showing_it(live: Server, project: Project, words: list[str], what: str):
    before = live.state()
    ran = project.fab(*words, status=1)
    assert what in ran.err and "nothing was changed" in ran.err and "tide" not in ran.text
    assert live.state() == before


def test_a_restart_gives_fresh_processes_and_takes_no_release_s_place(live: Server, project: Project):
    change_app(project, "RESTARTED = 1")
    current = project.deployed()
    before = live.run("ls", "/srv/visitors/releases").split()
    ran = project.fab("restart")
    assert "restarted: " in ran.out and "0 of " in ran.out
    assert live.release() > current
    after = live.run("ls", "/srv/visitors/releases").split()
    assert len(after) == len(before) and set(before) - set(after) == {current}
    assert "nothing new: 0 changed" in project.fab("deploy").out
    project.fab("rollback")
    assert live.release() == [name for name in before if name != current][-1]


def test_history_has_a_line_for_each_change_with_who_where_from_what_and_how(live: Server, project: Project):
    project.fab("deploy")
    count = len(project.fab("history", "-n", "0", "--json").events)
    project.fab("deploy")  # nothing new: no line
    change_app(project, "raise ImportError('no tide')")
    project.fab("deploy", status=1)
    project.git("reset", "-q", "--hard", "HEAD~1")
    project.write_config()
    change_app(project, "HISTORY = 1")
    current = project.deployed()
    variables(project, f"HISTORY={current}\n")
    project.fab("rollback")
    rows = project.fab("history", "-n", "0", "--json").events[count:]
    assert [(row["verb"], row["outcome"]) for row in rows] == [
        ("deploy", "failed"),
        ("deploy", "ok"),
        ("env.set", "ok"),
        ("rollback", "ok"),
    ]
    assert rows[1]["release"] == current and rows[1]["failed"] == 0 and rows[1]["requests"] > 5
    assert rows[1]["from"] == "10.76.0.1" and "@" in rows[1]["who"] and rows[1]["seconds"] > 0
    assert "ended while it was starting" in rows[0]["why"]
    assert "environment: HISTORY" in project.fab("history").out


def test_check_tells_commits_files_packages_names_command_and_diffs_and_changes_nothing(live: Server, project: Project):
    project.write_config('[app.env]\nLANGUAGE = "en"\nGONE = "1"')
    change_app(project, "PREVIEW = 1")
    current = project.deployed()
    project.app = 'release_command = "flask db upgrade"\ntimeout_seconds = 41\nmax_body_megabytes = 43'
    project.write_config('[app.env]\nLANGUAGE = "tide"\nNEW = "1"')
    project.append("webapp/requirements.txt", "flask-login==0.6.3\nmarkupsafe<3\n")
    (project.directory / "webapp" / "added.py").write_text("")
    change_app(project, "PREVIEW = 2")
    before = live.state()
    said = project.fab("deploy", "--check").out
    assert f"since {current}, commit " in said
    assert re.search(r"^commits +[0-9a-f]{7} change$", said, re.M)
    assert "add    webapp/added.py" in said and "change webapp/__init__.py" in said
    assert "add    flask-login 0.6.3" in said and re.search(r"change markupsafe 3\S+ → 2\.", said)
    for row in ("LANGUAGE changed", "NEW added", "GONE removed"):
        assert f"{row}: [hidden]\n" in said
    assert "tide" not in said
    assert "would change  release command: flask db upgrade" in said
    assert "+TimeoutStopSec=51" in said and "-TimeoutStopSec=40" in said
    assert "+    client_max_body_size 43m;" in said
    assert live.state() == before


def test_a_page_loaded_before_the_switch_finds_its_static_files_after_it(live: Server, project: Project):
    (project.directory / "webapp" / "static" / "old.js").write_text("old tide")
    project.commit()
    project.fab("deploy")
    (project.directory / "webapp" / "static" / "old.js").unlink()
    (project.directory / "webapp" / "static" / "new.js").write_text("new tide")
    project.commit()
    project.fab("deploy")
    assert live.get("/static/old.js")[:2] == (200, "old tide")
    assert live.get("/static/new.js")[:2] == (200, "new tide")
    assert live.get("/static/../__init__.py")[0] in (400, 404)
    assert live.get("/static/nowhere.js")[0] == 404


def test_maintenance_closes_the_site_to_visitors_only(live: Server, project: Project):
    project.fab("deploy")
    reloads = live.script("systemctl show -p InvocationID nginx; pgrep -P $(cat /run/nginx.pid)")
    ran = project.fab("maintenance", "on", "--allow", "192.0.2.7")
    assert "visitors get a 503, except from 10.76.0.1, 192.0.2.7" in ran.out
    assert live.get("/")[0] == 200  # from the operator's address
    stranger = live.get("/", headers={"X-Forwarded-For": "192.0.2.7"})
    assert stranger[0] == 200
    live.run("rm", "/srv/visitors/maintenance/let/10.76.0.1")  # as anybody else, then
    status, page, headers = live.get("/")
    assert status == 503 and "Closed for maintenance" in page and headers["Retry-After"] == "120"
    assert live.get("/", headers={"X-Forwarded-For": "192.0.2.7"})[0] == 503
    assert live.get("/healthz")[0] == 200
    change_app(project, "CLOSED = 1")
    assert "maintenance is on" in project.fab("deploy").out
    assert live.get("/")[0] == 503
    assert "the site is open" in project.fab("maintenance", "off").out
    assert live.get("/")[0] == 200
    assert live.script("systemctl show -p InvocationID nginx; pgrep -P $(cat /run/nginx.pid)") == reloads
    assert "0 changed" in project.fab("maintenance", "off").out
    assert "maintenance takes on or off, not ajar" in project.fab("maintenance", "ajar", status=1).err


def test_a_run_that_waits_goes_on_once_the_other_has_ended(live: Server, project: Project):
    change_app(project, "WAITED = 1")
    process, halted = project.halted("traffic: switched to", "deploy")
    assert halted
    assert "is running `deploy` on visitors since" in project.fab("restart", status=1).err
    waiting = project.start("restart", "--wait", "--json")
    for line in waiting.stdout:
        if json.loads(line)["event"] == "waiting":
            break
    resume(live, process, halted)
    out, err = waiting.ended()
    assert waiting.returncode == 0, out + err
    verbs = [row["verb"] for row in project.fab("history", "--json").events]
    assert verbs[-2:] == ["deploy", "restart"]


def test_a_lock_whose_owner_died_is_free(live: Server, project: Project):
    change_app(project, "DIED = 1")
    process, halted = project.halted("traffic: switched to", "deploy")
    assert halted
    live.run("kill", "-9", str(halted["pid"]))
    process.ended()
    wait_for(live.idle, "the lock to be free")
    project.fab("deploy")
    assert live.leftovers() == []
