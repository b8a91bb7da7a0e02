"""Every verb to its end, on hosts that answer by a script: what it asks of them, what it shows, how it fails."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripted import Hosts, Typing, told
from test_plans import FACTS, FIRST, OLD, OLDER, record

from deploy.agent.dataclass import asdict, replace
from deploy.agent.resources.release.environment import FirstEnvironment
from deploy.agent.resources.tls.acme import Issued, Revoked
from deploy.agent.wire import Secret
from deploy.ci import keys
from deploy.errors import ConfigError, DeployError, HostError, Interrupted, StepFailed, VisitorsFail
from deploy.session import summary

TOML = """\
[app]
name = "shop"
wsgi = "shop:app"
watch_seconds = 0
[stages.production]
hosts = ["root@127.0.0.1"]
"""
RELEASES = {
    "records": {OLD: {**record("good"), "size_bytes": 1200, "by": "me@here", "at": "2026-02-28T09:17:33+00:00"}},
    "current": OLD,
    "history": [],
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "shop"
    made.mkdir()
    (made / "deploy.toml").write_text(TOML)
    (made / "requirements.txt").write_text("gunicorn==25.1\n")
    (made / "shop.py").write_text("app = None\n")
    monkeypatch.chdir(made)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(summary, "SETTLE_SECONDS", 0)  # no site answers here, however long one waits
    return made


@pytest.fixture
def scripted(tmp_path: Path, project: Path) -> Callable[..., Hosts]:
    def made(facts: Any = FACTS, **script: Any) -> Hosts:
        return Hosts(tmp_path / "hosts", {"facts": told(facts), **script})

    return made


def requested(hosts: Hosts) -> list[str]:
    return [message["request"] for message in hosts.requests() if message["request"] not in ("bye", "modules")]


def test_a_deploy_uploads_what_is_missing_and_sends_one_plan(scripted: Callable[..., Hosts]):
    hosts = scripted()
    typing = Typing(hosts)
    with typing.verb("deploy") as (verb, call):
        verb.deploy(call)
    typing.close()
    assert requested(hosts) == ["survey", "plan", "blob", "blob"]
    release = next(step for step in hosts.plan().steps if step.title.startswith("traffic: switched to"))
    assert "deploy production on root@127.0.0.1" in typing.said and "deployed: " in typing.said
    assert release.title in typing.said and "where is it running?" in typing.said
    assert "Gunicorn, 2 workers × 8 threads" in " ".join(typing.said.split())


def test_a_dry_run_shows_what_a_deploy_would_bring_and_takes_no_lock(scripted: Callable[..., Hosts]):
    packages = [["flask", "", "3.0"], ["jinja2", "3.0", ""], ["werkzeug", "3.0", "3.1"]]
    hosts = scripted(asks={"compare": packages})
    typing = Typing(hosts, check=True)
    with typing.verb("deploy") as (verb, call):
        verb.deploy(call)
    assert hosts.requests()[0]["lock"] is None and typing.screen.would_change
    for line in (f"since {OLD}", "add    new.py", "change shop.py", "add    flask 3.0", "remove jinja2 3.0"):
        assert line in typing.said
    assert "change werkzeug 3.0 → 3.1" in typing.said and "checked: " in typing.said


def test_the_same_source_again_is_nothing_new(scripted: Callable[..., Hosts], tmp_path: Path):
    with Typing(scripted()).verb("deploy") as (verb, call):
        verb.deploy(call)
    made = Hosts(tmp_path / "hosts", {}).plan()
    text = next(step.text for step in made.steps if step.title.endswith("release.json"))
    facts = replace(FACTS, records={**FACTS.records, OLD: {**json.loads(text), "state": "good"}})
    hosts = Hosts(tmp_path / "again", {"facts": told(facts), "missing": 0, "plan": {"ok": True, "serves": OLD}})
    typing = Typing(hosts)
    with typing.verb("deploy") as (verb, call):
        verb.deploy(call)
    assert requested(hosts) == ["survey", "plan"] and "nothing new: 0 changed" in typing.said


def test_a_step_that_fails_says_where_the_traffic_is_and_what_to_do(scripted: Callable[..., Hosts]):
    hosts = scripted(plan={"fails": "answers GET", "serves": OLD})
    typing = Typing(hosts)
    with pytest.raises(StepFailed) as raised, typing.verb("deploy") as (verb, call):
        verb.deploy(call)
    assert raised.value.state.startswith(f"traffic stays on {OLD}; ") and raised.value.hint == "fix it"
    assert "step: shop@" in raised.value.where and "  failed  shop@" in typing.said


def test_what_fails_behind_the_switch_shows_what_serves_all_the_same(scripted: Callable[..., Hosts]):
    typing = Typing(scripted(plan={"fails": "older instances", "serves": OLD}))
    with pytest.raises(StepFailed), typing.verb("deploy") as (verb, call):
        verb.deploy(call)
    assert "where is it running?" in typing.said


def test_visitors_who_got_errors_during_the_change_make_it_no_success(scripted: Callable[..., Hosts]):
    probe = {"requests": 40, "failed": 2, "first_failure": "502", "slowest_ms": 90}
    typing = Typing(scripted(plan={"serves": OLD, "end": {"probe": probe}}))
    with pytest.raises(VisitorsFail) as raised, typing.verb("deploy") as (verb, call):
        verb.deploy(call)
    assert raised.value.what == "2 of 40 requests failed during the change (the first: 502)"
    assert raised.value.status == 3 and f"back to {OLD}: fab rollback" in raised.value.hint
    assert "2 of 40 requests failed (the first: 502), slowest 90 ms" in typing.said


def test_a_server_that_is_not_provisioned_is_told_before_anything_is_sent(scripted: Callable[..., Hosts]):
    hosts = scripted(replace(FACTS, provisioned=""))
    typing = Typing(hosts)
    with (
        pytest.raises(HostError, match="is not provisioned yet for shop"),
        typing.verb("deploy") as (verb, call),
    ):
        verb.deploy(call)
    typing.close()  # what was asked is written down whole
    assert requested(hosts) == ["survey"]


def test_data_that_the_app_cannot_write_is_said_beside(scripted: Callable[..., Hosts]):
    typing = Typing(scripted(replace(FACTS, data="data of shop takes 9 of 8 MB")))
    with typing.verb("deploy") as (verb, call):
        verb.deploy(call)
    assert "note: data of shop takes 9 of 8 MB; fab run" in typing.said


def test_what_was_noticed_on_the_server_is_warned_of(scripted: Callable[..., Hosts]):
    looked = {"event": "noticed", "disks": [], "restart": False, "undone": [], "failed": ["certbot.service"]}
    typing = Typing(scripted(plan={"serves": OLD, "events": [looked]}))
    with typing.verb("deploy") as (verb, call):
        verb.deploy(call)
    assert "certbot.service" in typing.said


def test_how_the_last_run_ended_is_said_first(scripted: Callable[..., Hosts]):
    run = {"verb": "deploy", "who": "me@here", "state": "cut off", "started": 0, "release": OLD}
    typing = Typing(scripted(before=[{"event": "last", "run": run}, {"event": "waiting", "holder": "you@there"}]))
    with typing.verb("deploy") as (verb, call):
        verb.deploy(call)
    assert "note: `deploy` by me@here, started 1970-01-01 00:00 UTC, was cut off" in typing.said
    assert "waiting: you@there" in typing.said


def test_a_rollback_goes_to_the_release_before_or_to_one_that_is_named(scripted: Callable[..., Hosts], tmp_path: Path):
    for number, wanted in enumerate(("", OLDER)):
        hosts = Hosts(tmp_path / f"hosts{number}", {"facts": told(FACTS), "plan": {"serves": OLDER}})
        typing = Typing(hosts)
        with typing.verb("rollback") as (verb, call):
            verb.rollback(call, wanted)
        assert f"rolled back to {OLDER}" in typing.said
        assert any(step.title == f"traffic: switched to {OLDER}" for step in hosts.plan().steps)


def test_a_restart_is_a_release_with_the_code_of_the_current_one(scripted: Callable[..., Hosts]):
    hosts = scripted()
    with Typing(hosts).verb("restart") as (verb, call):
        verb.restart(call)
    assert any(step.title.endswith(f"copied from {OLD}") for step in hosts.plan().steps)


@pytest.mark.parametrize(
    ("facts", "what"),
    [(FIRST, "shop has no release yet"), (replace(FACTS, current=""), "no release of shop gets traffic")],
)
def test_without_a_release_there_is_nothing_to_restart(scripted: Callable[..., Hosts], facts: Any, what: str):
    with pytest.raises(HostError, match=what), Typing(scripted(facts)).verb("restart") as (verb, call):
        verb.restart(call)


def test_another_environment_is_a_release_that_names_what_is_new(scripted: Callable[..., Hosts]):
    hosts = scripted(asks={"news": [["COLOUR", "added"]]})
    typing = Typing(hosts)
    with typing.verb("env") as (verb, call):
        verb.env_set(call, "env.set", {"COLOUR": Secret("sea-green")})
    assert requested(hosts) == ["survey", "ask", "plan"] and hosts.plan().verb == "env.set"
    assert "environment set: COLOUR added" in typing.said and "sea-green" not in typing.said


def test_an_environment_that_is_so_already_is_nothing_new(scripted: Callable[..., Hosts]):
    typing = Typing(scripted(asks={"news": []}, plan={"ok": True, "serves": OLD}))
    with typing.verb("env") as (verb, call):
        verb.env_set(call, "env.set", {"COLOUR": Secret("sea-green")})
    assert "nothing new: the environment already has these values: 0 changed" in typing.said


def test_before_the_first_release_an_environment_waits_for_it(scripted: Callable[..., Hosts]):
    hosts = scripted(FIRST)
    typing = Typing(hosts)
    with typing.verb("env") as (verb, call):
        verb.env_set(call, "env.set", {"COLOUR": Secret("sea-green")})
    assert [type(step) for step in hosts.plan().steps] == [FirstEnvironment]
    assert "the first `fab deploy` uses it" in typing.said


def test_the_environment_is_listed_without_its_values(scripted: Callable[..., Hosts]):
    found = [{"name": "COLOUR", "from": "set", "over": ["app"]}, {"name": "DATA_DIR", "from": "kit", "over": []}]
    typing = Typing(scripted(asks={"listing": found}))
    with typing.verb("env") as (verb, call):
        verb.env(call)
    assert "COLOUR    [hidden]  fab env.set (over deploy.toml)" in typing.said


def test_releases_and_history_are_tables(scripted: Callable[..., Hosts]):
    run = {"verb": "deploy", "who": "me@here", "started": 0, "seconds": 2, "outcome": "failed", "step": "x", "why": "y"}
    typing = Typing(scripted(asks={"releases": RELEASES, "read": [run]}))
    with typing.verb("releases") as (verb, call):
        verb.list_releases(call)
    with typing.verb("releases") as (verb, call):
        verb.list_history(call, 30)
    assert f"{OLD}  current" in typing.said and "1.2 kB" in typing.said
    assert "1970-01-01 00:00:00  deploy" in typing.said and "x: y" in typing.said


def test_nothing_to_list_is_said_so(scripted: Callable[..., Hosts]):
    none = {"records": {}, "current": "", "history": []}
    typing = Typing(scripted(asks={"releases": none, "read": [], "listing": None}))
    for name, ask in (("releases", "list_releases"), ("releases", "list_history"), ("tls", "tls")):
        with typing.verb(name) as (verb, call):
            getattr(verb, ask)(call, *((30,) if ask == "list_history" else ()))
    assert "shop has no release on 127.0.0.1 yet" in typing.said and "shop has no history" in typing.said
    assert "shop has no certificate on 127.0.0.1" in typing.said


CERTIFICATE = {
    "names": ["shop.example.com"], "issuer": "R3", "ends": "2027-01-01", "state": "good", "renewed_by": "certbot",
    "serial": "AB12", "not_before": "",
}  # fmt: skip


def test_a_certificate_is_shown_with_who_renews_it(scripted: Callable[..., Hosts]):
    typing = Typing(scripted(asks={"listing": CERTIFICATE}))
    with typing.verb("tls") as (verb, call):
        verb.tls(call)
    assert "good   2027-01-01   R3    certbot     shop.example.com" in typing.said


@pytest.mark.parametrize("compromised", [False, True])
def test_a_certificate_is_renewed_now_and_a_compromised_one_declared_void(
    scripted: Callable[..., Hosts], project: Path, compromised: bool
):
    (project / "deploy.toml").write_text(TOML + 'domain = "shop.example.com"\n')
    hosts = scripted(replace(FACTS, provisioned=f"{FACTS.provisioned} acme"), asks={"listing": CERTIFICATE})
    typing = Typing(hosts)
    with typing.verb("tls") as (verb, call):
        verb.renew(call, compromised)
    kinds = [type(step) for step in hosts.plan().steps]
    assert Issued in kinds and (Revoked in kinds) is compromised and "renewed: " in typing.said


def test_without_a_certificate_of_an_authority_there_is_nothing_to_renew(scripted: Callable[..., Hosts]):
    with pytest.raises(HostError, match="Ashore does not renew"), Typing(scripted()).verb("tls") as (verb, call):
        verb.renew(call, False)


def test_maintenance_lets_its_operator_and_those_who_are_named_through(scripted: Callable[..., Hosts]):
    hosts = scripted(asks={"origin": "192.0.2.7"})
    typing = Typing(hosts)
    with typing.verb("maintenance") as (verb, call):
        verb.maintenance(call, True, "192.0.2.8, 2001:db8::1")
    paths = [step.path for step in hosts.plan().steps]
    assert [path.rpartition("/")[2] for path in paths[2:]] == [
        "127.0.0.1", "::1", "192.0.2.7", "192.0.2.8", "2001:db8::1", "on",
    ]  # fmt: skip
    assert "visitors get a 503, except from 192.0.2.7, 192.0.2.8, 2001:db8::1" in typing.said


def test_maintenance_ends(scripted: Callable[..., Hosts]):
    typing = Typing(scripted(asks={"origin": ""}))
    with typing.verb("maintenance") as (verb, call):
        verb.maintenance(call, False, "")
    assert "the site is open" in typing.said


def test_an_address_that_is_none_lets_nobody_through(scripted: Callable[..., Hosts]):
    hosts = scripted(asks={"origin": ""})
    with pytest.raises(ConfigError, match="'office' is not an IP address"), Typing(hosts).verb("maintenance") as found:
        found[0].maintenance(found[1], True, "office")
    assert "plan" not in requested(hosts)


LINE = {"event": "line", "time": 0, "source": "shop@x.service", "level": 6, "text": "hello"}


def test_logs_are_read_as_they_come(scripted: Callable[..., Hosts]):
    hosts = scripted(logs=[LINE, {"event": "reply"}])
    typing = Typing(hosts)
    with typing.verb("logs") as (verb, call):
        verb.logs(call, lines=5, since="yesterday", follow=False, release=OLD, process="", proxies=["nginx"])
    assert typing.said == "1970-01-01 00:00:00 shop@x hello\n"
    (asked,) = [message for message in hosts.requests() if message["request"] == "logs"]
    assert (
        asked["units"] == [f"shop@{OLD}.service", f"shop@{OLD}.*.service", "nginx.service"] and len(asked["files"]) == 2
    )


def test_a_journal_without_lines_says_what_to_do(scripted: Callable[..., Hosts]):
    hosts = scripted(logs=[{"event": "reply"}])
    with pytest.raises(HostError, match="has no lines of shop@"), Typing(hosts).verb("logs") as (verb, call):
        verb.logs(call, lines=5, since="", follow=False, release="", process="", proxies=[])


def test_a_command_beside_the_app_ends_with_its_own_status(
    scripted: Callable[..., Hosts], capfd: pytest.CaptureFixture[str]
):
    data = {"event": "data", "stream": "out", "data": "aGVsbG8K"}
    hosts = scripted(run=[data, {"event": "reply", "status": 3}])
    with Typing(hosts).verb("run", first=True) as (verb, call):
        assert verb.run(call, ["/bin/sh", "-c", "hello"]) == 3
    assert capfd.readouterr().out == "hello\n"


def test_a_provision_sends_one_plan_and_proves_a_second_login_when_asked(scripted: Callable[..., Hosts]):
    prove = {"event": "prove", "step": "SSH: login by key only", "keys": []}
    typing = Typing(scripted(plan={"events": [prove]}))
    with typing.verb("provision", may_install=True) as (verb, call):
        verb.provision(call)
    assert '"ok": true' in typing.said and "provisioned: " in typing.said


def test_a_second_login_that_fails_is_told_to_the_server(scripted: Callable[..., Hosts]):
    prove = {"event": "prove", "step": "SSH: login by key only", "keys": []}
    typing = Typing(scripted(plan={"events": [prove]}, login=1, said="no such account"))
    with typing.verb("provision", may_install=True) as (verb, call):
        verb.provision(call)
    assert '"ok": false' in typing.said and "no such account" in typing.said


def test_a_provision_that_fails_says_that_it_goes_on_from_there(scripted: Callable[..., Hosts]):
    typing = Typing(scripted(plan={"fails": "packages"}))
    with pytest.raises(StepFailed) as raised, typing.verb("provision", may_install=True) as (verb, call):
        verb.provision(call)
    assert "the next run continues from here" in raised.value.state


def test_a_run_that_its_operator_has_stopped_is_an_interruption(scripted: Callable[..., Hosts]):
    end = {"state": "cancelled", "what": "stopped by the operator", "hint": "", "detail": "", "by_operator": True}
    hosts = scripted(plan={"fails": "packages", "end": end})
    with pytest.raises(Interrupted), Typing(hosts).verb("provision") as (verb, call):
        verb.provision(call)


def test_a_key_for_ci_is_made_once_and_shown_with_what_ci_needs(scripted: Callable[..., Hosts], tmp_path: Path):
    (tmp_path / ".ssh").mkdir()
    hosts = scripted(asks={"keys_in": []})
    typing = Typing(hosts)
    with typing.verb("ci_key") as (verb, call):
        verb.add_keys(call, "")
    assert (tmp_path / ".ssh" / "ashore-ci-shop-production").exists()
    assert "may deploy shop here, as ci-shop@127.0.0.1" in typing.said and "1 CI key" in typing.said


def test_a_key_is_revoked_by_its_fingerprint_and_an_unknown_one_named(scripted: Callable[..., Hosts], tmp_path: Path):
    (tmp_path / ".ssh").mkdir()
    with Typing(scripted(asks={"keys_in": []})).verb("ci_key") as (verb, call):
        verb.add_keys(call, "")
    made = keys.made(tmp_path / ".ssh" / "ashore-ci-shop-production", "", keep=False)
    hosts = Hosts(tmp_path / "revoking", {"facts": told(FACTS), "asks": {"keys_in": [{"id": made.id, **asdict(made)}]}})
    typing = Typing(hosts)
    with typing.verb("ci_key") as (verb, call):
        verb.revoke_keys(call, "all")
    assert "no CI keys; 1 revoked" in typing.said
    with pytest.raises(DeployError, match="there is no such key"), Typing(hosts).verb("ci_key") as (verb, call):
        verb.revoke_keys(call, "SHA256:" + "A" * 43)


KEY = {"hello": {"ci": "shop", "protocol": 1, "kit": "0"}}
PLANNED = {
    "event": "planned",
    "release": "20260301-120405",
    "record": {"commit": "abc123", "app": {}, "python": "3.11.2"},
    "site": {"names": ["127.0.0.1"]},
    "new": True,
}
ENDED = {"event": "end", "state": "ok", "changed": 3, "seconds": 1.5, "serves": "20260301-120405", "done": "deployed"}


def test_over_a_ci_key_the_server_makes_the_plan(scripted: Callable[..., Hosts]):
    hosts = scripted(replace(FACTS, ci="0"), ci_deploy=[PLANNED, ENDED], **KEY)
    typing = Typing(hosts)
    with typing.verb("deploy") as (verb, call):
        verb.deploy(call)
    assert requested(hosts) == ["survey", "ci_deploy"]
    assert "deployed: 0 changed, 0 ok, in 1.5 s" in typing.said and "shop@20260301-120405.service" in typing.said
    assert "another version of Ashore" in typing.said


def test_a_dry_run_over_a_ci_key_does_not_tell_packages(scripted: Callable[..., Hosts]):
    typing = Typing(scripted(ci_deploy=[PLANNED, ENDED], **KEY), check=True)
    with typing.verb("deploy") as (verb, call):
        verb.deploy(call)
    assert "an operator's `fab deploy --check` shows" in typing.said


def test_a_rollback_over_a_ci_key(scripted: Callable[..., Hosts]):
    hosts = scripted(ci_rollback=[PLANNED, {**ENDED, "done": "rolled back"}], **KEY)
    typing = Typing(hosts)
    with typing.verb("rollback") as (verb, call):
        verb.rollback(call, OLDER)
    assert "rolled back: 0 changed" in typing.said


def test_a_failure_over_a_ci_key_says_where_the_traffic_is(scripted: Callable[..., Hosts]):
    failed = {"event": "end", "state": "failed", "step": "x", "what": "it broke", "hint": "", "detail": ""}
    failed |= {"applied": True, "switched": False, "changed": 1, "serves": OLD, "seconds": 1.0}
    hosts = scripted(ci_deploy=[PLANNED, failed], **KEY)
    with pytest.raises(StepFailed) as raised, Typing(hosts).verb("deploy") as (verb, call):
        verb.deploy(call)
    assert raised.value.state == f"traffic stays on {OLD}; 20260301-120405 was stopped and removed"


def test_a_ci_key_breaks_nobody_s_lock(scripted: Callable[..., Hosts]):
    typing = Typing(scripted(**KEY), break_lock=True)
    with pytest.raises(HostError, match="a CI key cannot break a lock"), typing.verb("deploy") as (verb, call):
        verb.deploy(call)


def test_a_ci_key_of_another_protocol_says_who_can_help(scripted: Callable[..., Hosts]):
    hosts = scripted(hello={"ci": "shop", "protocol": 99})
    with pytest.raises(HostError, match="not compatible with this one"), Typing(hosts).verb("deploy") as (verb, call):
        verb.deploy(call)


def test_two_hosts_get_one_release_one_after_the_other(scripted: Callable[..., Hosts], project: Path):
    (project / "deploy.toml").write_text(TOML.replace('"root@127.0.0.1"', '"root@127.0.0.1", "root@127.0.0.2"'))
    hosts = scripted()
    typing = Typing(hosts)
    with typing.verb("deploy") as (verb, call):
        verb.deploy(call)
    plans = [hosts.plan(host) for host in ("127.0.0.1", "127.0.0.2")]
    links = [{step.title for step in plan.steps if step.title.startswith("traffic: switched to")} for plan in plans]
    assert links[0] == links[1] and "127.0.0.1: deployed" in typing.said and "127.0.0.2: deployed" in typing.said


def test_where_the_second_host_fails_both_are_told_of(scripted: Callable[..., Hosts], project: Path):
    (project / "deploy.toml").write_text(TOML.replace('"root@127.0.0.1"', '"root@127.0.0.1", "root@127.0.0.2"'))
    hosts = scripted(**{"127.0.0.2": {"plan": {"fails": "answers GET", "serves": OLD}}})
    with pytest.raises(StepFailed) as raised, Typing(hosts).verb("deploy") as (verb, call):
        verb.deploy(call)
    assert "127.0.0.1: on 2" in raised.value.state and f"127.0.0.2: undone, on {OLD}" in raised.value.state


@pytest.mark.parametrize(
    ("status", "said", "what"),
    [
        (91, "", "root is not root, and sudo is not installed"),
        (92, "3.9", "the server's Python is 3.9; Ashore needs 3.10"),
        (1, "sudo: a password is required", "sudo on the server needs root's password"),
        (1, "root is not in the sudoers file", "root may not use sudo"),
        (7, "", "the agent did not start (exit status 7)"),
        (90, "", "there is no python3 on the server"),
    ],
)
def test_an_agent_that_does_not_start_says_why(scripted: Callable[..., Hosts], status: int, said: str, what: str):
    hosts = scripted(start=status, said=said)
    with pytest.raises(HostError) as raised, Typing(hosts).verb("deploy") as (verb, call):
        verb.deploy(call)
    assert what in raised.value.what and raised.value.state == "nothing was changed"


def test_json_has_one_object_a_line(scripted: Callable[..., Hosts]):
    typing = Typing(scripted(asks={"releases": RELEASES}), as_json=True)
    with typing.verb("releases") as (verb, call):
        verb.list_releases(call)
    with typing.verb("deploy") as (verb, call):
        verb.deploy(call)
    kinds = {event["event"] for event in typing.events}
    assert {"release", "note", "start", "step", "end", "answers"} <= kinds
