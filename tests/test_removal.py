"""`fab remove`: what it asks, what its plan removes in which order, and what it recognises as the app's."""

import grp
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from scripted import Hosts, Typing
from test_plans import SHOP
from test_verbs import project, requested, scripted  # noqa: F401  # fixtures

from deploy.agent.questions.remains import remains
from deploy.agent.resources.files import seal
from deploy.agent.resources.removal.ours import NotNeeded, OwnApp
from deploy.agent.resources.removal.trees_gone import Gone, OwnerGone, UneditedGone
from deploy.agent.resources.removal.units_gone import is_of
from deploy.agent.system import System
from deploy.agent.wire import Refused
from deploy.ci import keys
from deploy.errors import ConfigError, StepFailed
from deploy.plan.remove import removing

LEFT = {"bytes": 2_000_000, "history": True, "apps": ["blog"]}
CLOSED = keys.closed("shop")


def titles(purge: bool) -> list[str]:
    return [step.title for step in removing(SHOP, CLOSED, purge, force=False).steps]


def test_visitors_find_no_site_before_anything_behind_it_is_stopped():
    found = titles(purge=False)
    order = ("Nginx site of shop: removed", "nginx: running", "units of shop", "releases and certificate", "user shop")
    places = [next(number for number, title in enumerate(found) if title.startswith(each)) for each in order]
    assert places == sorted(places)


def test_data_is_deleted_only_on_demand_and_before_its_owner():
    assert not any("data in" in title for title in titles(purge=False))
    found = titles(purge=True)
    assert found.index("data in /var/lib/shop: removed") < found.index("user shop: removed")
    assert "user shop: removed unless its data stays" in titles(purge=False)


@pytest.mark.parametrize(
    "unit",
    [
        "shop@20260301-120405.service",
        "shop@20260301-120405.worker.1.service",
        "shop@20260301-120405.cleanup.timer",
        "shop@.service",
        "shop-run-4711.service",
        "shop-release.service",
        "shop-build.service",
        "shop-bridge-20260301-120405.service",
        "ashore-retire-shop-20260301-120405.service",
        "ashore-data-shop.timer",
        "ashore-ci-shop.socket",
        "ashore-ci-shop@0-1-2.service",
        "system-shop.slice",
    ],
)
def test_units_of_an_app_are_recognised_whoever_made_them(unit: str):
    assert is_of("shop", unit)
    assert not is_of("sho", unit) and not is_of("blog", unit)


@pytest.mark.parametrize(
    "unit",
    [
        "shop-two@20260301-120405.service",
        "ashore-retire-shop-two-20260301-120405.service",
        "ashore-data-shop-two.timer",
        "ashore-ci-shop-two.socket",
        "shop.service",
        "shop-runner.service",
        "ssh@1.service",
    ],
)
def test_units_of_another_app_or_program_are_not_the_app_s(unit: str):
    assert not is_of("shop", unit)


def test_a_name_that_something_else_has_is_not_removed(tmp_path: Path):
    (tmp_path / "shop").mkdir()
    with pytest.raises(Refused, match="not by an app of Ashore"):
        OwnApp("no-such-user", (f"{tmp_path}/none",), (f"{tmp_path}/shop",)).check(System())
    with pytest.raises(Refused, match="not by an app of Ashore"):
        OwnApp("daemon", (), ()).check(System())
    assert OwnApp("no-such-user", (), (f"{tmp_path}/none",)).check(System()) == []


def test_an_app_whose_certificate_another_site_uses_is_not_removed(tmp_path: Path):
    mark, sites = "# Written by Ashore from site", tmp_path / "sites"
    sites.mkdir()
    (sites / "shop.conf").write_text(f"{mark}\nssl_certificate /srv/shop/tls/live/fullchain.pem;\n")
    step = NotNeeded("shop", str(tmp_path), ("/srv/shop/",), (f"{sites}/shop.conf",), mark)
    assert step.check(System()) == []
    (sites / "blog.conf").write_text(f"{mark}\nssl_certificate /srv/shop/tls/live/fullchain.pem;\n")
    with pytest.raises(Refused, match=r"shop is needed by another site on this server: the app blog \(.*blog\.conf\)"):
        step.check(System())


def test_a_site_edited_by_hand_is_kept_unless_forced(tmp_path: Path):
    site = tmp_path / "shop.conf"
    site.write_text(seal("# Written by Ashore\nserver {}\n") + "# mine\n")
    with pytest.raises(Refused, match="edited by hand"):
        UneditedGone(str(site)).check(System())
    UneditedGone(str(site), force=True).apply(System())
    assert UneditedGone(str(site)).check(System()) == []


