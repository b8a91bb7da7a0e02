"""Where an app is beside others on its server: a domain, a port, or a path of a domain that others use."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from test_plans import FACTS, NEW, OLD, SHOP, SITE

from deploy.agent.dataclass import replace
from deploy.agent.questions.places import places
from deploy.agent.resources.config_files import Including
from deploy.agent.system import System
from deploy.agent.wire import Refused
from deploy.config.reader import Stage
from deploy.config.site import Site, site_of
from deploy.errors import HostError
from deploy.plan.facts import Facts, Place
from deploy.plan.places import placed, recorded_place, require_place, require_unneeded
from deploy.stack.proxies.nginx import PROXY, site_text
from deploy.stack.runners import runner_of

DOMAIN = SITE.names[0]
BLOG = Site((DOMAIN,), path="/blog/")
MAIN = Place("main", DOMAIN, prefixes=("/static/",))


def beside(*neighbours: Place, place: Place | None = None) -> Facts:
    return replace(FACTS, neighbours=neighbours, place=place)


def test_an_app_below_a_path_is_part_of_the_site_that_has_the_domain():
    site = placed(BLOG, beside(MAIN))
    assert site.guest_of == "main" and not site.certified and site.url == f"http://{DOMAIN}/blog/"
    assert recorded_place(site) == {"site": {"path": "/blog/", "guest_of": "main"}}


def test_the_first_app_below_a_path_has_the_domain_itself_and_the_next_is_its_guest():
    first = placed(BLOG, beside())
    assert first.guest_of == ""
    shown = site_text(replace(SHOP, mount="/blog"), first, {}, "1.22.1")
    assert f"server_name {DOMAIN};" in shown and f"include ashore/mounted/{DOMAIN}:*.conf;" in shown
    assert placed(BLOG, beside(Place("first", DOMAIN, path="/other/"))).guest_of == "first"
    assert placed(BLOG, beside(Place("elsewhere", "other.example"), Place("p", DOMAIN, port=8001))).guest_of == ""


def test_a_site_with_neither_port_nor_path_records_nothing():
    assert recorded_place(SITE) == {} and placed(SITE, beside(MAIN)) == SITE


@pytest.mark.parametrize(
    ("site", "static", "other", "why"),
    [
        (BLOG, "/static/", Place("b", DOMAIN, path="/blog/", guest_of="main"), "shop.example.com/blog/ is used by"),
        (BLOG, "/static/", Place("b", DOMAIN, prefixes=("/blog/static/",)), "would hide /blog/static/, static files"),
        (replace(BLOG, path="/static/blog/"), "/s/", MAIN, "is within /static/, static files of the app main"),
        (BLOG, "/files/", Place("b", DOMAIN, path="/blog/files/x/"), "would hide /blog/files/x/ of the app b"),
        (Site((DOMAIN,)), "/static/", Place("b", DOMAIN, path="/b/"), "is used by the app b, below /b/"),
        (
            Site((DOMAIN,), own_port=8443),
            "/static/",
            Place("b", "x.example", port=8443),
            "port 8443 is used by the app b",
        ),
        (Site((DOMAIN,)), "/blog/", Place("b", DOMAIN, path="/blog/x/", guest_of="shop"), "would hide /blog/x/"),
    ],
)
def test_a_place_that_another_app_has_is_refused_by_its_name(site: Site, static: str, other: Place, why: str):
    with pytest.raises(HostError, match="nothing was changed") as refused:
        require_place(replace(SHOP, static=((static, "static"),)), site, beside(other))
    assert why in str(refused.value)


@pytest.mark.parametrize(
    "other",
    [
        MAIN,
        Place("b", DOMAIN, path="/other/", prefixes=("/other/static/",), guest_of="main"),
        Place("b", DOMAIN, path="/blog/more/", prefixes=("/blog/more/static/",), guest_of="main"),
        Place("b", DOMAIN, path="/", port=8001),
        Place("b", "other.example", path="/blog/"),
    ],
)
def test_other_places_are_free(other: Place):
    require_place(replace(SHOP, static=(("/static/", "static"),)), BLOG, beside(other))


def test_an_app_does_not_leave_a_domain_that_others_are_below():
    guest = Place("blog", DOMAIN, path="/blog/", guest_of="shop")
    facts = beside(guest, place=Place("shop", DOMAIN))
    require_place(SHOP, SITE, facts)
    for site in (Site(("new.example",)), Site((DOMAIN,), own_port=81), Site((DOMAIN,), path="/shop/")):
        with pytest.raises(HostError, match="which shop would leave: blog at /blog/"):
            require_place(SHOP, site, facts)
    with pytest.raises(
        HostError, match=r"shop is needed by other apps on this server: blog \(shop.example.com/blog/\)"
    ):
        require_unneeded(SHOP, facts)
    require_unneeded(SHOP, beside(guest, place=Place("shop", DOMAIN, path="/shop/", guest_of="main")))


def test_the_server_reads_places_from_current_releases(tmp_path: Path):
    for app, site, domain in (("shop", None, DOMAIN), ("blog", {"path": "/blog/", "guest_of": "shop"}, DOMAIN)):
        made = tmp_path / app / "releases" / OLD
        made.mkdir(parents=True)
        record: dict[str, Any] = {"app": {"static": [["/static/", "static"]]}} | ({"site": site} if site else {})
        (made / "release.json").write_text(json.dumps(record))
        (made / "env.json").write_text(json.dumps({"kit": {"DOMAIN": domain}}))
        (tmp_path / app / "current").symlink_to(f"releases/{OLD}")
    (tmp_path / "half" / "releases" / NEW).mkdir(parents=True)
    (tmp_path / "half" / "releases" / NEW / "release.json").write_text("{")
    (tmp_path / "half" / "current").symlink_to(f"releases/{NEW}")
    found = [Place.of(one) for one in places(str(tmp_path))]
    assert found == [
        Place("blog", DOMAIN, path="/blog/", guest_of="shop", prefixes=("/blog/static/",)),
        Place("shop", DOMAIN, prefixes=("/static/",)),
    ]


def test_a_site_of_an_older_kit_must_be_deployed_before_apps_are_below_it(tmp_path: Path):
    (tmp_path / "main.conf").write_text("server { include ashore/mounted/a.example:*.conf; }")
    step = Including(f"{tmp_path}/main.conf", "include ashore/mounted/a.example:*.conf;", "main", "a.example")
    assert step.check(System()) == []
    with pytest.raises(Refused, match="does not include apps below a path of"):
        replace(step, line="include ashore/mounted/b.example:*.conf;", domain="b.example").check(System())


def test_a_port_is_part_of_urls_and_of_what_the_app_is_asked_for():
    site = Site((DOMAIN,), tls="files", own_port=8443, hsts_days=7)
    text = site_text(SHOP, site, {}, "1.22.1")
    assert site.url == f"https://{DOMAIN}:8443/" and "set $ashore_host $host:8443;" in text
    assert "listen 8443 ssl http2;" in text and "listen 443" not in text and "listen 80" not in text
    assert "ashore_hsts" not in text, "it would hold for all ports of the domain"
    assert PROXY.described(site, "1.26.3") == "Nginx, port 8443 (HTTP/2)"
    assert "listen 80;" in site_text(SHOP, replace(site, tls="acme"), {}, "1.22.1"), "for the validation of the name"
    assert Site(("fd00::7",), own_port=8001).url == "http://[fd00::7]:8001/"


def test_an_app_below_a_path_gets_its_own_files_limits_and_maintenance():
    app = replace(SHOP, mount="/blog", static=(("/static/", "static"),), health_path="/healthz", requests_per_second=5)
    site = replace(BLOG, guest_of="main")
    text = site_text(app, site, {}, "1.22.1", "nginx/mount.conf.j2")
    for line in (
        "location = /blog {",
        "location ^~ /blog/static/ {",
        "location ^~ /blog/ {",
        "location = /blog/healthz {",
        "location @shop_stream {",
        "limit_req zone=shop burst=10 nodelay;",
        "if (-f /srv/shop/maintenance/on) {",
        "access_log /var/log/nginx/shop/access.log ashore",
    ):
        assert line in text, line
    assert "server_name" not in site_text(app, site, {}, "1.22.1")


def served(app: Any, kind: str, tmp_path: Path) -> dict[str, Any]:
    """The module around an app, as the runner imports it; the app is `told` what comes."""
    names: dict[str, Any] = {}
    (text,) = [text for name, text in runner_of(app).files(app, 2).items() if name == "ashore_served.py"]
    code = text.replace('importlib.import_module("shop").app', f"{kind}")
    names |= {"wsgi": wsgi, "asgi": asgi}
    exec(compile(code, "ashore_served.py", "exec"), names)
    return names


def wsgi(environ: dict[str, str], start: Any) -> list[str]:
    return [environ["SCRIPT_NAME"], environ["PATH_INFO"]]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    send((scope.get("root_path"), scope.get("path")))


@pytest.mark.parametrize(
    ("asked", "told"),
    [("/blog/", "/"), ("/blog/a/b", "/a/b"), ("/blog", ""), ("/healthz", "/healthz"), ("/blogger", "/blogger")],
)
def test_the_app_is_told_below_which_path_it_is(tmp_path: Path, asked: str, told: str):
    app = replace(SHOP, mount="/blog", wsgi="shop:app")
    made = served(app, "wsgi", tmp_path)["app"]
    assert made({"PATH_INFO": asked, "SCRIPT_NAME": ""}, None) == ["/blog", told]
    app = replace(SHOP, mount="/blog", wsgi="", asgi="shop:app")
    made, said = served(app, "asgi", tmp_path)["app"], []
    asyncio.run(made({"type": "http", "path": asked, "headers": []}, None, said.append))
    assert said == [("/blog", f"/blog{told}" if told else "/blog")]


def test_every_runner_serves_an_app_below_its_path():
    for name in ("gunicorn", "uvicorn", "hypercorn", "granian"):
        kind = {"asgi": "shop:app", "wsgi": ""} if name in ("uvicorn", "hypercorn") else {}
        app = replace(SHOP, mount="/blog", runner=name, **kind)
        assert "ashore_served" in runner_of(app).command(app, "%i"), name
        assert 'MOUNT = "/blog"' in runner_of(app).files(app, 2)["ashore_served.py"], name
        assert runner_of(app).command(app, "%i") != "" and "MOUNT" not in str(
            runner_of(app).files(replace(app, mount=""), 2)
        )
    app = replace(SHOP, mount="/blog", runner="waitress")
    assert " --url-prefix=/blog " in runner_of(app).command(app, "%i")


def test_a_stage_s_port_and_path_become_those_of_its_site():
    stage = Stage("production", ("root@203.0.113.7",), domain=DOMAIN, tls="off", path="/blog/")
    assert site_of(stage, "203.0.113.7", False, Path()).path == "/blog/"
    stage = Stage("production", ("root@203.0.113.7",), port=8001)
    site = site_of(stage, "203.0.113.7", False, Path())
    assert (site.own_port, site.port, site.url) == (8001, 8001, "http://203.0.113.7:8001/")
