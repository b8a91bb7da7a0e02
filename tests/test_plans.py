"""What is decided, without a server."""

import json
from datetime import datetime, timezone

import pytest

from deploy.agent import layout
from deploy.agent.dataclass import replace
from deploy.agent.resources.access.firewall import ConnectionLimit, NoFirewall
from deploy.agent.resources.access.guarded import Guarded, paths_of
from deploy.agent.resources.files import Absent, File
from deploy.agent.resources.host.machine import Platform, Port
from deploy.agent.resources.release.releases import Virtualenv
from deploy.agent.resources.release.static import StaticLinks
from deploy.agent.resources.serving.health import Healthy, Reachable, Warmed
from deploy.agent.resources.serving.probe import Probed
from deploy.agent.resources.serving.retired import Retired
from deploy.agent.resources.serving.traffic import Watched
from deploy.agent.resources.serving.way_back import TrafficBack, WayBack
from deploy.agent.wire import Entry, Plan, Secret, pack
from deploy.config.reader import App, Stage
from deploy.config.site import Site
from deploy.errors import ConfigError, HostError
from deploy.plan import provision as plans
from deploy.plan import record as build
from deploy.plan.activate import activate
from deploy.plan.build import UV
from deploy.plan.build import build as build_steps
from deploy.plan.build import copy as copy_steps
from deploy.plan.decide import Brought, By, rollback_target
from deploy.plan.decide import deploy as decided
from deploy.plan.facts import Facts, Release
from deploy.plan.maintenance import addresses, closing
from deploy.source.dependencies import dependencies
from deploy.stack import hardening
from deploy.stack.proxies.nginx import open_path, site_text
from deploy.stack.runners.gunicorn import RUNNER

SHOP = App("shop", "shop:app", requirements="requirements.txt", env=(("LANGUAGE", "en"),))
ENTRIES = (Entry("requirements.txt", "f", 3, "a" * 64), Entry("shop.py", "f", 3, "b" * 64))
OLDER, OLD, NEW = "20260227-080000", "20260228-091733", "20260301-120405"


def record(state: str) -> dict:
    return {"digest": "d" * 16, "venv": "k" * 12, "state": state, "app": build.recorded(SHOP)}


FACTS = Facts(
    hostname="web1",
    system="Debian",
    python="3.11.2",
    cpus=2,
    proxy="1.22.1-9+deb12u3",
    records={OLDER: record("good"), OLD: record("good")},
    current=OLD,
    previous=OLDER,
    maintenance=False,
    provisioned=layout.PROVISION,
    uv=(layout.UV_VERSION,),
)
FIRST = replace(FACTS, records={}, current="", previous="")
SITE = Site(("shop.example.com",))
FIREWALL = "firewall: only SSH, 80, 443 open"
RELEASE = Release(NEW, SITE, {"digest": "e" * 16, "commit": "abc123", "venv": "k" * 12})


def key(entries: tuple[Entry, ...], read: dict[str, str], python: str) -> str:
    return build.venv_key(entries, dependencies(read, [entry.path for entry in entries]), python)


def deployed(facts: Facts = FACTS, app: App = SHOP) -> Plan:
    built = build_steps(app, RELEASE, facts, "1 file")
    return activate("deploy", app, RELEASE, facts, built)


def rolled_back(to: str = OLDER) -> Plan:
    release = Release(to, SITE, FACTS.records[to])
    return activate("rollback", SHOP, release, FACTS, leave={OLD: "rolled back"})


def position(plan: Plan, wanted: object) -> int:
    """Where the step stands that is of a kind, or has a title."""
    every = (*plan.steps, *plan.finish)
    return next(
        n for n, step in enumerate(every) if (wanted == step.title if isinstance(wanted, str) else type(step) is wanted)
    )


@pytest.mark.parametrize("plan", [deployed(), rolled_back()])
def test_traffic_is_switched_only_after_the_health_check_and_the_start_at_boot(plan: Plan):
    release = NEW if plan.verb == "deploy" else OLDER
    order = [
        f"shop@{release}: running",
        Healthy,
        Warmed,
        f"shop@{release}: running, enabled",
        Probed,
        f"traffic: switched to {release}",
    ]
    positions = [position(plan, step) for step in [*order, Reachable, Watched, Retired]]
    assert positions == sorted(positions)


def test_nginx_is_not_touched_before_the_release_answers():
    plan = deployed()
    assert position(plan, "Nginx site shop.example.com: configured") > position(plan, Healthy)


