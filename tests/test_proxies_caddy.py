"""Caddy's part: what it is configured with, what its lines say, and what it cannot do."""

import ipaddress
import json
import re
from pathlib import Path

import pytest
from test_plans import SHOP, SITE

from deploy.agent.dataclass import replace
from deploy.agent.questions.journal import file_line
from deploy.agent.questions.json_lines import readable
from deploy.agent.resources.config_files import ConfigFiles, Including, SiteFiles
from deploy.agent.resources.files import Absent, File
from deploy.agent.resources.host.machine import Port
from deploy.agent.resources.serving.caddy import OwnCaddyfile, Regrouped, SiteNames, names_in
from deploy.agent.resources.serving.rivals import Rival, others, require_alone
from deploy.agent.resources.serving.services import Service
from deploy.agent.resources.serving.traffic import Log
from deploy.agent.resources.tls.certificates import Placeholder, read_certificate
from deploy.agent.system import System
from deploy.agent.wire import Failed, Refused, Secret
from deploy.ci import limits
from deploy.config.reader import read
from deploy.config.site import Site, own_lines
from deploy.errors import ConfigError
from deploy.stack.networks import pattern_of
from deploy.stack.proxies import proxy, proxy_of
from deploy.stack.proxies.caddy import PROXY, site_text
from deploy.verbs.logs import require_one_of

CADDY = replace(SHOP, proxy="caddy")
LINE = {
    "level": "info", "ts": "2026-11-28T03:24:31.302+00:00", "logger": "http.log.access.log1", "msg": "handled request",
    "request": {
        "remote_ip": "192.0.2.7", "remote_port": "59214", "proto": "HTTP/2.0", "method": "GET",
        "host": "shop.example.com", "uri": "/x?y=1", "headers": {"User-Agent": ["curl/7.88.1"]},
    },
    "user_id": "", "duration": 0.0015231, "size": 392, "status": 200, "resp_headers": {"X-Request-Id": ["17c1"]},
}  # fmt: skip


def written(**changed: object) -> str:
    return json.dumps({**LINE, **changed}, separators=(",", ":"))


def test_a_line_of_the_access_log_counts_by_its_time_status_and_duration(tmp_path: Path):
    path = tmp_path / "access.log"
    lines = [
        written(),
        written(status=502, duration=1.2e-05),
        written(status=304, duration=2),
        '{"level":"error","ts":"2026-11-28T03:24:31.302+00:00","msg":"something else"}',
    ]
    path.write_text("\n".join(lines) + "\n")
    found = Log(str(path), PROXY.access_line).before()
    assert (found.requests, found.errors) == (3, 1)


def test_a_visitor_cannot_write_a_status_or_a_duration_into_the_log(tmp_path: Path):
    forged = {
        "uri": '/","status":500,"duration":9e9,',
        "headers": {"Status": ["500"], "User-Agent": ['","status":500,']},
    }
    (tmp_path / "access.log").write_text(written(request={**LINE["request"], **forged}) + "\n")
    found = Log(str(tmp_path / "access.log"), PROXY.access_line).before()
    assert (found.requests, found.errors) == (1, 0)


def test_its_lines_are_shown_as_those_of_other_proxies():
    line = file_line("/var/log/caddy/shop/access.log", written(), 0.0)
    assert line["source"] == "caddy/access.log" and line["level"] == 6 and line["time"] == 1795836271.302
    assert line["text"] == '192.0.2.7 "GET /x?y=1 HTTP/2.0" 200 392 0.002 s, "-" "curl/7.88.1" 17c1'
    assert file_line("/var/log/caddy/shop/access.log", written(status=502), 0.0)["level"] == 3


def test_a_line_that_is_cut_off_or_none_of_a_request_is_shown_as_it_is():
    for text in (written()[:-20], "{}", '{"ts": 3, "request": {}}', '{"ts": "2026-11-28", "request": []}', "{x"):
        assert readable(text) is None
        assert file_line("/var/log/caddy/shop/access.log", text, 7.0)["text"] == text


