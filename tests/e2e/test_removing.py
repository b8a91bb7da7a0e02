"""`fab remove`: one app leaves a server, whole or with its data kept, and the others notice nothing."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from http.client import HTTPException
from pathlib import Path

import pytest
from breaking import kill, resume
from standing import Project, Server, machine, settled
from visiting import Answers, visitors

TRACES = """
set +e
id=$(id -u visitors 2>/dev/null || echo 4711)
cd /; exec 2>/dev/null
ls -d srv/visitors run/visitors etc/nginx/sites-*/visitors.conf var/log/nginx/visitors var/log/journal/*.visitors
ls -d etc/systemd/journald@visitors.conf etc/systemd/system/*visitors* etc/systemd/system/*.wants/*visitors*
ls -d run/systemd/system/*visitors* run/systemd/journal.visitors run/ashore-ci/visitors* run/ashore/*-visitors
ls -d etc/ashore/firewall*/*visitors* var/lib/ashore-ci/visitors etc/letsencrypt/*/visitors* var/cache/*visitors*
systemctl list-units --all --plain --no-legend '*visitors*'
getent passwd ci-visitors
getent group visitors | grep www-data
nft list ruleset | grep -w "skuid $id"
mount | grep /visitors
find / -xdev -uid $id ! -path '/var/lib/visitors*' ! -path '/proc/*'
echo looked
"""


@pytest.fixture(scope="module")
def server(snapshot: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a second app, blog."""
    with machine("removing", snapshot=snapshot) as made:
        settled(made, tmp_path_factory.mktemp("removing"))
        blog_of(made, tmp_path_factory.mktemp("blog")).fab("provision", "deploy")
        yield Server(made)


def blog_of(made: object, directory: Path) -> Project:
    blog = Project(directory / "project", made)
    blog.domain = "blog.example"
    blog.write_config(name="blog")
    return blog


@pytest.fixture
def blog(server: Server, tmp_path: Path) -> Project:
    return blog_of(server.machine, tmp_path / "blog")


@pytest.fixture
def project(server: Server, tmp_path: Path) -> Project:
    return Project(tmp_path / "project", server.machine)


def traces(server: Server) -> list[str]:
    *found, last = server.script(TRACES, check=False).splitlines()
    assert last == "looked"
    return found


def test_an_app_is_removed_under_the_load_of_another_and_its_data_fits_again(
    server: Server, project: Project, blog: Project
):
    project.write_config(stage='open_ports = ["8443/tcp"]')
    project.fab("provision", "deploy")
    project.fab("ci.key")
    project.fab("run", "echo kept >/var/lib/visitors/note")
    owner = server.script("stat -c %u /var/lib/visitors/note")
    shown = project.fab("remove", "--check").out
    assert "would change" in shown and server.get("/healthz")[0] == 200

    with visits(server) as answers:
        said = project.fab("remove", "--yes").out
    assert set(answers.statuses) == {200} and len(answers.statuses) > 100
    assert traces(server) == []
    assert server.script("cat /var/lib/visitors/note") == "kept\n"
    assert "its owner, the user visitors" in said and "other apps on this server: blog" in said
    with pytest.raises(OSError, match=r"closed|reset"):
        server.get("/")
    assert "8443" not in server.script("nft list table inet ashore")
    assert "remove" in project.fab("history").out
    assert (
        "0 changed" in project.fab("remove", "--yes").out
        and "is not on this server" in project.fab("remove", "--yes").out
    )
    assert "0 changed" in blog.fab("provision").out and "nothing new" in blog.fab("deploy").out

    project.fab("provision", "deploy")
    assert server.get("/healthz")[0] == 200
    assert project.fab("run", "cat /var/lib/visitors/note; echo more >>/var/lib/visitors/note").out == "kept\n"
    assert server.script("stat -c %u /var/lib/visitors/note") == owner

    said = project.fab("remove", "--purge", "--yes").out
    assert traces(server) == [] and "its owner" not in said
    assert server.script("ls -d /var/lib/visitors; getent passwd visitors; getent group visitors", check=False) == ""


def test_a_removal_that_is_killed_anywhere_is_finished_by_the_next(server: Server, project: Project, blog: Project):
    blog.fab("deploy")
    with visits(server) as answers:
        number = 0
        while True:
            project.fab("provision", "deploy")
            process, halted = project.halted(number, "remove", "--purge", "--yes")
            if halted is None:
                process.ended()
                break
            kill(server, process, halted)
            assert "remove" in project.fab("remove", "--purge", "--yes").text
            assert traces(server) == [], halted
            assert server.script("ls -d /var/lib/visitors; getent passwd visitors", check=False) == "", halted
            number += 4
    assert number > 12 and set(answers.statuses) == {200}


def test_what_must_not_be_removed_is_refused_before_anything_is_changed(
    server: Server, project: Project, blog: Project
):
    project.fab("provision", "deploy")
    before = server.state()

    def refused(*words: str, by: Project = project, why: str) -> None:
        said = by.fab("remove", *words, status=1).err
        assert why in said and server.state() == before, said

    refused(why="there is no terminal")
    refused("--purge", "--check", "--force", by=named(blog, "www-data"), why="not by an app of Ashore")
    refused("--yes", by=named(blog, "www-data"), why="not by an app of Ashore")
    site = "/etc/nginx/sites-available/visitors.conf"
    server.script(f"cp -p {site} /tmp/site; echo '# mine' >>{site}")
    assert "was edited by hand" in project.fab("remove", "--yes", status=1).err
    assert server.get("/healthz")[0] == 200
    server.script(f"cp -p /tmp/site {site}")
    shared = "/etc/nginx/snippets/shared.conf"
    server.script(f"echo 'ssl_certificate /srv/visitors/tls/live/fullchain.pem;' >{shared}")
    assert f"is needed by another site on this server: {shared}" in project.fab("remove", "--yes", status=1).err
    server.script(f"rm {shared}")
    process, halted = project.halted("traffic: switched to", "restart")
    assert "is running `restart` on visitors" in project.fab("remove", "--yes", status=1).err
    resume(server, process, halted)
    assert server.get("/healthz")[0] == 200


def test_a_server_without_an_app_answers_nobody_and_is_closed(server: Server, project: Project, blog: Project):
    project.fab("remove", "--yes", "--purge")
    said = blog.fab("remove", "--yes", "--purge").out
    assert "no app is left on this server" in said
    with pytest.raises((OSError, HTTPException)):
        server.get("/", host="blog.example")
    assert "policy drop" in server.script("nft list table inet ashore")
    assert server.script("systemctl is-active nginx; systemctl is-failed '*' || true").split()[0] == "active"
    assert server.script("systemctl list-units --failed --plain --no-legend") == ""
    blog.fab("provision", "deploy")
    assert server.get("/healthz", host="blog.example")[0] == 200


def named(project: Project, name: str) -> Project:
    project.write_config(name=name)
    return project


def visits(server: Server) -> AbstractContextManager[Answers]:
    return visitors(server.machine.address, "blog.example", "/", 6, reloads=True)