def test_the_release_command_runs_before_the_release_starts_and_only_for_a_new_one():
    app = replace(SHOP, release_command="flask db upgrade")
    plan = deployed(app=app)
    assert position(plan, "release command: flask db upgrade") < position(plan, f"shop@{NEW}: running")
    kinds = [type(step).__name__ for step in (*rolled_back().steps, *deployed().steps)]
    assert "ReleaseCommand" not in kinds


def test_the_old_release_is_stopped_only_after_the_watch():
    plan = deployed()
    assert plan.finish[0] == Retired("shop", NEW, 30, 30)
    assert not any(isinstance(step, Retired) for step in plan.steps)


def test_without_watch_seconds_or_an_older_release_there_is_no_watch():
    assert not any(isinstance(step, Watched) for step in deployed(app=replace(SHOP, watch_seconds=0)).steps)
    assert not any(isinstance(step, (Watched, Probed)) for step in deployed(FIRST).steps)


def test_a_failure_puts_traffic_back_then_stops_and_removes_the_new_release():
    plan = deployed()
    assert plan.undo[0] == TrafficBack("/srv/shop/current", OLD, f"shop@{OLD}.service")
    assert plan.undo[2] == Retired("shop", OLD, 30)
    assert Absent(f"/srv/shop/releases/{NEW}") in plan.undo
    assert plan.restore


def test_the_way_back_is_made_before_the_switch_and_the_release_before_is_asked_by_its_own_health_path():
    facts = replace(FACTS, records={**FACTS.records, OLD: {**record("good"), "app": {"health_path": "/old"}}})
    plan = deployed(facts)
    way = WayBack("/srv/shop/current", OLD, f"/run/shop/{OLD}/http.sock", "/old", "shop.example.com")
    assert plan.steps.index(way) < position(plan, f"traffic: switched to {NEW}")
    # The site is asked by the new one's, of which the old one knows nothing: what it says to that is no failure.
    assert [step.unaware for step in plan.steps if isinstance(step, Probed)] == [OLD]
    assert [step.unaware for step in deployed().steps if isinstance(step, Probed)] == [""]
    assert not any(isinstance(step, WayBack) for step in deployed(FIRST).steps)


def test_a_failed_rollback_removes_nothing():
    undo = rolled_back().undo
    assert not any(isinstance(step, Absent) for step in undo)
    assert Retired("shop", OLD, 30) in undo


def test_the_first_deploy_s_failure_leaves_no_current_release():
    assert deployed(FIRST).undo[0] == Absent("/srv/shop/current")


def test_the_current_release_deployed_again_builds_nothing_and_undoes_nothing():
    release = Release(OLD, SITE, FACTS.record)
    plan = activate("deploy", SHOP, release, FACTS)
    assert plan.undo == ()
    assert not {type(step).__name__ for step in plan.steps} & {"Source", "Environment", "Probed", "Watched"}


def test_every_release_that_is_to_serve_has_a_whole_virtualenv():
    release = Release(OLD, SITE, FACTS.record)
    copied = activate("restart", SHOP, RELEASE, FACTS, copy_steps(SHOP, RELEASE, OLD, Secret("{}"), 2))
    again = activate("deploy", SHOP, release, FACTS)
    for plan, name in ((deployed(), NEW), (rolled_back(), OLDER), (copied, NEW), (again, OLD)):
        source = f"/srv/shop/releases/{name}/source"
        wanted = Virtualenv(f"/srv/shop/venvs/{'k' * 12}", source, "requirements.txt", UV, "shop", RUNNER.package)
        made = next(step for step in plan.steps if isinstance(step, Virtualenv))
        assert replace(made, variables="") == wanted


def test_the_release_that_a_rollback_leaves_is_marked_after_the_switch():
    assert File(f"/srv/shop/releases/{OLD}/state", "rolled back\n") in rolled_back().finish


def test_the_units_of_both_releases_are_looked_at_for_edits_by_hand():
    titles = [step.title for step in rolled_back().steps]
    assert f"unit file shop@{OLD}.service" in titles and f"unit file shop@{OLDER}.service" in titles
    assert f"unit file shop@{OLD}.service" in [step.title for step in deployed().steps]


def test_rolling_back_goes_to_the_newest_good_release_before_the_current():
    assert rollback_target(FACTS, "", "web1") == OLDER
    assert rollback_target(FACTS, OLDER, "web1") == OLDER
    assert rollback_target(replace(FACTS, current=""), "", "web1") == OLD  # somebody has removed the link


