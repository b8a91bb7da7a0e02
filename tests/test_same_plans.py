"""Plans are what they were when plans.json was reviewed: those of a provision before the kit was rebuilt.

A step may have gained fields since; what it had, it has, and no step has come, gone or moved. One kind was renamed.
To accept a change of plans: PYTHONPATH=. python tests/test_same_plans.py CASE…, then look at the difference in Git.
"""

import hashlib
import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from test_plans import ENTRIES, FACTS, FIRST, NEW, OLD, OLDER, SHOP, SITE

from deploy.agent.dataclass import is_dataclass, replace
from deploy.agent.wire import Plan, Secret
from deploy.ci.keys import closed
from deploy.config.reader import Stage
from deploy.config.site import Site
from deploy.plan import decide as changes
from deploy.plan import provision as plans
from deploy.plan.activate import activate
from deploy.plan.build import copy as copy_steps
from deploy.plan.certificates import certified
from deploy.plan.facts import Release
from deploy.plan.maintenance import closing
from deploy.plan.remove import removing

GOLDEN = Path(__file__).with_name("plans.json")
NOW = datetime(2026, 3, 1, 12, 4, 5, tzinfo=timezone.utc)
STAGE = Stage("production", ("root@203.0.113.10",), domain="shop.example.com", tls="off")
ACME = Site(
    ("shop.example.com",),
    ("www.shop.example.com",),
    tls="acme",
    acme_email="me@example.com",
    acme_directory="https://acme.example/directory",
)
STATIC = replace(SHOP, static=(("/static/", "static"), ("/media/", "shop/media")))
RELEASE = Release(NEW, SITE, {"digest": "e" * 16, "commit": "abc123", "venv": "k" * 12, "python": "3.11.2"})


def deploy(app: Any = SHOP, facts: Any = FACTS, site: Site = SITE, **by: Any) -> Plan:
    who = changes.By("me@here", NOW, site, **by)
    brought = changes.Brought(ENTRIES, {"requirements.txt": "gunicorn\n"}, "abc123")
    return changes.deploy(app, who, facts, brought, "2 new of 2 files, 6 bytes").plan


def again(app: Any = SHOP, site: Site = SITE) -> Plan:
    """The same source once more."""
    who = changes.By("me@here", NOW, site)
    brought = changes.Brought(ENTRIES, {"requirements.txt": "gunicorn\n"}, "abc123")
    made = changes.deploy(app, who, FACTS, brought, "x").release
    facts = replace(FACTS, records={**FACTS.records, OLD: {**made.record, "state": "good"}})
    return changes.deploy(app, who, facts, brought, "nothing new").plan


def copied() -> Plan:
    built = copy_steps(SHOP, RELEASE, OLD, Secret('{"KEY": "value"}'), 2)
    return activate("restart", SHOP, RELEASE, FACTS, built, {OLD: "restarted"}, True)


def back(wanted: str = "") -> Plan:
    return changes.rollback(SHOP, changes.By("me@here", NOW, SITE), FACTS, wanted, {}, "web1").plan


