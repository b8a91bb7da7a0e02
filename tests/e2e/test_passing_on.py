"""What of a visitor's request reaches the app, and what Nginx answers by itself."""

import json
import re
from collections.abc import Iterator

import pytest
from standing import REPO, Project, Server

ECHO = """
import json
def app(environ, answer):
    answer("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({key: str(value) for key, value in environ.items()}).encode()]
"""
# Those that the issue of this test names, and that Gunicorn itself believes.
KNOWN = (
    "X-Real-IP", "Forwarded", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Forwarded-Ssl",
    "X-Client-IP", "True-Client-IP", "CF-Connecting-IP", "X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Protocol",
    "Remote-User", "X-SSL-Client-Verify", "x-forwarded-scheme", "X_Real_IP", "Script_Name",
)  # fmt: skip
LISTED = re.findall(r'proxy_set_header (\S+) "";', (REPO / "templates/nginx/proxy.conf.j2").read_text())
FORGED = {name: "on" if "Ssl" in name else "https" if "Proto" in name else "192.0.2.66" for name in (*KNOWN, *LISTED)}
FORGED |= {"X-Forwarded-For": "192.0.2.66", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
FORGED |= {"Via": "1.1 evil", "X-Request-ID": "evil", "Proxy": "evil:1", "X-Own-Header": "mine"}


@pytest.fixture
def echoing(live: Server, project: Project) -> Iterator[Project]:
    """The project with an app that answers what it was asked."""
    (project.directory / "plain.py").write_text(ECHO)
    project.wsgi = "plain:app"
    project.write_config()
    project.commit()
    yield project
    project.wsgi = "webapp:create_app()"
    project.write_config()
    project.fab("provision", "deploy")


def received(live: Server, path: str = "/") -> dict[str, str]:
    status, text, _ = live.get(path, headers=FORGED)
    assert status == 200, text
    return json.loads(text)


def of_proxies(environ: dict[str, str]) -> dict[str, str]:
    """The headers that reached the app, but for what every client sends."""
    usual = (
        "HTTP_HOST",
        "HTTP_ACCEPT_ENCODING",
        "HTTP_X_OWN_HEADER",
        "HTTP_X_REQUEST_ID",
        "HTTP_VIA",
        "HTTP_CONNECTION",
    )
    return {key: value for key, value in environ.items() if key.startswith("HTTP_") and key not in usual}


def test_nothing_that_a_visitor_claims_of_the_way_reaches_the_app(live: Server, echoing: Project):
    echoing.fab("deploy")
    for path in ("/", "/healthz"):
        environ = received(live, path)
        assert of_proxies(environ) == {
            "HTTP_X_FORWARDED_FOR": "10.76.0.1",
            "HTTP_X_FORWARDED_PROTO": "http",
            "HTTP_X_FORWARDED_HOST": "visitors.example",
        }
        assert environ["wsgi.url_scheme"] == "http" and environ["SCRIPT_NAME"] == ""
        assert environ["HTTP_X_OWN_HEADER"] == "mine"
        assert "evil" not in environ["HTTP_VIA"] + environ["HTTP_X_REQUEST_ID"]
    if live.proxy == "nginx":
        assert "[warn]" not in live.script("nginx -t 2>&1")


def test_of_a_trusted_proxy_the_address_and_the_scheme_are_believed_and_nothing_else(live: Server, echoing: Project):
    echoing.write_config(stage='trusted_proxies = ["10.76.0.1"]')
    echoing.fab("deploy")
    environ = received(live)
    assert of_proxies(environ) == {
        "HTTP_X_FORWARDED_FOR": "192.0.2.66",
        "HTTP_X_FORWARDED_PROTO": "https",
        "HTTP_X_FORWARDED_HOST": "visitors.example",
    }
    assert environ["wsgi.url_scheme"] == "https"


def test_in_maintenance_an_allowed_visitor_s_claims_reach_the_app_neither(live: Server, echoing: Project):
    echoing.fab("deploy")
    echoing.fab("maintenance", "on")
    try:
        assert of_proxies(received(live))["HTTP_X_FORWARDED_FOR"] == "10.76.0.1"
        assert "HTTP_X_REAL_IP" not in received(live)
    finally:
        echoing.fab("maintenance", "off")


HIDDEN = (
    "/static/.htpasswd", "/static/%2ehtpasswd", "/static/%2Ehtpasswd", "/static/deep/.git/config", "/static/deep/.env",
    "/static//.htpasswd", "/static/deep/../.htpasswd", "/static/deep/%2e%2e/.htpasswd", "/static/deep%2f.env",
    "/static/.well-known/x", "/static/deep/.git%2fconfig",
)  # fmt: skip


def test_hidden_files_are_not_served_and_the_app_answers_for_its_own_routes(live: Server, echoing: Project):
    static = echoing.directory / "webapp" / "static"
    for name in (".htpasswd", "deep/.git/config", "deep/.env", "deep/plain.txt", "deep/a.b", ".well-known/x"):
        (static / name).parent.mkdir(parents=True, exist_ok=True)
        (static / name).write_text("hidden")
    (echoing.directory / "known").mkdir()
    (echoing.directory / "known" / "security.txt").write_text("hidden")
    (echoing.directory / "known" / ".htpasswd").write_text("hidden")
    prefixes = '{ "/static/" = "webapp/static", "/.well-known/" = "known" }'
    echoing.app = 'include_anyway = ["webapp/static/deep/.env"]'
    echoing.write_config()
    file = echoing.directory / "deploy.toml"
    file.write_text(file.read_text().replace('{ "/static/" = "webapp/static" }', prefixes))
    echoing.commit()
    echoing.fab("deploy")
    assert {path: live.get(path)[0] for path in HIDDEN} == dict.fromkeys(HIDDEN, 404)
    for path in ("/static/deep/plain.txt", "/static/deep/a.b", "/.well-known/security.txt"):
        assert live.get(path)[:2] == (200, "hidden")
    assert live.get("/.well-known/.htpasswd")[0] == 404
    for path in ("/.web/x", "/.environment", "/a/.b/c"):
        assert json.loads(live.get(path)[1])["PATH_INFO"] == path


@pytest.mark.parametrize("health_path", ["/?h=1", "//", "/%2e?h"])
def test_maintenance_closes_the_front_page_however_the_health_path_names_it(
    live: Server, echoing: Project, health_path: str
):
    file = echoing.directory / "deploy.toml"
    file.write_text(file.read_text().replace('"/healthz"', f'"{health_path}"'))
    echoing.fab("deploy")
    echoing.fab("maintenance", "on")
    try:
        live.run("rm", "/srv/visitors/maintenance/let/10.76.0.1")  # as anybody else, then
        assert live.get("/")[0] == live.get(health_path)[0] == 503
    finally:
        echoing.fab("maintenance", "off")
