"""Caddy in place of Nginx, on both Debians: the same promises, some by the same tests."""

import base64
import gzip
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
import test_load
from authority import certifying
from encrypted import ALIAS, https, own_certificate, shown, use_own
from standing import DOMAIN, Project, Server, answers, change_app, machine, serving
from test_certifying import configure
from test_confining import exposure
from test_passing_on import ECHO, HIDDEN, of_proxies, received
from test_places import Below, get
from visiting import wait_for

from deploy import sandbox


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that was provisioned for an app behind Caddy, and has its first release."""
    with machine("caddy", release=request.param) as made:
        project = of_caddy(tmp_path_factory.mktemp("caddy") / "project", made)
        project.fab("provision")
        ran = project.fab("deploy")
        assert f"http://{DOMAIN}/ → Caddy, port 80 → unix socket → Gunicorn" in " ".join(ran.out.split())
        yield Server(made)


@pytest.fixture
def project(server: Server, tmp_path: Path) -> Project:
    return of_caddy(tmp_path / "project", server.machine)


def of_caddy(directory: Path, made: sandbox.Machine) -> Project:
    """The project of test_load's app, which that module's tests change."""
    project = Project(directory, made)
    project.proxy, project.wsgi = "caddy", "tide:app"
    (directory / "tide.py").write_text(test_load.APP)
    project.write_config()
    project.commit()
    return project


def test_provisioned_and_deployed_again_nothing_changes(server: Server, project: Project):
    assert "provisioned: 0 changed" in project.fab("provision").out
    assert "nothing new: 0 changed" in project.fab("deploy").out
    assert server.leftovers() == []


def test_caddy_is_closed_and_reads_what_we_render(server: Server):
    assert exposure(server, "caddy.service") <= 1.5
    checked = server.script("sh /usr/local/lib/ashore/caddy.sh test 2>&1")
    assert "Valid configuration" in checked
    ports = server.script("ss -Hltn | awk '{ print $4 }'").split()
    assert {port.rpartition(":")[2] for port in ports} == {"22", "80", "443"}
    assert server.script("ss -Hlun 'sport = :443'") == ""
    as_app = "runuser -u visitors -- curl -s --unix-socket /run/caddy/admin.sock http://localhost/config/"
    assert server.script(f"{as_app} || echo closed; stat -c '%U %a' /run/caddy").splitlines() == ["closed", "caddy 700"]


def test_deploys_and_a_rollback_under_load_lose_no_request(server: Server, project: Project):
    project.fab("deploy")
    kinds = [
        ("GET", "/healthz", True, 0.05),
        ("POST", "/echo", True, 0.05),
        ("POST", "/echo", False, 0.05),
        ("GET", "/slow", True, 0.0),
    ]
    with test_load.Visitors(server.machine.address).at(*kinds, each=3) as visitors:
        for number in range(3):
            test_load.change(project, number)
            test_load.switched(project, server, "deploy")
        test_load.switched(project, server, "rollback")
    assert visitors.failures == []
    assert visitors.answered["/echo"] > 100
    assert server.leftovers() == []


def test_unknown_hosts_get_no_answer(server: Server, project: Project, tmp_path: Path):
    assert server.get("/healthz")[0] == 200
    for host in (server.machine.address, "evil.example"):
        with pytest.raises(OSError):
            server.get("/", host=host)
    use_own(project, *own_certificate(tmp_path, [DOMAIN, ALIAS]))
    project.fab("deploy")
    assert https(server, "/healthz")[0] == 200 and https(server, host=ALIAS)[0] == 301
    assert https(server, "/healthz")[1]["strict-transport-security"] == "max-age=604800"
    for host, name in (("evil.example", DOMAIN), ("evil.example", "evil.example"), ("x", server.machine.address)):
        with pytest.raises(OSError):
            https(server, host=host, name=name)


@pytest.mark.debian("trixie")
def test_reloads_and_renewed_certificates_lose_no_request(server: Server, project: Project, tmp_path: Path):
    test_load.test_reloads_and_renewed_certificates_lose_no_request_on_a_kept_connection(server, project, tmp_path)


@pytest.mark.debian("bookworm")
def test_around_a_reload_answers_are_what_they_always_are(server: Server, project: Project):
    test_load.test_around_a_reload_answers_are_what_they_always_are_but_that_they_end_the_connection(server, project)


@pytest.mark.debian("bookworm")
def test_a_release_that_fails_its_visitors_is_switched_back(server: Server, project: Project):
    before = project.deployed()
    project.write_config("watch_seconds = 20\nhealth_seconds = 10")
    project.append("tide.py", '\n@app.before_request\ndef fail():\n    if request.path == "/": raise RuntimeError\n')
    project.append("tide.py", '\n@app.get("/")\ndef home():\n    return "home"\n')
    project.commit()
    with server.requests("/"):
        ran = project.fab("deploy", status=1)
    assert re.search(r"after the switch, \d+ of \d+ requests got a 5xx response", ran.err), ran.text
    assert server.release() == before == server.current
    lines = project.fab("logs", "--caddy", "-n", "0").out
    assert re.search(r'caddy/access\.log .* "GET / HTTP/1\.1" 500 ', lines)
    assert "visitors is served by caddy" in project.fab("logs", "--nginx", status=1).err


@pytest.mark.debian("bookworm")
def test_maintenance_closes_the_site_without_a_reload(server: Server, project: Project):
    project.fab("deploy")
    before = test_load.workers(server)
    project.fab("maintenance", "on")
    assert server.get("/")[0] == 404  # the app's answer to the operator
    server.run("rm", "/srv/visitors/maintenance/let/10.76.0.1")
    status, page, headers = server.get("/")
    assert status == 503 and "Closed for maintenance" in page and headers["Retry-After"] == "120"
    assert server.get("/", headers={"X-Forwarded-For": "127.0.0.1"})[0] == 503
    assert server.get("/healthz")[0] == 200
    project.fab("maintenance", "off")
    assert server.get("/")[0] == 404 and test_load.workers(server) == before


def test_what_a_visitor_claims_does_not_reach_the_app_and_hidden_files_no_visitor(server: Server, project: Project):
    (project.directory / "plain.py").write_text(ECHO)
    static = project.directory / "webapp" / "static"
    for name in (".htpasswd", "deep/.git/config", "deep/a.0123456789ab.css", "deep/plain.txt"):
        (static / name).parent.mkdir(parents=True, exist_ok=True)
        (static / name).write_text("text")
    (static / "deep" / "big.css").write_text("a {} " * 1000)
    project.wsgi = "plain:app"
    project.write_config()
    project.commit()
    project.fab("deploy")
    environ = received(server)
    assert of_proxies(environ) == {
        "HTTP_X_FORWARDED_FOR": "10.76.0.1",
        "HTTP_X_FORWARDED_PROTO": "http",
        "HTTP_X_FORWARDED_HOST": DOMAIN,
    }
    assert environ["wsgi.url_scheme"] == "http" and environ["HTTP_X_OWN_HEADER"] == "mine"
    assert "evil" not in environ["HTTP_VIA"] + environ["HTTP_X_REQUEST_ID"]
    assert {path: server.get(path)[0] for path in HIDDEN} == dict.fromkeys(HIDDEN, 404)
    status, _, headers = server.get("/static/deep/a.0123456789ab.css")
    assert status == 200 and headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert server.get("/static/deep/plain.txt")[2]["Cache-Control"] == "public, max-age=3600"
    for path in ("current/static", "current/packed"):  # as the deploy has compressed it
        assert "deep/big.css.gz" in server.script(f"cd -P /srv/visitors/{path}/*/; find . -name '*.gz'")
    connection = HTTPConnection(server.machine.address, timeout=15)
    connection.request("GET", "/static/deep/big.css", headers={"Host": DOMAIN, "Accept-Encoding": "gzip"})
    answer = connection.getresponse()
    assert answer.headers["Content-Encoding"] == "gzip" and gzip.decompress(answer.read()) == b"a {} " * 1000
    connection.close()
    assert headers["X-Content-Type-Options"] == "nosniff" and "Server" not in headers
    project.write_config(stage='trusted_proxies = ["10.76.0.1"]')
    project.fab("deploy")
    assert of_proxies(received(server))["HTTP_X_FORWARDED_FOR"] == "192.0.2.66"
    assert received(server)["wsgi.url_scheme"] == "https"


@pytest.mark.debian("trixie")
def test_a_request_that_is_too_large_is_refused_and_a_dead_app_has_a_friendly_page(server: Server, project: Project):
    project.write_config("max_body_megabytes = 1")
    project.fab("deploy")
    for megabytes, status in ((1, 200), (2, 413)):
        connection = HTTPConnection(server.machine.address, timeout=15)
        connection.request("POST", "/echo", b"x" * (megabytes << 20), {"Host": DOMAIN})
        assert connection.getresponse().status == status
        connection.close()
    server.run("systemctl", "stop", f"visitors@{server.current}")
    status, page, headers = server.get("/anything")
    assert status == 502 and "Back in a moment" in page and headers["Cache-Control"] == "no-store"
    project.fab("deploy")
    assert server.get("/healthz")[0] == 200


WRITES = """
@app.get("/links")
def links():
    for name, target in (("out", "/etc/passwd"), ("own", "/srv/visitors/current/source/tide.py"), ("up", "..")):
        if not os.path.islink(f"media/{name}"):
            os.symlink(target, f"media/{name}")
    open("media/page.html", "w").write("<script>1</script>")
    open("media/.hidden", "w").write("x")
    return "made"