@pytest.mark.parametrize(
    ("wanted", "records", "what"),
    [
        ("", {OLD: record("good")}, "no good release before"),
        ("", {OLDER: record("rolled back"), OLD: record("good")}, "no good release before"),
        ("", {OLDER: record(""), OLD: record("good")}, "no good release before"),
        (NEW, FACTS.records, "no release 20260301-120405"),
        (OLDER, {OLDER: record(""), OLD: record("good")}, "never served"),
    ],
)
def test_a_release_that_cannot_be_gone_back_to_is_refused(wanted: str, records: dict, what: str):
    with pytest.raises(HostError, match=what):
        rollback_target(replace(FACTS, records=records), wanted, "web1")


def test_a_rolled_back_release_can_be_named():
    facts = replace(FACTS, records={**FACTS.records, NEW: record("rolled back")})
    assert rollback_target(facts, NEW, "web1") == NEW


def test_the_environment_travels_as_a_secret_and_is_not_shown():
    plan = deployed()
    (env,) = [step for step in plan.steps if type(step).__name__ == "Environment"]
    assert isinstance(env.layers, Secret) and "LANGUAGE" not in repr(env)
    assert "LANGUAGE" in pack(plan)["steps"][plan.steps.index(env)]["layers"]["value"]


def test_another_environment_is_a_release_with_the_code_of_the_current_one():
    source, _, env, *_ = copy_steps(SHOP, RELEASE, OLD, Secret(json.dumps({"TOKEN": "tide", "GONE": None})), 2)
    assert source.base == OLD and env.base == f"/srv/shop/releases/{OLD}"
    assert env.layers == Secret("") and json.loads(env.change.value) == {"TOKEN": "tide", "GONE": None}
    assert "tide" not in repr(env)


def test_static_files_of_the_release_before_stay_within_reach():
    before = replace(SHOP, static=(("/static/", "old/static"), ("/gone/", "gone")))
    app = replace(SHOP, static=(("/static/", "static"), ("/new/", "new")))
    text = site_text(app, SITE, dict(before.static), FACTS.proxy)
    for prefix, name in (("/static/", ",static,"), ("/gone/", ",gone,"), ("/new/", ",new,")):
        assert f"location ^~ {prefix}" in text
        assert f" /current/static/{name}$uri /previous/static/{name}$uri =404;" in text


def test_another_directory_for_static_files_makes_no_other_site_and_so_no_reload():
    before = {"/static/": "old/static"}
    apps = [replace(SHOP, static=(("/static/", directory),)) for directory in ("old/static", "new/static")]
    assert len({site_text(app, SITE, before, FACTS.proxy) for app in apps}) == 1


def test_both_releases_have_links_to_their_static_files_before_the_switch_and_before_the_site():
    was, app = (replace(SHOP, static=(("/static/", directory),)) for directory in ("old", "new"))
    facts = replace(FACTS, records={**FACTS.records, OLD: record("good") | {"app": build.recorded(was)}})
    plan = deployed(facts, app)
    links = [step for step in plan.steps if isinstance(step, StaticLinks)]
    assert [(step.directory, step.links) for step in links] == [
        (f"/srv/shop/releases/{OLD}", ((",static,", "old"),)),
        (f"/srv/shop/releases/{NEW}", ((",static,", "new"),)),
    ]
    assert plan.steps.index(links[1]) < position(plan, "Nginx site shop.example.com: configured")


def test_maintenance_ends_before_those_who_got_through_are_forgotten_and_begins_after_they_are_known():
    directory = "/srv/shop/maintenance"
    off = closing(SHOP, ("192.0.2.1",), False)
    assert [step.path for step in off.steps] == [f"{directory}/on", directory]
    on = [step.path for step in closing(SHOP, ("192.0.2.1",), True).steps]
    assert on.index(f"{directory}/let/192.0.2.1") < on.index(f"{directory}/on") == len(on) - 1


def test_an_old_nginx_gets_no_directive_that_it_does_not_know():
    assert "keepalive_time 1s" in site_text(SHOP, SITE, {}, "1.22.1-9+deb12u3")
    # Without that, a busy connection would lead to the release before long after the switch: none is kept.
    old = site_text(SHOP, SITE, {}, "1.18.0-6ubuntu14")
    assert "keepalive_time " not in old and "keepalive 16" not in old


