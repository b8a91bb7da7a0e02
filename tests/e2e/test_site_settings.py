"""Settings of one site, on Debian 12 and 13: redirects, a login, a CDN in front, uploads, compressed files, scans."""

import base64
import gzip
import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest
from encrypted import own_certificate
from standing import DOMAIN, Project, Server, in_create_app, machine
from visiting import elsewhere, wait_for

from deploy import sandbox

VIEWS = """
from flask import request
@app.post("/upload")
def upload():
    size, request.max_content_length = 0, 1 << 40
    while chunk := request.stream.read(65536):
        size += len(chunk)
    return {"size": size}
@app.get("/who")
def who():
    return {"address": request.remote_addr, "scheme": request.scheme, "login": request.headers.get("Authorization", "")}
@app.get("/<path:name>")
def anything(name):
    return "the app says " + name
"""


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with machine(f"set-{request.param}", release=request.param) as made:
        project = Project(tmp_path_factory.mktemp("site") / "project", made)
        in_create_app(project, VIEWS)
        project.fab("provision", "deploy")
        yield project


@pytest.fixture
def server(site: Project) -> Server:
    return Server(site.machine)


def raw(made: sandbox.Machine, request: str, source: str = "") -> str:
    """What one address gets for a request that is written out."""
    with socket.create_connection((made.address, 80), 15, (source, 0) if source else None) as link:
        link.sendall(request.replace("\n", "\r\n").encode())
        said = b""
        with suppress(ConnectionResetError):  # no answer
            while data := link.recv(65536):
                said += data
    return said.decode("latin-1")


def asked(made: sandbox.Machine, path: str, headers: str = "", source: str = "", host: str = DOMAIN) -> str:
    return raw(made, f"GET {path} HTTP/1.1\nHost: {host}\nConnection: close\n{headers}\n", source)


def location(said: str) -> str:
    return next((line[10:] for line in said.splitlines() if line.startswith("Location: ")), "")


def test_what_has_moved_is_redirected_with_its_query_and_never_elsewhere(site: Project, server: Server):
    site.write_config('redirects = { "/old" = "/new", "/blog/" = "https://blog.example.com/", "/docs/" = "/manual/" }')
    site.fab("deploy")
    said = asked(site.machine, "/old?a=1&b=%20c")
    assert said.startswith("HTTP/1.1 308") and location(said) == f"http://{DOMAIN}/new?a=1&b=%20c"
    assert location(asked(site.machine, "/blog/2024/a%2Fb?x=1")) == "https://blog.example.com/2024/a%2Fb?x=1"
    assert location(asked(site.machine, "/docs/")) == f"http://{DOMAIN}/manual/"
    assert location(asked(site.machine, "/docs//evil.example/")).startswith(f"http://{DOMAIN}/manual/")
    assert "Set-Cookie: x" not in asked(site.machine, "/docs/%0d%0aSet-Cookie:%20x=1")
    assert asked(site.machine, "/older").startswith("HTTP/1.1 200")
    assert "nothing new: 0 changed" in site.fab("deploy").out
    site.write_config()
    site.fab("deploy")
    assert asked(site.machine, "/old").startswith("HTTP/1.1 200")


def test_a_staging_site_wants_a_login_and_is_deployed_all_the_same(site: Project, server: Server):
    hashed = subprocess.run(["openssl", "passwd", "-6", "secret"], capture_output=True, text=True, check=True).stdout
    (site.directory / "staging.htpasswd").write_text(f"# testers\nada:{hashed}")
    site.write_config(stage='basic_auth = "staging.htpasswd"')
    said = site.fab("deploy")
    assert "requests failed" in said.out and hashed.strip() not in said.text
    assert asked(site.machine, "/").startswith("HTTP/1.1 401") and asked(site.machine, "/healthz").startswith(
        "HTTP/1.1 200"
    )
    assert asked(site.machine, "/static/style.css").startswith("HTTP/1.1 401")
    login = base64.b64encode(b"ada:secret").decode()
    good = asked(site.machine, "/who", f"Authorization: Basic {login}\n")
    assert good.startswith("HTTP/1.1 200") and '"login":""' in good
    assert asked(site.machine, "/", "Authorization: Basic YWRhOm5v\n").startswith("HTTP/1.1 401")
    assert server.script("stat -c '%U:%G %a' /srv/visitors/logins") == "root:visitors 640\n"
    site.fab("restart")
    assert server.leftovers() == ["file logins"]
    (site.directory / "staging.htpasswd").write_text("ada:secret\n")
    refused = site.fab("deploy", status=1).err
    assert "entry 1 of staging.htpasswd is not a user and a hashed password" in refused
    (site.directory / "staging.htpasswd").unlink()
    site.write_config()
    site.fab("deploy")
    assert asked(site.machine, "/").startswith("HTTP/1.1 200")