CASES = {
    "provision": lambda: plans.provisioning(SHOP, STAGE),
    "provision, acme": lambda: plans.provisioning(SHOP, replace(STAGE, tls="acme", acme_email="me@example.com")),
    "provision, forced": lambda: plans.provisioning(SHOP, STAGE, True),
    "provision, loosened": lambda: plans.provisioning(
        replace(SHOP, allow_link_local=True, connections_per_address=0, data_megabytes=9),
        replace(STAGE, firewall=False),
    ),
    "provision, ports": lambda: plans.provisioning(
        SHOP, replace(STAGE, open_ports=("8443/tcp",), trusted_proxies=("192.0.2.0/24",))
    ),
    "first deploy": lambda: deploy(facts=FIRST),
    "deploy": deploy,
    "deploy, static": lambda: deploy(STATIC),
    "deploy, acme": lambda: deploy(site=ACME, address="203.0.113.10"),
    "deploy, own certificate": lambda: deploy(site=replace(SITE, tls="files", certificate="PEM", key=Secret("KEY"))),
    "deploy, by its address": lambda: deploy(site=Site(("203.0.113.10",))),
    "deploy, settings": lambda: deploy(
        replace(
            SHOP,
            release_command="flask db upgrade",
            watch_seconds=0,
            warm_paths=(),
            workers=3,
            worker_class="sync",
            health_path="/healthz",
            keep_releases=2,
            timeout_seconds=5,
            devices=("/dev/fuse",),
            outbound=False,
        )
    ),
    "deploy, confined": lambda: deploy(confined=True),
    "deploy, forced": lambda: deploy(force=True),
    "deploy, new Nginx": lambda: deploy(facts=replace(FACTS, proxy="1.26.0-1")),
    "provision, Caddy": lambda: plans.provisioning(replace(SHOP, proxy="caddy"), STAGE),
    "deploy, Caddy": lambda: deploy(replace(STATIC, proxy="caddy"), replace(FACTS, proxy="2.6.2-5"), ACME),
    "deploy, Caddy, data": lambda: deploy(
        replace(STATIC, proxy="caddy", writable=("shop/media",)), replace(FACTS, proxy="2.6.2-5")
    ),
    "same again": again,
    "same again, acme": lambda: again(site=ACME),
    "rollback": back,
    "rollback to one": lambda: back(OLDER),
    "copied": copied,
    "maintenance on": lambda: closing(SHOP, ("127.0.0.1", "192.0.2.1"), True),
    "remove": lambda: removing(SHOP, closed("shop"), False, False),
    "remove, purge": lambda: removing(SHOP, closed("shop"), True, False, "shop.example.com"),
    "maintenance off": lambda: closing(SHOP, (), False),
    "renewed": lambda: Plan("tls.renew", certified(SHOP, ACME, "203.0.113.10", anew=True)),
}


def short(value: Any) -> Any:
    """A plan as JSON, with every field, and digests for long texts."""
    if is_dataclass(value):
        return {"kind": type(value).__name__} | {key: short(item) for key, item in vars(value).items()}
    if isinstance(value, str) and len(value) > 100:
        return f"sha256 {hashlib.sha256(value.encode()).hexdigest()[:16]}, {len(value)} characters"
    return [short(item) for item in value] if isinstance(value, tuple) else value


def had(before: Any, now: Any) -> Any:
    """`now` without the fields that `before` does not have."""
    if isinstance(before, dict) and isinstance(now, dict):
        return {key: had(before[key], now[key]) for key in before if key in now}
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [had(old, new) for old, new in zip(before, now, strict=True)]
    return now


def in_order_of(before: list[Any], now: list[Any]) -> list[Any]:
    """The steps of `now`, each in the place that it had."""
    left, found = list(now), []
    for old in before:
        same = next((n for n, step in enumerate(left) if had(old, step) == old), None)
        found += [left.pop(same)] if same is not None else []
    return found + left


@pytest.mark.parametrize("case", CASES)
def test_a_plan_is_what_it_was(case: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plans, "VERSION", "0.1.0")  # the file that a provision leaves has it
    before = json.loads(GOLDEN.read_text().replace('"kind":"Config"', '"kind":"ConfigFiles"'))[case]
    now = short(CASES[case]())
    if case.startswith("provision"):  # what closes the server comes earlier now: new logins prove it meanwhile
        now["steps"] = in_order_of(before["steps"], now["steps"])
    assert had(before, now) == before


def test_every_plan_is_compared():
    assert set(json.loads(GOLDEN.read_text())) == set(CASES)


def as_text(plans: dict[str, dict[str, Any]]) -> str:
    """Plans as plans.json has them: a step on a line."""

    def field(name: str, value: Any) -> str:
        if not (isinstance(value, list) and value and isinstance(value[0], dict)):
            return f" {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}"
        steps = (json.dumps(step, separators=(",", ":"), ensure_ascii=False) for step in value)
        return f" {json.dumps(name)}: [\n  " + ",\n  ".join(steps) + "\n ]"

    cases = (",\n".join(field(*pair) for pair in plan.items()) for plan in plans.values())
    return (
        "{\n"
        + ",\n".join(f"{json.dumps(case)}: {{\n{text}\n}}" for case, text in zip(plans, cases, strict=True))
        + "\n}\n"
    )


if __name__ == "__main__":
    reviewed = json.loads(GOLDEN.read_text())
    GOLDEN.write_text(as_text(reviewed | {case: short(CASES[case]()) for case in sys.argv[1:]}))