def test_maintenance_does_not_open_the_front_page_for_its_health_s_sake():
    assert "location = /healthz" in site_text(replace(SHOP, health_path="/healthz?full=1"), SITE, {}, "1.22")
    closed = site_text(replace(SHOP, health_path="/"), SITE, {}, "1.22")
    for path in ("/?h=1", "//", "/./", "/%2e", "/%2F?h=1", "/a/.."):
        assert site_text(replace(SHOP, health_path=path), SITE, {}, "1.22") == closed


def test_what_maintenance_leaves_open_is_named_as_nginx_compares_it():
    paths = {"/%68ealthz": "/healthz", "/a//b/./c/": "/a/b/c/", "/healthz?x=/": "/healthz", "/a%20b": "", "/a%7B": ""}
    assert {path: open_path(path) for path in paths} == paths


def test_an_older_release_brings_the_settings_that_belong_to_its_code():
    old = replace(SHOP, static=(("/static/", "static"),), health_path="/old", threads=3)
    found = build.as_recorded(replace(SHOP, keep_releases=9), json.loads(json.dumps({"app": build.recorded(old)})))
    assert (found.static, found.health_path, found.threads, found.keep_releases) == (old.static, "/old", 3, 9)


def test_addresses_are_written_as_nginx_writes_them_each_once():
    assert addresses(["::ffff:1.2.3.4", "1.2.3.4", "", "2001:DB8::0:1"], "nginx") == ("1.2.3.4", "2001:db8::1")
    with pytest.raises(ConfigError, match="not an IP address"):
        addresses(["example.com"], "nginx")


def test_provisioning_looks_at_system_and_port_before_anything_else():
    steps = plans.provisioning(SHOP, Stage("production", ("root@host",))).steps
    assert [type(step) for step in steps[:2]] == [Platform, Port]


def test_a_server_is_closed_before_what_takes_long_so_that_new_logins_prove_it_meanwhile():
    titles = [step.title for step in plans.provisioning(SHOP, Stage("production", ("root@host",))).steps]
    ssh, firewall = titles.index("SSH: login by key only"), titles.index(FIREWALL)
    packages = next(title for title in titles if title.startswith("packages"))
    assert titles.index("automatic undo of SSH and firewall changes: installed") < ssh < titles.index(packages)
    assert titles.index("user shop") < firewall < titles.index(f"uv {layout.UV_VERSION}: installed")
    assert titles[-1] == "file /srv/shop/provisioned"


def test_each_step_that_could_close_the_door_is_guarded_and_nothing_else_touches_what_it_touches():
    steps = plans.provisioning(SHOP, Stage("production", ("root@host",))).steps
    guarded = [path for step in steps if isinstance(step, Guarded) for path in paths_of(step.steps)]
    assert "/etc/ssh/sshd_config.d/10-ashore.conf" in guarded and "/etc/ashore/firewall.nft" in guarded
    assert "/etc/ashore/firewall.d/http3.nft" in guarded and "/etc/ashore/firewall.d/ssh.nft" in guarded
    assert not {getattr(step, "path", "") for step in steps} & set(guarded)
    assert all(step.prove_seconds < step.undo_seconds < 60 for step in steps if isinstance(step, Guarded))


def test_a_stage_opens_more_ports_or_leaves_the_firewall_to_others():
    stage = Stage("production", ("root@host",), open_ports=("8443/tcp", "51820/udp", "60000-60010/udp", "8443/tcp"))
    (guarded,) = [step for step in hardening.firewall(SHOP, stage, False) if isinstance(step, Guarded)]
    (own,) = [part for part in guarded.steps if getattr(part, "path", "").endswith("/app-shop.nft")]
    assert own.text.splitlines()[2:] == ["tcp dport { 8443 } accept", "udp dport { 51820, 60000-60010 } accept"]
    assert hardening.network(SHOP, replace(stage, firewall=False), False) == (NoFirewall(),)


def test_a_proxy_in_front_holds_as_many_connections_as_it_wants():
    stage = Stage(
        "production",
        ("root@host",),
        tls="off",
        trusted_proxies=("10.0.0.0/8", "fd00::/8", "10.1.0.0/16", "192.0.2.1/32"),
    )
    (guarded,) = [step for step in hardening.firewall(SHOP, stage, False) if isinstance(step, Guarded)]
    (own,) = [part for part in guarded.steps if getattr(part, "path", "").endswith("/app-shop.nft")]
    assert "ip saddr { 10.0.0.0/8, 192.0.2.1/32 } tcp dport { 80, 443 } accept\n" in own.text
    assert "ip6 saddr { fd00::/8 } tcp dport { 80, 443 } accept\n" in own.text
    (limit,) = [part for part in guarded.steps if isinstance(part, ConnectionLimit)]
    assert own.path < limit.path  # nft reads them in this order