def test_the_project_s_own_lines_are_part_of_the_site_and_broken_ones_change_nothing(site: Project, server: Server):
    own = site.directory / "ashore" / "nginx" / "server.conf"
    own.parent.mkdir(parents=True)
    try:
        own.write_text("add_header X-Own yes;\nlocation = /own {\n    return 204;\n}\n")
        site.fab("deploy")
        assert asked(site.machine, "/own").startswith("HTTP/1.1 204")
        own.write_text("location = /own {\n    return 204;\n    retrun 205;\n}\n")
        said = site.fab("deploy", status=1).err
        assert (
            'ashore/nginx/server.conf, line 3: unknown directive "retrun"' in said and "the site is as it was" in said
        )
        assert asked(site.machine, "/own").startswith("HTTP/1.1 204") and server.script("nginx -t -q 2>&1") == ""
    finally:
        own.unlink()
    site.fab("deploy")
    assert asked(site.machine, "/own").startswith("HTTP/1.1 200")


def bridge_of(made: sandbox.Machine) -> str:
    """The sandboxes' bridge on this machine."""
    found = subprocess.run(
        ["ip", "-j", "route", "get", made.address], capture_output=True, text=True, check=True
    ).stdout
    return str(json.loads(found)[0]["dev"])


CDN, CLIENT, OTHER = "173.245.48.7", "203.0.113.9", "198.51.100.3"


def test_behind_a_cdn_the_visitor_s_address_is_right_and_nobody_comes_past_it(site: Project, server: Server):
    # Not Cloudflare itself, but an address of its networks on this machine.
    bridge = bridge_of(site.machine)
    site.write_config(stage='cdn = "cloudflare"\ncdn_only = true')
    site.fab("provision", "deploy")
    server.script(f"ip route replace {CDN} dev host0; ip route replace {OTHER} dev host0")
    with elsewhere(bridge, f"{CDN}/32", f"{OTHER}/32"):
        headers = f"CF-Connecting-IP: {CLIENT}\nX-Forwarded-For: 9.9.9.9\nX-Forwarded-Proto: https\n"
        said = asked(site.machine, "/who", headers, CDN)
        assert f'"address":"{CLIENT}"' in said and '"scheme":"https"' in said
        assert asked(site.machine, "/who", headers, OTHER) == "", "nobody comes past it"
    assert f" {CLIENT} " in wait_for(
        lambda: server.script("tail -3 /var/log/nginx/visitors/access.log | grep who || true"), "the line in the log"
    )
    site.write_config()
    site.fab("provision", "deploy")
    forged = asked(site.machine, "/who", f"CF-Connecting-IP: {CLIENT}\n")
    assert CLIENT not in forged


def test_behind_a_cdn_a_site_with_https_redirects_only_who_comes_without(site: Project, server: Server, tmp_path: Path):
    chain, key = own_certificate(tmp_path, [DOMAIN])
    site.tls = "files"
    site.write_config(stage=f'cdn = "fastly"\ncertificate = "{chain}"\ncertificate_key = "{key}"\nhsts_days = 0')
    site.fab("provision", "deploy")
    edge = "151.101.1.7"  # of Fastly's networks
    server.script(f"ip route replace {edge} dev host0")
    with elsewhere(bridge_of(site.machine), f"{edge}/32"):
        forwarded = f"X-Forwarded-For: 9.9.9.9, {CLIENT}\nX-Forwarded-Proto: "
        said = asked(site.machine, "/who", f"{forwarded}https\n", edge)
        assert f'"address":"{CLIENT}"' in said and '"scheme":"https"' in said, "no circle of redirects"
        said = asked(site.machine, "/who", f"{forwarded}http\n", edge)
        assert said.startswith("HTTP/1.1 301") and location(said) == f"https://{DOMAIN}/who"
    forged = asked(site.machine, "/who", "X-Forwarded-Proto: https\n")
    assert forged.startswith("HTTP/1.1 301"), "others are not believed"
    site.tls = "off"
    site.write_config()
    site.fab("provision", "deploy")