def test_a_tree_is_removed_and_links_in_it_lead_nowhere(tmp_path: Path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "shop" / "releases").mkdir(parents=True)
    os.symlink(tmp_path / "kept", tmp_path / "shop" / "link")
    step = Gone("releases", (f"{tmp_path}/shop", f"{tmp_path}/none"))
    assert [drift.what for drift in step.check(System())] == [f"{tmp_path}/shop"]
    step.apply(System())
    assert step.check(System()) == [] and (tmp_path / "kept" / "file").exists()
    for name in ("shop.worker", "shop.mail", "shopping"):
        (tmp_path / name).touch()
    Gone("notes", (f"{tmp_path}/shop.*",)).apply(System())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "shopping"]


def test_the_owner_of_kept_data_stays(tmp_path: Path):
    (tmp_path / "data").mkdir()
    step = OwnerGone("daemon", str(tmp_path / "data"))
    assert "user" in [drift.what for drift in step.check(System())], "an empty directory is no data"
    (tmp_path / "data" / "file").touch()
    assert {drift.what for drift in step.check(System())} <= set(grp.getgrnam("daemon").gr_mem)


def test_the_remains_are_the_data_and_the_other_apps(tmp_path: Path):
    for name in ("shop", "blog", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "blog" / "provisioned").touch()
    (tmp_path / "data").mkdir()
    assert remains("shop", str(tmp_path / "data"), str(tmp_path)) == {"bytes": None, "history": False, "apps": ["blog"]}
    (tmp_path / "data" / "file").write_text("12345")
    assert remains("shop", str(tmp_path / "data"), str(tmp_path))["bytes"] == 5


def test_remove_asks_and_names_what_goes_and_what_stays(scripted: Callable[..., Hosts]):  # noqa: F811
    hosts, asked = scripted(asks={"remains": LEFT}), []
    typing = Typing(hosts)
    with typing.verb("remove") as (verb, call):
        verb.remove(call, False, lambda question: asked.append(question) or "yes", False)
    assert requested(hosts) == ["survey", "plan", "ask"]
    assert "removes the app shop from root@127.0.0.1" in asked[0] and "/var/lib/shop stays" in asked[0]
    assert "left: /var/lib/shop (2.0 MB) and its owner, the user shop" in typing.said
    assert "other apps on this server: blog" in typing.said


@pytest.mark.parametrize(("purge", "typed"), [(False, "y"), (False, ""), (True, "yes"), (True, "shop2")])
def test_any_other_answer_removes_nothing(scripted: Callable[..., Hosts], purge: bool, typed: str):  # noqa: F811
    hosts = scripted(asks={"remains": LEFT})
    with pytest.raises(ConfigError, match="not confirmed"), Typing(hosts).verb("remove") as (verb, call):
        verb.remove(call, purge, lambda question: typed, False)


def test_a_purge_asks_for_the_app_s_name(scripted: Callable[..., Hosts]):  # noqa: F811
    hosts, asked = scripted(asks={"remains": {**LEFT, "bytes": None, "apps": []}}), []
    typing = Typing(hosts)
    with typing.verb("remove") as (verb, call):
        verb.remove(call, True, lambda question: asked.append(question) or "shop", False)
    assert "there is no way back" in asked[0] and asked[0].endswith("Type shop to go on: ")
    assert "no app is left on this server" in typing.said


def test_without_a_terminal_remove_needs_yes_and_a_dry_run_asks_nothing(scripted: Callable[..., Hosts]):  # noqa: F811
    hosts = scripted(asks={"remains": LEFT})
    with pytest.raises(ConfigError, match="there is no terminal"), Typing(hosts).verb("remove") as (verb, call):
        verb.remove(call, False, None, False)
    typing = Typing(hosts, check=True)
    with typing.verb("remove") as (verb, call):
        verb.remove(call, False, None, False)
    assert typing.screen.would_change and hosts.requests()[0]["lock"] is None


def test_a_removal_that_fails_says_so_and_where(scripted: Callable[..., Hosts]):  # noqa: F811
    hosts = scripted(plan={"fails": "units of shop"})
    with pytest.raises(StepFailed, match="it broke"), Typing(hosts).verb("remove") as (verb, call):
        verb.remove(call, False, None, True)