"""


@pytest.mark.debian("bookworm")
def test_data_is_served_without_scripts_and_no_link_leads_out_of_it_also_after_a_reboot(
    server: Server, project: Project
):
    project.append("tide.py", WRITES)
    (project.directory / "media").mkdir()
    (project.directory / "media" / "first.txt").write_text("first")
    project.write_config('writable = ["media"]')
    file = project.directory / "deploy.toml"
    file.write_text(file.read_text().replace('"webapp/static" }', '"webapp/static", "/media/" = "media" }'))
    project.commit()
    project.fab("deploy")
    assert server.get("/links")[:2] == (200, "made")
    status, text, headers = server.get("/media/page.html")
    assert (status, text) == (200, "<script>1</script>")
    assert "script-src 'none'" in headers["Content-Security-Policy"]
    assert server.get("/media/first.txt")[1] == "first"
    for path in ("out", "own", "up/tide/page.html", "up/", ".hidden", "%2e%2e/", ""):
        assert server.get(f"/media/{path}")[0] == 404, path
    assert "0 changed" in project.fab("deploy").out
    sandbox.reboot(server.machine.name)
    wait_for(lambda: answers(server), "the app after a reboot")
    assert server.get("/media/first.txt")[1] == "first" and server.get("/media/out")[0] == 404


@pytest.mark.debian("trixie")
def test_visitors_log_in_and_the_project_s_own_lines_count(server: Server, project: Project):
    hashed = server.run("caddy", "hash-password", "--plaintext", "secret").strip()
    (project.directory / "logins").write_text(f"ada:{hashed}\n")
    lines = project.directory / "ashore" / "caddy" / "site.caddy"
    lines.parent.mkdir(parents=True)
    lines.write_text("header X-Own yes\n")
    project.write_config(stage='basic_auth = "logins"')
    project.fab("deploy")
    assert server.get("/slow")[0] == 401 and server.get("/healthz")[0] == 200
    right, wrong = (base64.b64encode(f"ada:{word}".encode()).decode() for word in ("secret", "secreT"))
    assert server.get("/slow", headers={"Authorization": f"Basic {wrong}"})[0] == 401
    status, _, headers = server.get("/slow", headers={"Authorization": f"Basic {right}"})
    assert status == 200 and headers["X-Own"] == "yes"
    assert hashed not in project.fab("deploy", "--check").text
    lines.write_text("header X-Own yes\nfoo bar\n")
    said = project.fab("deploy", status=1).err
    assert "ashore/caddy/site.caddy, line 2: unrecognized directive: foo" in said, said
    assert server.get("/slow", headers={"Authorization": f"Basic {right}"})[0] == 200
    lines.unlink()
    project.write_config()
    project.fab("deploy")
    assert server.get("/slow")[0] == 200 and "X-Own" not in server.get("/slow")[2]


@pytest.mark.debian("trixie")
def test_logs_are_rotated_while_caddy_writes_them(server: Server, project: Project):
    access = "/var/log/caddy/visitors/access.log"
    assert server.get("/healthz")[0] == 200
    server.script("logrotate -f /etc/logrotate.d/ashore")
    assert server.get("/?after")[0] == 404
    wait_for(lambda: "?after" in server.run("cat", access), "the line in the new log")
    assert server.run("stat", "-c", "%U %G %a", access) == "caddy adm 640\n"
    assert json.loads(server.run("tail", "-n1", access))["status"] == 404
    assert "provisioned: 0 changed" in project.fab("provision").out


@contextmanager
def second_app(directory: Path, server: Server) -> Iterator[Project]:
    blog = Project(directory / "blog" / "project", server.machine)
    blog.proxy, blog.domain = "caddy", "blog.example"
    blog.write_config(name="blog")
    yield blog


@pytest.mark.debian("trixie")
def test_a_second_app_comes_and_no_visitor_of_the_first_notices(server: Server, project: Project, tmp_path: Path):
    project.fab("deploy")
    kinds = [("POST", "/echo", True, 0.02), ("POST", "/echo", False, 0.02), ("GET", "/slow", True, 0.0)]
    with second_app(tmp_path, server) as blog:
        before = server.run("systemctl", "show", "-p", "MainPID", "caddy")
        with test_load.Visitors(server.machine.address).at(*kinds, each=3) as visitors:
            assert "changed  caddy: reads the files of blog" in blog.fab("provision").out
            blog.fab("deploy")
        assert visitors.failures == []
        assert server.run("systemctl", "show", "-p", "MainPID", "caddy") != before
        assert server.get("/", host="blog.example")[0] == server.get("/healthz")[0] == 200
        assert "0 changed" in blog.fab("provision").out
        blog.domain = DOMAIN
        blog.write_config(name="blog")
        said = blog.fab("deploy", status=1).err
        assert f"{DOMAIN} is the name of another site on this server: the app visitors" in said
        blog.proxy, blog.domain = "nginx", "blog.example"
        blog.write_config(name="blog")
        state = server.state()
        for verb in ("provision", "deploy"):
            said = blog.fab(verb, status=1).err
            assert "ports 80 and 443 are used by Caddy, which serves the app visitors on this server" in said
            assert "state: nothing was changed" in said and 'set proxy = "caddy" in [app]' in said
        assert server.state() == state


class Guest(Below):
    proxy = "caddy"


@pytest.mark.debian("bookworm")
def test_an_app_below_a_path_comes_and_goes_and_another_has_a_port(server: Server, project: Project, tmp_path: Path):
    project.fab("deploy")
    made = server.machine
    with server.requests("/healthz", clients=3) as answered:
        book = Guest(tmp_path, made, "factory", 'path = "/book/"', DOMAIN)
        assert f"http://{DOMAIN}/book/" in book.deploy().out
        status, page, _ = server.get("/book/")
        assert status == 200 and 'href="/book/static/style.css"' in page, page
        assert server.get("/book/static/style.css")[0] == 200
        assert server.get("/book?a=b")[2]["Location"] == "/book/?a=b" and server.get("/book")[2]["Location"] == "/book/"
        assert "nothing new: 0 changed" in book.deploy().out
        hello = Guest(tmp_path, made, "hello", "port = 8088", "")
        hello.deploy()
        assert get(made, "/", f"{made.address}:8088", 8088)[1] == "Hello from the server\n"
        with pytest.raises(OSError):
            get(made, "/", "evil.example", 8088)
        for gone in (book, hello):
            gone.fab("remove", "--purge", "--yes")
    assert set(answered.statuses) == {200}
    assert server.get("/book/")[0] == 404
    with pytest.raises(OSError):
        get(made, "/", f"{made.address}:8088", 8088)
    left = server.script("find /etc/caddy /run/ashore-caddy /run/ashore-data /etc/systemd /var/log/caddy", check=False)
    assert "factory" not in left and "hello" not in left and "mounted/" not in left


BROKEN = (
    "echo '[Service]\nExecStartPre=/bin/false' > /etc/systemd/system/{0}.service.d/99.conf; systemctl daemon-reload"
)
REPAIRED = "rm /etc/systemd/system/{0}.service.d/99.conf; systemctl daemon-reload; systemctl reset-failed {0}"


def test_an_app_that_is_alone_changes_its_proxy_and_back(snapshot: str, tmp_path_factory: pytest.TempPathFactory):
    with serving("own", snapshot, tmp_path_factory) as made:
        server, project = Server(made), Project(tmp_path_factory.mktemp("own") / "project", made)
        other = {"nginx": "caddy", "caddy": "nginx"}
        for _ in range(2):
            was = server.proxy
            project.proxy = other[was]
            project.write_config()
            with server.requests("/healthz", clients=2) as answered:
                assert f"ports 80 and 443: used by {was.capitalize()}" not in project.fab("provision").out
            assert set(answered.statuses) == {200} and server.proxy == was
            assert f"used by {was.capitalize()} → taken over; the site is down for a second" in (
                project.fab("deploy", "--check").out
            )
            server.script(BROKEN.format(other[was]))
            said = project.fab("deploy", status=1).err
            assert f"{other[was]}.service did not start" in said or "exited with 1" in said
            assert server.proxy == was and server.get("/healthz")[0] == 200
            server.script(REPAIRED.format(other[was]))
            project.fab("deploy")
            assert server.proxy == other[was] and server.get("/healthz")[0] == 200
            assert server.script(f"systemctl is-active {was} || systemctl is-enabled {was} || true").split() == [
                "inactive",
                "disabled",
            ]
            assert "provisioned: 0 changed" in project.fab("provision").out
            assert "0 changed" in project.fab("deploy").out
        change_app(project, "BACK = 1")
        project.fab("deploy")


def test_a_certificate_is_issued_and_renewed_and_the_site_is_up_without(tmp_path_factory: pytest.TempPathFactory):
    directory = tmp_path_factory.mktemp("acme")
    with certifying(directory / "authority") as acme, machine("caddy-tls", release="trixie") as made:
        server, project = Server(made), of_caddy(directory / "project", made)
        project.fab("provision", "deploy")
        configure(project, acme)
        project.fab("provision")
        server.script(f"echo nameserver {acme.server.machine.address} > /etc/resolv.conf")
        acme.points(acme.server.machine.address)
        ran = project.fab("deploy", status=1)
        assert f"DNS points {DOMAIN} to {acme.server.machine.address}" in ran.err
        assert "the site answers over http" in ran.err
        assert server.get("/healthz")[0] == 200 and https(server, "/healthz")[0] == 200
        acme.points(made.address)
        assert "Caddy, port 443 (HTTP/2)" in " ".join(project.fab("deploy").out.split())
        root = acme.root()
        assert https(server, "/healthz", root=root)[0] == 200
        assert https(server, host=ALIAS, root=root)[1]["location"] == f"https://{DOMAIN}/"
        assert server.get("/a?b=c")[2]["Location"] == f"https://{DOMAIN}/a?b=c"
        before = shown(server)
        project.fab("tls.renew")
        assert shown(server) != before and https(server, "/healthz", root=root)[0] == 200
        (row,) = [json.loads(line) for line in project.fab("tls", "--json").out.splitlines()]
        assert row["state"] == "good" and row["renewed_by"] == "certbot"
        server.script(
            "mkdir -p /root/visitors; cp /srv/visitors/tls/live/*.pem /root/visitors; cd /root/visitors;"
            " echo broken > /etc/caddy/ashore/sites/broken.caddy;"
            " openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout privkey.pem -out fullchain.pem"
            " 2>/dev/null; ! sh /usr/local/lib/ashore/certificate-hook.sh /root/visitors visitors;"
            " rm /etc/caddy/ashore/sites/broken.caddy"
        )
        assert https(server, "/healthz", root=root)[0] == 200
        project.fab("deploy")
        assert "0 changed" in project.fab("deploy").out