def uploaded(made: sandbox.Machine, megabytes: int, pause: object = None) -> str:
    connection = HTTPConnection(made.address, timeout=60)

    def body() -> Iterator[bytes]:
        for number in range(megabytes):
            yield bytes(1 << 20)
            if callable(pause):
                pause(number)

    headers = {"Host": DOMAIN, "Content-Length": str(megabytes << 20)}
    connection.request("POST", "/upload", body(), headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return f"{answer.status} {text.strip()}"


def test_an_upload_is_streamed_on_demand_and_else_kept_in_a_file(site: Project, server: Server):
    seen: list[str] = []

    def look(number: int) -> None:
        if number == 40:
            if len(seen) == 0:
                assert server.get("/healthz")[0] == 200, "a slow upload does not keep the only worker busy"
            seen.append(server.script("ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c nginx/body || true").strip())

    site.write_config('max_body_megabytes = 200\nworkers = 1\nworker_class = "sync"')
    site.fab("deploy")
    assert uploaded(site.machine, 80, look) == f'200 {{"size":{80 << 20}}}'
    site.write_config("max_body_megabytes = 200\nstream_uploads = true")
    site.fab("deploy")
    assert uploaded(site.machine, 80, look) == f'200 {{"size":{80 << 20}}}'
    assert int(seen[0]) >= 1 and seen[1] == "0", "an open file of Nginx's only where it is not streamed"
    assert uploaded(site.machine, 201).startswith("413")
    site.write_config()
    site.fab("deploy")


def test_static_files_are_sent_compressed_as_the_deploy_has_made_them(site: Project, server: Server):
    text = "".join(f"a.x{number} {{ color: #0{number % 10}f; }}\n" for number in range(2000))
    (site.directory / "webapp" / "static" / "big.css").write_text(text)
    (site.directory / "webapp" / "static" / "big.css.br").write_bytes(b"brotli of the project's own build")
    site.commit()
    site.fab("deploy")
    got = raw(
        site.machine, f"GET /static/big.css HTTP/1.1\nHost: {DOMAIN}\nConnection: close\nAccept-Encoding: gzip\n\n"
    )
    head, _, body = got.partition("\r\n\r\n")
    assert "Content-Encoding: gzip" in head and "Content-Type: text/css" in head and "Vary: Accept-Encoding" in head
    assert gzip.decompress(body.encode("latin-1")).decode() == text and len(body) < len(text) / 3
    head, _, body = asked(site.machine, "/static/big.css", "Accept-Encoding: gzip, br\n").partition("\r\n\r\n")
    assert "Content-Encoding: br" in head and "Content-Type: text/css" in head and "Vary: Accept-Encoding" in head
    assert body == "brotli of the project's own build"
    for accepts in ("", "Accept-Encoding: br;q=0\n"):
        head, _, body = asked(site.machine, "/static/big.css", accepts).partition("\r\n\r\n")
        assert "Content-Encoding" not in head and body == text
    before = server.script("stat -c %i /srv/visitors/current/packed/*/big.css.gz")
    site.append("webapp/static/big.css", "")
    (site.directory / "webapp" / "static" / "small.css").write_text("a {}\n")
    site.commit()
    site.fab("deploy")
    assert server.script("stat -c %i /srv/visitors/current/packed/*/big.css.gz") == before, "compressed once"
    assert server.script("ls /srv/visitors/current/packed/*/ | grep small") == "small.css\n"
    assert "nothing new: 0 changed" in site.fab("deploy").out and server.leftovers() == []
    site.write_config('apt = ["brotli"]')
    (site.directory / "webapp" / "static" / "more.css").write_text(f"{text}b {{}}\n")
    site.commit()
    site.fab("deploy")
    there = "/srv/visitors/current/static.br/*/more.css"
    assert server.script(f"brotli --decompress --stdout {there}") == f"{text}b {{}}\n"
    site.write_config()
    site.fab("rollback")
    assert "Content-Encoding: gzip" in asked(site.machine, "/static/big.css", "Accept-Encoding: gzip\n")


@pytest.mark.parametrize(
    "path",
    ["/wp-login.php", "/.env", "/.git/config", "/x/.env.production", "/cgi-bin/luci", "/admin/index.PHP", "/a.aspx"],
)
def test_what_looks_like_a_scan_does_not_reach_the_app(site: Project, server: Server, path: str):
    assert asked(site.machine, path).startswith("HTTP/1.1 404")


def test_what_only_looks_alike_reaches_the_app_and_all_does_on_demand(site: Project, server: Server):
    for path in ("/phpinfo", "/environment", "/.well-known/security.txt", "/a.php-guide", "/gitlab", "/wp-login"):
        assert "the app says" in asked(site.machine, path), path
    site.write_config("block_scans = false")
    site.fab("deploy")
    assert "the app says wp-login.php" in asked(site.machine, "/wp-login.php")
    site.write_config()
    site.fab("deploy")


def test_bad_settings_are_refused_before_a_server_is_asked(site: Project):
    for app, stage, why in (
        ('redirects = { "/healthz" = "/x" }', "", "would redirect health_path"),
        ('redirects = { "/a" = "/b", "/b" = "/a" }', "", "leads in a circle"),
        ('redirects = { "/a/" = "/a/b/" }', "", "leads in a circle"),
        ('redirects = { "/a/" = "https://evil.example" }', "", "must end with /, too"),
        ('redirects = { "/a" = "//evil.example/" }', "", "a target is a path"),
        ('redirects = { "/a" = "/b;}" }', "", "a target is a path"),
        ('redirects = { "/static/" = "/b/" }', "", "but static has '/static/'"),
        ("", "cdn_only = true", "needs cdn, or trusted_proxies"),
        ("", 'cdn = "cloudflair"', "did you mean cloudflare?"),
        ("", 'basic_auth = "none.htpasswd"', "cannot be read"),
    ):
        site.write_config(app, stage)
        assert why in site.fab("deploy", status=1).err, why
    site.write_config()
