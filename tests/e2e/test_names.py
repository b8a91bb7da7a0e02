"""Names of apps that are somebody else's on the server: refused before anything is changed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from standing import Project, Server, serving


@pytest.fixture(scope="module")
def server(snapshot: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("names", snapshot, tmp_path_factory) as made:
        yield Server(made)


@pytest.fixture
def project(tmp_path: Path, server: Server) -> Project:
    return Project(tmp_path / "project", server.machine)


SYSTEM = "useradd --system --user-group --shell /usr/sbin/nologin"


@pytest.mark.parametrize(
    ("name", "made", "gone", "said"),
    [
        ("redis", f"{SYSTEM} --home-dir /var/lib/redis redis", "userdel redis", "did not create it"),
        (
            "postgres",
            f"{SYSTEM} --home-dir /var/lib/postgres postgres; install -d -o postgres /srv/postgres/releases",
            "userdel postgres; rm -r /srv/postgres",
            "did not create it",
        ),
        ("docker", "install -d /var/lib/docker/volumes", "rm -r /var/lib/docker", "/var/lib/docker"),
        ("kvm", "groupadd -f --system kvm", "true", "group kvm"),
        ("misc", "true", "true", "/var/lib/misc"),
        ("dbus", "install -d /run/dbus", "true", "/run/dbus"),
        ("serial-getty", "true", "true", "/serial-getty@.service"),
        ("www", "install -d /var/log/nginx/www; touch /var/log/nginx/www/old.log", "rm -r /var/log/nginx/www", "/www"),
    ],
)
def test_a_name_that_is_somebody_else_s_is_refused_before_anything_is_changed(
    server: Server, project: Project, name: str, made: str, gone: str, said: str
):
    server.script(made)
    try:
        before = server.state()
        project.write_config(name=name)
        ran = project.fab("provision", status=1)
        assert said in ran.err and "choose another `name` in deploy.toml" in ran.err
        assert "nothing was changed" in ran.err
        assert server.state() == before
    finally:
        server.script(gone)


def test_an_empty_directory_that_was_made_for_the_app_is_no_obstacle(server: Server, project: Project):
    server.script("install -d /var/lib/pier/lost+found")
    project.write_config(name="pier")
    project.fab("provision")
    assert "0 changed" in project.fab("provision").out
    assert server.run("getent", "passwd", "pier").split(":")[4] == "Ashore"


def test_a_user_that_an_older_version_of_the_kit_made_gets_its_mark(server: Server, project: Project):
    project.fab("ci.key")
    server.script("usermod --comment '' visitors; usermod --comment '' ci-visitors")
    assert "1 changed" in project.fab("provision").out
    assert "0 changed" in project.fab("provision").out
    project.fab("ci.key")
    for user in ("visitors", "ci-visitors"):
        assert server.run("getent", "passwd", user).split(":")[4] == "Ashore"
    project.fab("ci.key", "--revoke", "all")
