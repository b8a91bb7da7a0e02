"""Two versions of the kit and one server: what is said, and what is refused."""

from pathlib import Path

import pytest
from test_plans import FACTS, SHOP, SITE

from deploy.agent import layout
from deploy.agent.dataclass import replace
from deploy.agent.resources.host.machine import KitVersion
from deploy.agent.resources.host.versions import is_newer, made_by
from deploy.agent.system import System
from deploy.agent.wire import Plan, Refused
from deploy.config.reader import Stage
from deploy.errors import HostError
from deploy.plan import provision as plans
from deploy.screen import command
from deploy.version import VERSION

NEWER = "1000.0"


def by(version: str) -> str:
    return f"{layout.PROVISION} acme ashore={version}"


@pytest.mark.parametrize(
    ("version", "than", "newer"),
    [
        ("0.10.0", "0.9.3", True),
        ("0.9.3", "0.10.0", False),
        ("1.0", "1.0", False),
        ("1.0.1", "1.0", True),
        ("", "1", False),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, than: str, newer: bool):
    assert is_newer(version, than) is newer


def test_a_provision_leaves_the_version_of_the_kit_on_the_server():
    plan = plans.provisioning(SHOP, Stage("production", ("root@web1",), tls="off"))
    (left,) = [step for step in plan.steps if getattr(step, "path", "") == layout.provisioned("shop")]
    assert made_by(left.content.strip()) == VERSION


@pytest.mark.parametrize(("there", "refused"), [((), False), ((VERSION,), False), (("0.0.1", NEWER), True)])
def test_an_older_kit_does_not_provision_what_a_newer_one_has(tmp_path: Path, there: tuple[str, ...], refused: bool):
    for number, version in enumerate(there):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "provisioned").write_text(by(version) + "\n")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "provisioned").write_text("4\n")  # by a version that left none
    step = KitVersion(VERSION, f"{tmp_path}/*/provisioned")
    if not refused:
        assert step.check(System()) == []
        return
    with pytest.raises(Refused, match=f"provisioned by Ashore {NEWER}, and this is {VERSION}") as raised:
        step.check(System())
    assert "pipx upgrade ashore" in raised.value.hint and "--force" in raised.value.hint


def test_only_a_provision_that_changes_something_asks_for_the_version_and_force_does_not():
    plan = Plan("provision", ())
    assert [type(step) for step in plans.by_this_version(plan, False).steps] == [KitVersion]
    assert plans.by_this_version(plan, True) == plan


@pytest.mark.parametrize(
    ("version", "said"),
    [("0.0.1", "`fab provision --check` shows what is new"), (NEWER, "pipx upgrade ashore"), (VERSION, "")],
)
def test_a_deploy_says_that_another_version_has_provisioned_the_server(version: str, said: str):
    note = plans.other_version(replace(FACTS, provisioned=by(version)))
    assert said in note and bool(note) == bool(said)


def test_a_server_that_an_early_version_has_provisioned_gets_no_note():
    assert plans.other_version(replace(FACTS, provisioned=layout.PROVISION)) == ""


def test_what_a_newer_kit_has_provisioned_in_another_way_is_refused_by_name_and_version():
    with pytest.raises(HostError, match=f"provisioned by Ashore {NEWER}, and this is {VERSION}") as raised:
        plans.require_provisioned(SHOP, SITE, replace(FACTS, provisioned=f"999 ashore={NEWER}"), "web1")
    assert "pipx upgrade ashore" in raised.value.hint


@pytest.mark.parametrize("typed", ["ashore", "/home/me/.local/bin/ashore", "ashore.exe", "ashore@0.2"])
def test_texts_name_the_command_that_was_typed(monkeypatch: pytest.MonkeyPatch, typed: str):
    rest = "/usr/bin/fab stays, and so do fabulous and prefab x"
    text = f"run `fab deploy`, then fab --list or fab -H root@web1 logs; {rest}"
    monkeypatch.setattr("sys.argv", [typed, "deploy"])
    wanted = "run `ashore deploy`, then ashore --list or ashore -H root@web1 logs"
    assert command.as_typed(text) == f"{wanted}; {rest}"
    monkeypatch.setattr("sys.argv", ["/usr/bin/fab", "deploy"])
    assert command.as_typed(text) == text
