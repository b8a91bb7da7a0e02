"""Two apps on one server: with names of their own they go together, and what collides is refused at once."""

import json
from pathlib import Path

from standing import Project, Server


def on_address(project: Project) -> None:
    """The stage without a domain: visitors come by the host's own address."""
    file = project.directory / "deploy.toml"
    file.write_text(
        "".join(line for line in file.read_text().splitlines(True) if not line.startswith(("domain", "tls")))
    )


def refused(blog: Project, own: Server, *words: str) -> str:
    """What `fab WORDS` says, which must refuse and change nothing."""
    before = own.state()
    said = blog.fab(*words, status=1)
    assert "nothing was changed" in said.err and own.state() == before
    assert "upload" not in said.out
    return said.err


def test_a_second_app_is_refused_what_the_first_one_has_and_serves_with_a_name_of_its_own(
    own: Server, project: Project, tmp_path: Path
):
    blog = Project(tmp_path / "blog" / "project", own.machine)
    blog.write_config(name="blog")
    blog.fab("provision")
    said = refused(blog, own, "deploy")
    assert "visitors.example is the name of another site on this server: the app visitors (" in said
    assert "give each app its own `domain`" in said
    blog.domain = "blog.example"
    blog.write_config(name="blog")
    blog.fab("deploy")
    served = {host: json.loads(own.get("/healthz", host=host)[1])["release"] for host in (blog.domain, project.domain)}
    assert len(set(served.values())) == 2
    project.fab("deploy")  # which has its name, and keeps it

    on_address(project)
    project.fab("deploy")
    on_address(blog)
    assert f"{own.machine.address} is the name of another site" in refused(blog, own, "deploy")
    said = own.script("nginx -t 2>&1")
    assert "conflicting" not in said and "duplicate" not in said


def test_a_second_app_in_a_sandbox_is_refused_its_bare_address(own: Server, project: Project, tmp_path: Path):
    blog = Project(tmp_path / "blog" / "project", own.machine)
    blog.write_config(name="blog")
    name = own.machine.name
    project.fab("sandbox", "--name", name, "deploy")
    blog.fab("sandbox", "--name", name, "provision")
    said = refused(blog, own, "sandbox", "--name", name, "deploy")
    assert f"{own.machine.address}:443 is taken by another site on this server: the app visitors (" in said


def test_a_default_server_of_somebody_else_is_named_before_anything_is_changed(own: Server, project: Project):
    own.script("echo 'server { listen 80 default_server; }' > /etc/nginx/conf.d/own.conf")
    said = refused(project, own, "provision")
    assert "/etc/nginx/conf.d/own.conf on the server answers all host names on *:80" in said