def test_a_short_rsa_key_is_not_offered():
    (step,) = hardening.ssh(False).steps
    assert "rsa" not in step.file.text.partition("HostKeyAlgorithms")[2].partition("\n")[0]
    assert step.without_rsa.text.partition("HostKeyAlgorithms")[2].partition("\n")[0].endswith(",rsa-*")


def test_workers_are_one_for_each_cpu_unless_said():
    (usual,), (wanted,) = (RUNNER.files(app, 2).values() for app in (SHOP, replace(SHOP, workers=5)))
    assert "\nworkers = 2\nthreads = 8\n" in usual and usual.count("workers = ") == 1
    assert wanted.rindex("workers = 5") > wanted.index("exec(")  # above what the app's own file says


def digest(app: App = SHOP, entries: tuple[Entry, ...] = ENTRIES, key: str = "k", cpus: int = 2) -> str:
    return build.digest(app, SITE, entries, key, cpus)


@pytest.mark.parametrize(
    "other",
    [
        digest(entries=ENTRIES[:1]),
        digest(key="other"),
        digest(app=replace(SHOP, env=(("LANGUAGE", "de"),))),
        digest(app=replace(SHOP, threads=9)),
        digest(app=replace(SHOP, timeout_seconds=31)),
        digest(cpus=4),
    ],
)
def test_another_source_environment_or_unit_is_another_release(other: str):
    assert other != digest()


@pytest.mark.parametrize(
    ("names", "releases"),
    [
        (("a.example", "b.example"), 2),  # the app has it in DOMAIN
        (("203.0.113.1", "203.0.113.2"), 1),  # of two hosts, which share their releases
        (("203.0.113.1", "2001:db8::1"), 1),
    ],
)
def test_another_domain_is_another_release(names: tuple[str, ...], releases: int):
    assert len({build.digest(SHOP, Site((name,)), ENTRIES, "k", 2) for name in names}) == releases


def test_what_does_not_reach_the_app_makes_no_release():
    assert digest(app=replace(SHOP, keep_releases=9, max_body_megabytes=20)) == digest()


def test_virtualenvs_are_shared_by_releases_with_the_same_requirements():
    read = {"requirements.txt": "flask\n"}
    name = key(ENTRIES, read, "3.11.2")
    assert name == key(ENTRIES[:1], read, "3.11.9")
    assert name != key(ENTRIES, read, "3.13.1")
    assert name != key(ENTRIES, {"requirements.txt": "flask>3\n"}, "3.11.2")


def test_a_virtualenv_built_from_the_source_belongs_to_that_source():
    read = {"requirements.txt": "./lib\n"}
    of_lib, elsewhere = Entry("lib/setup.py", "f", 3, "c" * 64), Entry("other.py", "f", 3, "d" * 64)
    assert key(ENTRIES, read, "3.11") != key((*ENTRIES, of_lib), read, "3.11")
    assert key((*ENTRIES, of_lib), read, "3.11") == key((*ENTRIES, of_lib, elsewhere), read, "3.11")


@pytest.mark.parametrize("without", [{"provisioned": ""}, {"provisioned": "1"}, {"uv": ()}])
def test_a_server_that_is_not_provisioned_is_told_before_anything_is_sent(without: dict):
    with pytest.raises(HostError, match="provisioned") as raised:
        plans.require_provisioned(SHOP, SITE, replace(FACTS, **without), "web1")
    assert "fab provision" in raised.value.hint


def test_extra_requirements_are_installed_with_what_runs_the_app_and_make_another_virtualenv():
    def virtualenv(app: App) -> Virtualenv:
        brought = Brought(ENTRIES, {"requirements.txt": "flask\n"})
        plan = decided(
            app, By("me@here", datetime(2026, 3, 1, tzinfo=timezone.utc), SITE), FACTS, brought, "2 new"
        ).plan
        return next(step for step in plan.steps if isinstance(step, Virtualenv))

    usual, more = virtualenv(SHOP), virtualenv(replace(SHOP, extra_requirements=("psycopg[binary]>=3",)))
    assert more.adds == f"{usual.adds}\npsycopg[binary]>=3" and more.path != usual.path
    assert more.title.endswith("built from requirements.txt and gunicorn, psycopg")
