"""Two sites on one server: what collides is seen before anything is changed."""

from pathlib import Path

import pytest

from deploy.agent.resources.serving.nginx_default import DefaultServer
from deploy.agent.resources.serving.nginx_sites import ServerNames, normal, servers
from deploy.agent.system import System
from deploy.agent.wire import Refused
from deploy.config.reader import App
from deploy.config.site import Site
from deploy.stack.proxies.nginx import PROXY, site_text

MAIN = """
events { worker_connections 768; }
http {
    include mime.types;
    log_format odd '{ server_name shop.example.com; } "$request"';
    include conf.d/*.conf;  # include /nowhere;
    include sites-enabled/*;
}
stream { server { listen 1234; } }
"""
NAMES = ("shop.example.com", "www.shop.example.com")


class Nginx:
    """Its configuration, below a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("conf.d", "sites-enabled", "sites-available"):
            (directory / name).mkdir()
        self.main = directory / "nginx.conf"
        self.main.write_text(MAIN)

    def site(self, name: str, text: str) -> None:
        (self.directory / "sites-available" / name).write_text(text)
        (self.directory / "sites-enabled" / name).symlink_to(f"../sites-available/{name}")

    def app(self, name: str, site: Site) -> None:
        self.site(f"{name}.conf", site_text(App(name, "x:app"), site, {}, "1.22.1"))

    def check(self, *names: str, ports: tuple[int, ...] = (80, 443), listens: tuple[str, ...] = ()) -> None:
        own = str(self.directory / "sites-available" / "shop.conf")
        assert ServerNames(names or NAMES, ports, listens, own, str(self.main)).check(System()) == []


@pytest.fixture
def nginx(tmp_path: Path) -> Nginx:
    return Nginx(tmp_path)


def test_two_apps_with_names_of_their_own_go_together(nginx: Nginx):
    nginx.app("blog", Site(("blog.example.com",), ("www.blog.example.com",), "acme"))
    nginx.check()
    nginx.app("shop", Site(NAMES[:1], NAMES[1:], "acme"))
    nginx.check()


@pytest.mark.parametrize("site", [Site(NAMES[:1]), Site(("blog.example.com",), NAMES[1:]), Site(("b.example", *NAMES))])
def test_a_name_that_another_app_has_is_refused_with_the_app_s_name(nginx: Nginx, site: Site):
    nginx.app("blog", site)
    with pytest.raises(
        Refused, match=r"shop\.example\.com is the name of another site on this server: the app blog \("
    ):
        nginx.check()


@pytest.mark.parametrize(
    "text",
    [
        "server { server_name shop.example.com; }",
        "server{listen 80;server_name a.example SHOP.example.com;}",
        'server { listen [::]:80; server_name "shop.example.com" ; location ~ "^/x{2}$" { return 404; } }',
        "server { listen 443; location / { if ($x) { return 301 ${scheme}://x; } } server_name .shop.example.com; }",
        "# first\nserver { include sites-available/names; }",
    ],
)
def test_somebody_else_s_site_of_that_name_is_seen_in_all_its_spellings(nginx: Nginx, text: str):
    (nginx.directory / "sites-available" / "names").write_text("listen 192.0.2.1:80;\nserver_name shop.example.com;\n")
    (nginx.directory / "conf.d" / "own.conf").write_text(text)
    with pytest.raises(Refused, match=r"another site on this server: .*conf\.d/own\.conf"):
        nginx.check()


@pytest.mark.parametrize(
    "text",
    [
        "server { listen 8080; server_name shop.example.com; }",
        "server { server_name example.com *.example.com; }",
        "# server { server_name shop.example.com; }",
        "server { location / { proxy_set_header X 'server_name shop.example.com;'; } server_name x; }",
        "server { server_name x; # shop.example.com\n}",
        "upstream shop { server shop.example.com; }",
        "map $host $x { shop.example.com 1; }",
        'server { server_name "x',
        "} } { ;;; {",
    ],
)
def test_what_is_no_site_of_that_name_is_none(nginx: Nginx, text: str):
    (nginx.directory / "conf.d" / "own.conf").write_text(text)
    nginx.check()


def test_a_site_that_is_not_enabled_has_no_name(nginx: Nginx):
    (nginx.directory / "sites-available" / "own").write_text("server { server_name shop.example.com; }")
    (nginx.directory / "sites-enabled" / "gone.conf").symlink_to("../sites-available/gone.conf")
    nginx.check()


def test_of_two_sites_with_a_name_the_one_that_nginx_serves_keeps_it(nginx: Nginx):
    nginx.app("shop", Site(NAMES[:1]))
    nginx.app("wiki", Site(NAMES[:1]))  # read later: Nginx ignores its name
    nginx.check(NAMES[0])
    nginx.app("blog", Site(NAMES[:1]))
    with pytest.raises(Refused, match="the app blog"):
        nginx.check(NAMES[0])


def test_a_second_app_on_a_bare_address_is_refused_with_what_to_do(nginx: Nginx):
    bare = Site(("192.0.2.7",), tls="files")
    nginx.app("blog", bare)
    (step,) = PROXY.names(App("shop", "x:app"), bare)
    with pytest.raises(Refused, match=r"192\.0\.2\.7:443 is taken by another site .*blog") as raised:
        nginx.check(*step.names, ports=step.ports, listens=step.listens)
    assert "give each app its own `domain`" in raised.value.hint
    with pytest.raises(Refused, match=r"127\.0\.0\.1:443 is taken by another site"):
        nginx.check("198.51.100.7", listens=("198.51.100.7:443", "127.0.0.1:443"))


def test_an_address_from_the_command_line_that_is_taken_is_refused_with_how_to_go_without_it(nginx: Nginx):
    nginx.app("blog", Site(("blog.example.com", "192.0.2.7")))
    with pytest.raises(Refused, match="the app blog") as raised:
        nginx.check(*NAMES, "192.0.2.7")
    assert "instead of using -H" in raised.value.hint


def test_the_default_of_a_port_that_somebody_else_has_is_refused(nginx: Nginx):
    nginx.site("strangers.conf", "server { listen 80 default_server; listen [::]:80 default_server; }")
    ours = (str(nginx.directory / "sites-available" / "strangers.conf"),)
    step = DefaultServer(("*:80", "[::]:80"), ours, str(nginx.main))
    assert step.check(System()) == []
    nginx.site("own", "server { listen 0.0.0.0:80 default; }")
    with pytest.raises(Refused, match=r"sites-available/own on the server answers all host names on \*:80"):
        step.check(System())


def test_before_nginx_is_installed_there_are_no_other_sites(tmp_path: Path):
    main = str(tmp_path / "nginx.conf")
    assert list(servers(main)) == [] and DefaultServer(("*:80",), (), main).check(System()) == []


def test_files_that_include_each_other_have_an_end(nginx: Nginx):
    (nginx.directory / "conf.d" / "own.conf").write_text("include conf.d/*.conf;\nserver { server_name x; }\n")
    assert {server.names[0] for server in servers(str(nginx.main)) if server.names} == {"x"}


@pytest.mark.parametrize(
    ("listen", "found"),
    [
        ("80", "*:80"),
        ("*:443", "*:443"),
        ("0.0.0.0:80", "*:80"),
        ("[::]:443", "[::]:443"),
        ("[::1]", "[::1]:80"),
        ("192.0.2.7", "192.0.2.7:80"),
        ("localhost:8080", "localhost:8080"),
        ("unix:/run/x.sock", "unix:/run/x.sock:"),
    ],
)
def test_what_a_site_listens_on_has_one_form(listen: str, found: str):
    assert normal(listen) == found