def test_behind_another_proxy_a_line_says_for_whom_it_asked():
    headers = {"X-Forwarded-For": ['203.0.113.9", "x']}
    shown = readable(written(request={**LINE["request"], "headers": headers}))
    assert shown and shown[2].endswith(' "-" "-" 17c1, for "203.0.113.9\\", \\"x"')


def test_what_a_visitor_sends_stays_on_its_line():
    shown = readable(written(request={**LINE["request"], "uri": '/a"b\n2026'}))
    assert shown and '"GET /a\\"b\\n2026 HTTP/2.0"' in shown[2]


@pytest.mark.parametrize(
    ("network", "within", "outside"),
    [
        ("10.0.0.0/8", "10.1.2.3 10.255.0.1", "11.0.0.1 110.0.0.1 1.10.0.1"),
        ("192.0.2.64/26", "192.0.2.64 192.0.2.127", "192.0.2.63 192.0.2.128"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.70 192x0.2.7"),
        ("2400:cb00::/32", "2400:cb00:1::2 2400:cb00::1", "2400:cb01::1"),
        ("2001:db8::1", "2001:db8::1", "2001:db8::11"),
        ("2001:db8::/48", "", "2001:db8::1"),
    ],
)
def test_a_network_is_a_pattern_for_its_addresses(network: str, within: str, outside: str):
    pattern = re.compile(pattern_of((network,)))
    assert all(pattern.fullmatch(address) for address in within.split())
    assert not any(pattern.fullmatch(address) for address in outside.split())


def test_the_pattern_never_takes_an_address_that_is_in_no_network():
    networks = ("172.16.0.0/12", "198.51.100.0/23", "203.0.113.129/32")
    pattern = re.compile(pattern_of(networks))
    around = [
        n
        for network in map(ipaddress.ip_network, networks)
        for n in (network[0] - 1, network[0], network[-1], network[-1] + 1)
    ]
    assert all(bool(pattern.fullmatch(str(a))) == any(a in ipaddress.ip_network(n) for n in networks) for a in around)


def test_a_setting_that_it_lacks_is_an_error_with_the_line_and_what_to_do():
    source = '[app]\nname = "shop"\nwsgi = "shop:app"\nproxy = "caddy"\nrequests_per_second = 20\n'
    table = {"name": "shop", "wsgi": "shop:app", "proxy": "caddy", "requests_per_second": 20}
    with pytest.raises(ConfigError, match=r"app\.requests_per_second: caddy cannot do this") as failure:
        read({"app": table}, source, Path())
    assert (
        "line 5" in failure.value.where and 'remove requests_per_second, or set proxy = "nginx"' in failure.value.hint
    )
    read({"app": {**table, "requests_per_second": 0}}, source, Path())


CLOSED = replace(SITE, closed=True, logins=Secret("ada:$2y$05$abcdefghij\n"))


def test_visitors_log_in_by_passwords_that_caddy_knows():
    text = site_text(replace(CADDY, health_path="/healthz"), CLOSED, {})
    assert text.count("basicauth @shop_login bcrypt shop") == 1 and "request_header -Authorization" in text
    assert "not path_regexp `^/healthz$`" in text.partition("@shop_login")[2].partition("basicauth")[0]
    parts = {part.path: part for part in PROXY.site(CADDY, CLOSED, {}, "2.6.2-5").parts}
    written = parts["/etc/caddy/ashore/logins/shop"]
    assert isinstance(written, File) and isinstance(written.content, Secret) and written.group == "caddy"
    assert written.text == "ada $2y$05$abcdefghij\n" and written.mode == 0o640
    opened = {part.path: part for part in PROXY.site(CADDY, SITE, {}, "2.6.2-5").parts}
    assert isinstance(opened["/etc/caddy/ashore/logins/shop"], Absent)
    with pytest.raises(ConfigError, match="cannot read entry 1 of basic_auth: it knows passwords by bcrypt only"):
        PROXY.site(CADDY, replace(CLOSED, logins=Secret("ada:$6$abcdefgh\n")), {}, "2.6.2-5")


def test_own_lines_are_those_for_the_app_s_proxy(tmp_path: Path):
    lines = tmp_path / "ashore" / "nginx" / "server.conf"
    lines.parent.mkdir(parents=True)
    lines.write_text("add_header X-Own yes;\n")
    with pytest.raises(ConfigError, match="has lines for another proxy than caddy") as failure:
        own_lines(tmp_path, "caddy")
    assert "ashore/caddy/site.caddy" in failure.value.hint
    own = tmp_path / "ashore" / "caddy" / "site.caddy"
    own.parent.mkdir()
    own.write_text("header X-Own yes\n")
    assert own_lines(tmp_path, "caddy") == "header X-Own yes\n" and "add_header" in own_lines(tmp_path, "nginx")
    site = replace(SITE, snippet="header X-Own yes\n")
    assert "import /etc/caddy/ashore/own/shop.caddy" in site_text(CADDY, site, {})
    files = PROXY.site(CADDY, site, {}, "2.6.2-5")
    assert isinstance(files, SiteFiles) and files.own == "/etc/caddy/ashore/own/shop.caddy"
    said = (
        "Error: adapting config using caddyfile: parsing caddyfile tokens for 'route': "
        "/etc/caddy/ashore/own/shop.caddy:3 - Error during parsing: unrecognized directive: foo"
    )
    found = re.search(files.wrong.replace("FILE", re.escape(files.own)), said)
    assert found and found["line"] == "3" and found["what"] == "unrecognized directive: foo"
    said = said.replace("own/shop.caddy:3", "sites/shop.caddy:99")
    text = File(f"{tmp_path}/own", "# head\nheader X yes\nfoo bar\n", 0o600)
    step = replace(files, parts=(text,), test=("sh", "-c", f'echo "{said}" >&2; exit 1'), own=text.path)
    with pytest.raises(Failed, match=r"ashore/caddy/site\.caddy, line 2: unrecognized directive: foo"):
        step.apply(System())


def test_a_proxy_that_there_is_not_is_an_error():
    with pytest.raises(ConfigError, match=r'app\.proxy should be one of "nginx" and "caddy"|app\.proxy should be'):
        read({"app": {"name": "shop", "wsgi": "shop:app", "proxy": "apache"}}, "", Path())


def test_a_ci_key_does_not_change_the_proxy():
    allowed = limits.read(limits.recorded(CADDY, SITE))
    assert limits.beyond(CADDY, allowed) == []
    assert limits.beyond(SHOP, allowed) == ['proxy = "nginx" (allowed: "caddy")']


def test_logs_of_another_proxy_are_refused():
    require_one_of("caddy", ["caddy"], "shop")
    with pytest.raises(ConfigError, match="shop is served by caddy, so nginx has no lines of it"):
        require_one_of("caddy", ["nginx"], "shop")


def test_it_gets_one_site_for_all_names_and_never_listens_for_more():
    text = site_text(CADDY, Site(("shop.example.com",), ("www.shop.example.com",), "acme"), {})
    assert names_in(text) == {"shop.example.com", "www.shop.example.com"}
    assert names_in(site_text(CADDY, Site(("2001:db8::1",)), {})) == {"2001:db8::1"}


def test_a_port_is_one_app_s(tmp_path: Path):
    site = Site(("203.0.113.10",), own_port=8443)
    (tmp_path / "blog.caddy").write_text(site_text(replace(CADDY, name="blog"), site, {}))
    own = str(tmp_path / "shop.caddy")
    assert SiteNames(("203.0.113.10",), own, str(tmp_path)).check(System()) == []
    with pytest.raises(Refused, match="port 8443 is that of another site on this server: the app blog"):
        SiteNames(("shop.example.com", ""), own, str(tmp_path), 8443).check(System())
    _, names = PROXY.names(CADDY, site)
    assert isinstance(names, SiteNames) and (names.names, names.port) == (("203.0.113.10", ""), 8443)


def test_below_a_path_its_requests_are_found_in_the_log_of_the_domain_s_app(tmp_path: Path):
    below = Site(("shop.example.com",), path="/wiki/", guest_of="shop")
    assert PROXY.access_log("wiki", below) == "/var/log/caddy/shop/access.log"
    assert PROXY.access_log("shop", SITE) == "/var/log/caddy/shop/access.log"
    paths = ["/wiki/", "/wiki/x?y", "/", "/x?/wiki/", '/","uri":"/wiki/']
    (tmp_path / "access.log").write_text(
        "".join(f"{written(request={**LINE['request'], 'uri': path})}\n" for path in paths)
    )
    assert Log(str(tmp_path / "access.log"), PROXY.line_of(below)).before().requests == 2
    assert Log(str(tmp_path / "access.log"), PROXY.line_of(SITE)).before().requests == 5


def test_an_app_below_a_path_needs_a_site_that_imports_it(tmp_path: Path):
    below = Site(("shop.example.com",), path="/wiki/", guest_of="shop")
    (step,) = PROXY.names(replace(CADDY, name="wiki"), below)
    assert isinstance(step, Including) and step.path == "/etc/caddy/ashore/sites/shop.caddy"
    (tmp_path / "shop.caddy").write_text(site_text(CADDY, replace(SITE, path=""), {}))
    assert replace(step, path=str(tmp_path / "shop.caddy")).check(System()) == []
    (tmp_path / "shop.caddy").write_text("")
    with pytest.raises(Refused, match="does not include apps below a path"):
        replace(step, path=str(tmp_path / "shop.caddy")).check(System())


def test_a_name_of_another_app_is_refused(tmp_path: Path):
    (tmp_path / "blog.caddy").write_text(site_text(replace(CADDY, name="blog"), Site(("blog.example.com",)), {}))
    own = str(tmp_path / "shop.caddy")
    assert SiteNames(("shop.example.com",), own, str(tmp_path)).check(System()) == []
    with pytest.raises(Refused, match=r"blog\.example\.com is the name of another site .* the app blog"):
        SiteNames(("shop.example.com", "blog.example.com"), own, str(tmp_path)).check(System())
    (tmp_path / "blog.caddy").rename(own)
    assert SiteNames(("blog.example.com",), own, str(tmp_path)).check(System()) == []


def of_systemd(**units: dict[str, str]) -> System:
    system = System()
    system.unit = lambda name: units.get(name.partition(".")[0], {})  # type: ignore[method-assign]
    return system


RUNS = {"ActiveState": "active", "MainPID": "0"}


def rival(tmp_path: Path) -> Rival:
    return Rival("nginx", "Nginx", (f"{tmp_path}/*",), ("default", "ashore-strangers.conf"))


def test_a_proxy_that_serves_others_keeps_its_ports(tmp_path: Path):
    ours = "# Written by Ashore from templates/nginx/site.conf.j2: edit that\n"
    for name, text in {"default": "", "ashore-strangers.conf": ours, "shop.conf": ours}.items():
        (tmp_path / name).write_text(text)
    require_alone(rival(tmp_path), "shop", "caddy")
    (tmp_path / "blog.conf").write_text(ours)
    (tmp_path / "own.conf").write_text("server {}")
    assert others(rival(tmp_path), "shop") == ["the app blog", f"{tmp_path}/own.conf"]
    with pytest.raises(Refused, match="ports 80 and 443 are used by Nginx, which serves the app blog,") as failure:
        require_alone(rival(tmp_path), "shop", "caddy")
    assert 'set proxy = "nginx" in [app], or deploy shop to another server' in failure.value.hint
    with pytest.raises(Refused, match="the app shop on this server"):
        require_alone(rival(tmp_path), "another", "caddy")


def test_a_file_of_the_app_s_name_that_is_not_the_kit_s_is_another_site(tmp_path: Path):
    (tmp_path / "shop.conf").write_text("server {}")
    assert others(rival(tmp_path), "shop") == [f"{tmp_path}/shop.conf"]


def test_a_proxy_yields_to_the_one_that_serves_until_a_deploy_takes_over(tmp_path: Path):
    (tmp_path / "default").touch()
    both = of_systemd(nginx=RUNS)
    service = Service("caddy.service", enabled=True, app="shop", rivals=(rival(tmp_path),), yields=True)
    assert service.check(both) == []
    taking = replace(service, yields=False).check(both)
    assert ("ports 80 and 443", "used by Nginx", "taken over; the site is down for a second") in [
        (drift.what, drift.found, drift.wanted) for drift in taking
    ]
    assert {drift.what for drift in service.check(of_systemd())} == {"state", "at boot"}
    assert service.units == ("caddy.service", "nginx.service")


def test_after_an_interrupted_takeover_only_one_proxy_starts_at_boot(tmp_path: Path):
    both = of_systemd(nginx={"UnitFileState": "enabled"}, caddy={**RUNS, "UnitFileState": "enabled"})
    service = Service("caddy.service", enabled=True, app="shop", rivals=(rival(tmp_path),))
    (drift,) = service.check(both)
    assert (drift.what, drift.found) == ("Nginx at boot", "enabled")
    assert replace(service, yields=True).check(both) == [] == replace(service, enabled=None).check(both)


def test_every_proxy_knows_all_others_as_rivals():
    assert [other.name for other in proxy_of(CADDY).rivals] == ["nginx"]
    assert [other.name for other in proxy().rivals] == ["caddy"]
    ports = [step for step in PROXY.free(CADDY) if isinstance(step, Port)]
    assert [(port.number, port.app) for port in ports] == [(80, "shop"), (443, "shop")]


def test_a_caddyfile_of_somebody_is_not_taken_out_of_service(tmp_path: Path):
    (tmp_path / "Caddyfile").write_text("example.com {\n}\n")
    step = OwnCaddyfile(str(tmp_path / "drop-in"), str(tmp_path / "Caddyfile"))
    assert step.check(of_systemd()) == []
    with pytest.raises(Refused, match=r"serves the sites of .*Caddyfile, and would no longer do so"):
        step.check(of_systemd(caddy=RUNS))
    (tmp_path / "drop-in").touch()
    assert step.check(of_systemd(caddy=RUNS)) == []


def test_a_process_that_is_not_in_the_app_s_group_is_replaced():
    import os

    running = of_systemd(caddy={"MainPID": str(os.getpid())})
    assert Regrouped("no-such-group", ()).check(running) == []
    assert Regrouped("nogroup", ()).check(of_systemd()) == []
    (drift,) = Regrouped("nogroup", ()).check(running)
    assert drift.wanted == "nogroup"


def test_a_self_signed_certificate_has_the_names_of_the_site(tmp_path: Path):
    step = Placeholder(str(tmp_path), "root", ("shop.example.com", "www.shop.example.com"))
    Placeholder(str(tmp_path), "root").apply(System())
    assert step.check(System())[0].found == "self-signed, without names"
    step.apply(System())
    found = read_certificate(f"{tmp_path}/live/fullchain.pem")
    assert found and found.names == {"shop.example.com", "www.shop.example.com"} and step.check(System()) == []


def test_files_that_caddy_reads_together_wait_for_its_other_runs():
    steps = [*PROXY.serving(CADDY, False), PROXY.site(CADDY, SITE, {}, "2.6.2-5", False)]
    assert {step.shares for step in steps if isinstance(step, (ConfigFiles, Service, Regrouped))} == {"caddy"}


def test_how_visitors_reach_it_is_told():
    assert PROXY.described(replace(SITE, tls="off"), "2.6.2-5") == "Caddy, port 80"
    assert PROXY.described(replace(SITE, tls="acme"), "2.6.2-5") == "Caddy, port 443 (HTTP/2)"
