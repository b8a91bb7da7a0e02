"""What a deploy or a rollback comes to, by whomever it is asked for."""

from datetime import datetime, timedelta, timezone

from test_plans import ENTRIES, FACTS, OLD, OLDER, SHOP

from deploy.agent.dataclass import replace
from deploy.agent.resources.release.releases import Virtualenv
from deploy.ci import limits
from deploy.ci.limits import kept
from deploy.config.site import Site
from deploy.plan import decide as changes

NOW = datetime(2026, 3, 1, 12, 4, 5, tzinfo=timezone.utc)
BY = changes.By("me@here", NOW, Site(("shop.example.com",)))
BROUGHT = changes.Brought(ENTRIES, {"requirements.txt": "gunicorn\n"}, "abc123")


def test_over_a_ci_key_the_plan_is_the_operator_s_but_for_who_builds_packages():
    ours = changes.deploy(SHOP, BY, FACTS, BROUGHT, "1 file")
    theirs = changes.deploy(SHOP, replace(BY, confined=True), FACTS, BROUGHT, "1 file")
    keys = [made.release.record["venv"] for made in (ours, theirs)]
    assert keys[0] != keys[1]  # a virtualenv that was built for a CI key is not an operator's
    [mine] = [step for step in ours.plan.steps if isinstance(step, Virtualenv)]
    [built] = [step for step in theirs.plan.steps if isinstance(step, Virtualenv)]
    assert (mine.user, built) == ("shop", replace(mine, path=built.path))
    titles = [
        [step.title.replace(key, "KEY") for step in made.plan.steps]
        for made, key in zip((ours, theirs), keys, strict=True)
    ]
    assert titles[0] == titles[1]


def test_an_upload_is_said_in_words():
    assert changes.uploaded(1, 1, "9 bytes") == "1 new of 1 file, 9 bytes"
    assert changes.uploaded(2, 13) == "2 new of 13 files" and changes.uploaded(0, 13, "0 bytes") == "nothing new"


def test_the_same_source_again_is_nothing_new():
    first = changes.deploy(SHOP, BY, FACTS, BROUGHT, "1 file")
    facts = replace(FACTS, records={**FACTS.records, OLD: {**first.release.record, "state": "good"}})
    again = changes.deploy(SHOP, BY, facts, BROUGHT, "")
    assert (again.done, again.release.id) == ("nothing new", OLD)


def test_a_rollback_whose_end_nobody_heard_is_finished_and_not_followed_by_another():
    went = replace(FACTS, current=OLDER, records={**FACTS.records, "20260101-000000": FACTS.records[OLD]})
    again = changes.rollback(SHOP, BY, went, "", {"verb": "rollback", "release": OLDER, "previous": OLD}, "web1")
    assert again.release.id == OLDER
    assert changes.rollback(SHOP, BY, went, "", {"verb": "deploy", "release": OLDER}, "web1").release.id < OLDER


def test_a_release_s_id_sorts_after_all_there_are_whatever_the_clock_says():
    assert changes.next_id(NOW, (OLD,)) == "20260301-120405"
    assert changes.next_id(NOW, ("20270101-235959",)) == "20270102-000000"


def test_a_release_made_from_another_has_its_record_but_its_own_maker():
    made = BY.release("restart", FACTS, {"verb": "deploy", "by": "you@there", "venv": "k"})
    assert made.record == {"verb": "restart", "by": "me@here", "venv": "k", "id": made.id, "at": NOW.isoformat()}


def test_an_operator_s_deploy_leaves_what_ci_keys_may_go_up_to_last_of_all():
    made = changes.deploy(SHOP, BY, FACTS, BROUGHT, "1 file")
    assert kept(made.plan, SHOP, Site(("a",))).finish[-1] == limits.record(SHOP, Site(("a",)))


def test_on_several_hosts_a_release_has_one_id_which_sorts_after_all_there_are_on_any():
    later = replace(FACTS, records={**FACTS.records, "20270101-000000": {"state": "good"}})
    ids = [
        replace(BY, elsewhere=(other,)).release("deploy", facts, {}).id
        for facts, other in ((FACTS, later), (later, FACTS))
    ]
    assert ids == ["20270101-000001", "20270101-000001"]


def test_a_host_that_missed_a_deploy_gets_it_by_the_id_that_the_others_have_it_by():
    made = changes.deploy(SHOP, BY, FACTS, BROUGHT, "1 file").release
    served = replace(FACTS, current=made.id, records={**FACTS.records, made.id: {**made.record, "state": "good"}})
    later = replace(BY, now=NOW + timedelta(hours=1))
    again = changes.deploy(SHOP, replace(later, elsewhere=(served,)), FACTS, BROUGHT, "1 file")
    assert again.release.id == made.id
    there = replace(FACTS, records={**FACTS.records, made.id: {"state": ""}})  # half of it, from a run that died
    assert changes.deploy(SHOP, replace(later, elsewhere=(served,)), there, BROUGHT, "").release.id > made.id
    assert replace(later, elsewhere=(served,)).release("restart", FACTS, made.record).id > made.id
