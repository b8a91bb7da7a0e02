"""One command on two servers: one release, one decision; and what is told where one of them fails."""

from collections.abc import Iterator

import pytest
from standing import Project, Server, change_app, serving

ID = r"\d{8}-\d{6}"


@pytest.fixture(scope="module")
def pair(snapshot: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    with serving("one", snapshot, tmp_path_factory) as one, serving("two", snapshot, tmp_path_factory) as two:
        yield [Server(one), Server(two)]


@pytest.fixture
def project(pair: list[Server], tmp_path_factory: pytest.TempPathFactory) -> Project:
    """For both; the release command waits for nothing where a file `go` is in the app's data."""
    made = Project(tmp_path_factory.mktemp("pair") / "project", pair[0].machine)
    known = made.home / ".ssh" / "known_hosts"
    first = known.read_text()
    made.machine = pair[1].machine
    made.know_host()
    known.write_text(first + known.read_text())
    made.machine = pair[0].machine
    made.write_ssh_config("".join(f"Host {s.machine.address}\n  IdentityFile {s.machine.key_file}\n" for s in pair))
    made.hosts = [f"admin@{server.machine.address}" for server in pair]
    made.app = 'release_command = "test -e $DATA_DIR/go"'
    made.write_config()
    for server in pair:
        server.script("touch /var/lib/visitors/go")
    return made


def served(pair: list[Server]) -> list[str]:
    return [server.release() for server in pair]


def test_a_deploy_makes_one_release_with_one_id_and_a_rollback_goes_back_to_one(pair: list[Server], project: Project):
    pair[1].script("mv /var/lib/visitors/go /var/lib/visitors/wait")
    change_app(project, "SEVERAL = 0")
    assert "traffic stays" in project.fab("deploy", status=1).err  # so that there are two to tell apart
    pair[1].script("mv /var/lib/visitors/wait /var/lib/visitors/go")
    project.fab("deploy")
    [old] = set(served(pair))
    change_app(project, "SEVERAL = 1")
    project.fab("deploy")
    [new] = set(served(pair))
    assert new > old
    project.fab("restart")
    [fresh] = set(served(pair))
    assert fresh > new
    project.fab("rollback", old)
    assert served(pair) == [old, old]


def test_where_one_fails_it_is_said_how_each_is_now_and_what_it_missed_it_gets_by_the_same_id(
    pair: list[Server], project: Project
):
    project.fab("deploy")
    [old] = set(served(pair))
    pair[1].script("rm /var/lib/visitors/go")
    change_app(project, "SEVERAL = 2")
    ran = project.fab("deploy", status=1)
    new = pair[0].release()
    assert new > old and pair[1].release() == old
    first, second = (server.machine.address for server in pair)
    assert f"       {first}: on {new}; {second}: undone, on {old}\n" in ran.err
    assert "nothing was changed" not in ran.err
    pair[1].script("touch /var/lib/visitors/go")
    assert "nothing new" in project.fab("deploy").out
    assert served(pair) == [new, new]
    project.fab("rollback")
    assert served(pair) == [old, old]


def test_what_one_host_does_not_have_is_told_before_any_is_changed(pair: list[Server], project: Project):
    project.fab("deploy")
    [old] = set(served(pair))
    change_app(project, "SEVERAL = 3")
    project.fab("deploy")
    [new] = set(served(pair))
    pair[1].script(f"rm -r /srv/visitors/releases/{old}")
    ran = project.fab("rollback", old, status=1)
    assert f"there is no release {old} to go back to on {pair[1].machine.address}" in ran.err
    assert "state: nothing was changed on any host" in ran.err
    assert served(pair) == [new, new]
