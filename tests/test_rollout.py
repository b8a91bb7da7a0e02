"""Several hosts of one command: who is changed when, and what is told of them."""

import threading
from datetime import datetime, timezone

import pytest
from fabric import Connection
from test_plans import FACTS, OLD, OLDER

from deploy.agent.dataclass import replace
from deploy.config.reader import Stage
from deploy.errors import ConnectionFailed, DeployError, HostError, Interrupted, NotReached, StepFailed
from deploy.session.execute import how_left
from deploy.session.rollout import Rollout
from deploy.session.session import Host, each_told_of

NEW = "20260401-000000"
NOW = datetime(2026, 4, 1, tzinfo=timezone.utc)
NOTHING = "nothing was changed"


def rollout(count: int) -> Rollout:
    stage = Stage("production", ())
    hosts = [Host(f"web{number + 1}", Connection(f"web{number + 1}"), stage) for number in range(count)]
    return Rollout(hosts, NOW, threading.Event())


def begin(made: Rollout, log: list[str], fails: str = "") -> list[threading.Thread]:
    def job(host: Host) -> None:
        try:
            made.looked(host, FACTS, {})
            log.append(host.name)
            if host.name == fails:
                raise StepFailed("no tide")
            made.leave(host, f"on {NEW}")
        except DeployError as error:
            host.error = error
        finally:
            host.done.set()

    threads = [threading.Thread(target=job, args=(host,)) for host in reversed(made.hosts)]
    for thread in threads:
        thread.start()
    return threads


def test_all_are_looked_at_before_the_first_is_changed_and_then_each_has_its_turn():
    made, log = rollout(3), []
    for thread in begin(made, log):
        thread.join(30)
    assert log == ["web1", "web2", "web3"]


def test_where_one_cannot_be_looked_at_none_is_changed():
    made, log = rollout(3), []
    late = made.hosts[1]
    made.hosts[1].error = HostError("it is not provisioned")
    late.done.set()
    for thread in begin(made, log)[::2]:
        thread.join(30)
    assert log == []
    assert made.state(HostError("it is not provisioned", "web2", NOTHING)) == "nothing was changed on any host"


def test_the_third_of_four_that_fails_says_how_all_of_them_are_now():
    made, log = rollout(4), []
    for thread in begin(made, log, fails="web3"):
        thread.join(30)
    assert log == ["web1", "web2", "web3"]
    assert isinstance(made.hosts[3].error, NotReached)
    made.leave(made.hosts[2], f"undone, on {OLD}")
    said = made.state(StepFailed("no tide", "web3", f"traffic stays on {OLD}; {NEW} was stopped and removed"))
    assert said == (
        f"traffic stays on {OLD}; {NEW} was stopped and removed\n"
        f"web1, web2: on {NEW}; web3: undone, on {OLD}; web4: not reached, on {OLD}"
    )
    made.hosts[2].error = ConnectionFailed("connection lost")
    assert f"web3: connection lost; it was on {OLD}" in made.state(made.hosts[2].error)


def test_ctrl_c_keeps_it_from_the_hosts_whose_turn_has_not_come():
    made = rollout(2)
    made.interrupted.set()
    with pytest.raises(NotReached):
        made.looked(made.hosts[0], FACTS, {})


def test_a_host_that_ctrl_c_came_too_late_for_is_told_beside_those_that_were_not_reached():
    made = rollout(2)
    made.hosts[1].error = NotReached("Ctrl-C was pressed")
    made.turns = [made.hosts[0].key]
    made.leave(made.hosts[0], f"on {NEW}")
    assert made.state(Interrupted("interrupted", "web2", NOTHING)) == f"web1: on {NEW}; web2: not reached"
    made.hosts[0].error = HostError("it is not provisioned")
    assert made.state(HostError("it is not provisioned", "web1", NOTHING)) == "nothing was changed on any host"


def test_hosts_that_are_provisioned_at_the_same_time_are_each_told_of_where_one_fails():
    hosts = rollout(4).hosts
    hosts[2].error = ConnectionFailed("no route", "web3", NOTHING)
    for host in hosts[:3]:
        host.done.set()
    with pytest.raises(ConnectionFailed) as told, each_told_of(hosts, "provisioned"):
        raise hosts[2].error
    assert told.value.state == f"web1, web2: provisioned; web3, web4: {NOTHING}"
    hosts[2].error = StepFailed("no tide", "web3", "earlier steps stay done")
    hosts[3].done.set()
    with pytest.raises(StepFailed) as told, each_told_of(hosts, "provisioned"):
        raise hosts[2].error
    assert told.value.state == "web1, web2, web4: provisioned; web3: earlier steps stay done"


def looked_at(*facts) -> Rollout:
    made = rollout(len(facts))
    for host, found in zip(made.hosts, facts, strict=True):
        made.facts[host.key], made.lasts[host.key] = found, {}
    return made


GOOD = {"state": "good"}
AHEAD = replace(FACTS, current=NEW, records={**FACTS.records, NEW: GOOD})


def test_a_rollback_goes_to_one_release_on_all_hosts_also_where_a_deploy_had_reached_some_only():
    assert looked_at(AHEAD, AHEAD).target("") == OLD
    assert looked_at(AHEAD, FACTS).target("") == OLD
    lacking = replace(AHEAD, records={NEW: GOOD, OLDER: GOOD})
    assert looked_at(AHEAD, lacking).target("") == OLDER
    assert looked_at(AHEAD, FACTS).target(OLDER) == OLDER
    assert looked_at(AHEAD).target("") == ""  # one host decides by itself


def test_a_release_that_a_host_does_not_have_is_told_before_any_host_is_changed():
    lacking = replace(AHEAD, records={NEW: GOOD, OLDER: GOOD})
    with pytest.raises(HostError, match=f"there is no release {OLD} to go back to on web2") as told:
        looked_at(AHEAD, lacking).target(OLD)
    assert told.value.state == NOTHING and OLDER in told.value.hint
    with pytest.raises(HostError, match=f"no good release before {NEW} is on all hosts"):
        looked_at(AHEAD, replace(AHEAD, records={NEW: GOOD})).target("")


def test_a_rollback_where_all_links_to_the_current_release_are_gone_goes_to_the_newest_good_one():
    gone = replace(AHEAD, current="")
    assert looked_at(gone, gone).target("") == NEW
    assert looked_at(gone, replace(gone, records={OLD: GOOD, OLDER: GOOD})).target("") == OLD
    with pytest.raises(HostError, match="no good release is on all hosts"):
        looked_at(replace(gone, records={}), gone).target("")


def test_a_rollback_whose_end_nobody_heard_is_finished_on_all_hosts():
    made = looked_at(FACTS, FACTS)
    made.lasts[made.hosts[1].key] = {"verb": "rollback", "release": OLD}
    assert made.target("") == OLD


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ({"applied": False}, f"unchanged, on {OLDER}"),
        ({"applied": True, "undo_errors": [], "serves": OLDER}, f"undone, on {OLDER}"),
        ({"applied": True, "undo_errors": ["no"], "serves": OLD}, f"not all undone, on {OLD}"),  # going back failed
        ({"applied": True, "switched": True, "serves": OLD}, f"on {OLD}, but not finished"),
    ],
)
def test_a_host_that_failed_is_said_to_be_on_the_release_that_has_its_traffic(end: dict, said: str):
    assert how_left(end, OLD, OLDER) == said
