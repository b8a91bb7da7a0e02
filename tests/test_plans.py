"""What is decided, without a server."""

from dataclasses import replace

import pytest

from deploy import layout, plans
from deploy.agent.resources.files import Absent, Link
from deploy.agent.resources.health import Healthy, Reachable
from deploy.agent.resources.host import Platform, Port
from deploy.agent.resources.services import Retired, Service
from deploy.agent.resources.uploads import Entry
from deploy.agent.wire import Secret, pack
from deploy.config import App
from deploy.errors import HostError, SourceError

SHOP = App("shop", "shop:app", env=(("LANGUAGE", "en"),))
ENTRIES = (Entry("requirements.txt", "f", 3, "a" * 64), Entry("shop.py", "f", 3, "b" * 64))
FACTS = plans.Facts(
    "web1", "Debian", "3.11.2", 2, ("20260228-091733",), "20260228-091733", "d" * 16, True, (layout.UV_VERSION,)
)
RELEASE = plans.Release(
    "20260301-120405", ENTRIES, "k" * 12, "e" * 16, "abc123", "me@here", "now", ("shop.example.com",)
)


def test_traffic_is_switched_only_after_the_health_check_and_the_start_at_boot():
    steps = plans.deploy(SHOP, RELEASE, FACTS).steps
    order = [step for step in steps if isinstance(step, (Healthy, Link, Service)) and "nginx" not in step.title]
    kinds = [(type(step).__name__, getattr(step, "enabled", None)) for step in order[-4:]]
    assert kinds == [("Service", None), ("Healthy", None), ("Service", True), ("Link", None)]
    assert isinstance(steps[-1], Reachable)


def test_the_old_release_is_stopped_only_after_the_switch():
    plan = plans.deploy(SHOP, RELEASE, FACTS)
    assert plan.finish[0] == Retired("shop", "20260301-120405", plans.DRAIN_SECONDS)
    assert not any(isinstance(step, Retired) for step in plan.steps)


def test_a_failure_puts_traffic_back_then_stops_and_removes_the_new_release():
    plan = plans.deploy(SHOP, RELEASE, FACTS)
    back, stopped, gone = plan.undo
    assert isinstance(back, Link) and back.target == "releases/20260228-091733"
    assert stopped == Service("shop@20260301-120405.service", active=False, enabled=False)
    assert gone == Absent("/srv/shop/releases/20260301-120405")
    assert plan.restore


def test_the_first_deploy_s_failure_leaves_no_current_release():
    assert plans.deploy(SHOP, RELEASE, replace(FACTS, current="")).undo[0] == Absent("/srv/shop/current")


def test_the_current_release_deployed_again_builds_nothing_and_undoes_nothing():
    plan = plans.deploy(SHOP, RELEASE, replace(FACTS, current=RELEASE.id))
    assert plan.undo == ()
    assert not any(type(step).__name__ in ("Source", "Virtualenv") for step in plan.steps)


def test_the_environment_travels_as_a_secret_and_is_not_shown():
    plan = plans.deploy(SHOP, RELEASE, FACTS)
    (env,) = [step for step in plan.steps if getattr(step, "path", "").endswith("/env")]
    assert isinstance(env.content, Secret) and "LANGUAGE" not in repr(env)
    assert "LANGUAGE" in pack(plan)["steps"][plan.steps.index(env)]["content"]["value"]


def test_provisioning_looks_at_system_and_port_before_anything_else():
    steps = plans.provision(SHOP).steps
    assert [type(step) for step in steps[:2]] == [Platform, Port]


def test_workers_are_one_for_each_cpu_unless_said():
    assert "--workers 2 --threads 8" in plans.settings(SHOP, 2, "x")["GUNICORN_CMD_ARGS"]
    assert "--workers 5 " in plans.settings(replace(SHOP, workers=5), 2, "x")["GUNICORN_CMD_ARGS"]


def digest(app: App = SHOP, entries: tuple[Entry, ...] = ENTRIES, key: str = "k", cpus: int = 2) -> str:
    return plans.digest(app, entries, key, cpus)


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


def test_what_does_not_reach_the_app_makes_no_release():
    assert digest(app=replace(SHOP, keep_releases=9, max_body_megabytes=20)) == digest()


def test_virtualenvs_are_shared_by_releases_with_the_same_requirements():
    read = {"requirements.txt": "flask\n"}
    key = plans.venv_key(SHOP, ENTRIES, read, "3.11.2")
    assert key == plans.venv_key(SHOP, ENTRIES[:1], read, "3.11.9")
    assert key != plans.venv_key(SHOP, ENTRIES, read, "3.13.1")
    assert key != plans.venv_key(SHOP, ENTRIES, {"requirements.txt": "flask>3\n"}, "3.11.2")


def test_a_virtualenv_built_from_the_source_belongs_to_that_source():
    read = {"requirements.txt": "./lib\n"}
    assert plans.venv_key(SHOP, ENTRIES, read, "3.11") != plans.venv_key(SHOP, ENTRIES[:1], read, "3.11")


def test_included_requirements_are_found():
    text = "flask\n-r base.txt\n--constraint=../pins.txt\n-r https://example.com/x.txt\n"
    assert plans.included("req/prod.txt", text) == ["req/base.txt", "pins.txt"]


def test_a_missing_requirements_file_and_an_editable_install_are_refused():
    with pytest.raises(SourceError, match=r"no requirements file needs\.txt"):
        plans.check_requirements(SHOP, ENTRIES, {"needs.txt": ""})
    with pytest.raises(SourceError, match="editable"):
        plans.check_requirements(SHOP, ENTRIES, {"requirements.txt": "-e .\n"})


@pytest.mark.parametrize("facts", [replace(FACTS, provisioned=False), replace(FACTS, uv=())])
def test_a_server_that_is_not_provisioned_is_told_before_anything_is_sent(facts: plans.Facts):
    with pytest.raises(HostError, match="provisioned") as raised:
        plans.require_provisioned(SHOP, facts, "web1")
    assert "fab provision" in raised.value.hint
