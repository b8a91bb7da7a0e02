"""Settings of a site: what they become in its config, and what is refused."""

import gzip
import os
from pathlib import Path
from typing import Any

import pytest
from test_plans import SHOP, SITE

from deploy.agent.dataclass import replace
from deploy.agent.resources.config_files import SiteFiles
from deploy.agent.resources.files import Absent, File
from deploy.agent.resources.release.packed import Packed, compressed_in, files_below
from deploy.agent.system import System
from deploy.agent.wire import Failed
from deploy.ci.limits import site_from_json, site_to_json
from deploy.config.cdn import CDNS
from deploy.config.reader import Stage, read
from deploy.config.site import Site, in_front, logins, own_lines, site_of
from deploy.config.values import Wrong, network, redirects
from deploy.errors import ConfigError
from deploy.stack.proxies.nginx import PROXY, site_text

HASH = "$6$saltsalt$" + "x" * 86
STAGE = Stage("production", ("root@203.0.113.7",), domain="shop.example.com", tls="off")


def shown(app: Any = SHOP, site: Site = SITE) -> str:
    return site_text(app, site, {}, "1.22.1")


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"old": "/new"}, "should be a path like /old"),
        ({"/": "/new/"}, "not just /"),
        ({"//evil": "/x"}, "should be a path like /old"),
        ({"/a b": "/x"}, "should be a path like /old"),
        ({"/a": "/b?x=1"}, "without a query"),
        ({"/a": "//evil.example/"}, "a target is a path"),
        ({"/a": "javascript:alert(1)"}, "a target is a path"),
        ({"/a": "https://user@evil.example/"}, "a target is a path"),
        ({"/a": "/$host"}, "a target is a path"),
        ({"/a": "/b;}"}, "a target is a path"),
        ({"/a/": "https://blog.example.com"}, "must end with /, too"),
        ({"/a/": "/b"}, "must end with /, too"),
        ({"/a": "/a"}, "leads in a circle"),
        ({"/a": "/b", "/b": "/c", "/c": "/a"}, "leads in a circle"),
        ({"/a/": "/a/b/"}, "leads in a circle"),
        ({"/a/": "/b/", "/b/": "/a/"}, "leads in a circle"),
        ({"/a/": "/b/", "/b/x": "/a/x"}, "leads in a circle"),
        ({"/a/": "/b/", "/b/": "/c/"}, None),
        ({"/a": 5}, "should be a string"),
        (["/a"], "should be a table"),
    ],
)
def test_a_redirect_that_is_none_is_refused(table: Any, why: str | None):
    if why is None:
        assert redirects(table)
        return
    with pytest.raises(Wrong) as wrong:
        redirects(table)
    assert why in str(wrong.value)


def config(app: str, stage: str = "", static: str = "") -> Any:
    import tomllib

    text = f'[app]\nname = "shop"\nwsgi = "shop:app"\nhealth_path = "/healthz"\n{static}{app}\n'
    text += f'[stages.production]\nhosts = ["web1"]\ndomain = "shop.example.com"\n{stage}\n'
    return read(tomllib.loads(text), text, Path())


@pytest.mark.parametrize(
    ("app", "static", "why"),
    [
        ('redirects = { "/healthz" = "/x" }', "", "would redirect health_path"),
        ('redirects = { "/static/" = "/x/" }', 'static = { "/static/" = "static" }\n', "but static has"),
        ('redirects = { "/a" = "https://shop.example.com/a" }', "", "by the site's own domain"),
        ('redirects = { "/a/" = "https://shop.example.com/a/b/" }', "", "by the site's own domain"),
    ],
)
def test_a_redirect_that_hides_what_is_served_or_comes_back_is_refused(app: str, static: str, why: str):
    with pytest.raises(ConfigError, match="redirects") as refused:
        config(app, "", static)
    assert why in refused.value.what


def test_redirects_keep_the_query_and_lead_to_the_site_s_own_name():
    app = replace(SHOP, redirects=(("/blog/", "https://blog.example.com/"), ("/old", "/new")))
    text = shown(app)
    assert "location = /old {\n        return 308 $ashore_scheme://$ashore_host/new$is_args$args;" in text
    assert 'if ($request_uri ~ "^/blog/([^?]*)")' in text
    assert "return 308 https://blog.example.com/$1$is_args$args;" in text
    below = site_text(
        replace(app, mount="/s"), replace(SITE, path="/s/", guest_of="m"), {}, "1.22", "nginx/mount.conf.j2"
    )
    assert "location = /s/old {" in below and "$ashore_host/s/new$is_args" in below


def test_a_stage_behind_a_cdn_trusts_its_networks_and_its_header():
    found = in_front(replace(STAGE, cdn="cloudflare", trusted_proxies=("192.0.2.0/24",), cdn_only=True))
    assert found["client_header"] == "CF-Connecting-IP" and found["only_proxied"]
    assert "104.16.0.0/13" in found["trusted_proxies"] and "192.0.2.0/24" in found["trusted_proxies"]
    text = shown(SHOP, replace(SITE, tls="files", **found))
    assert "real_ip_header CF-Connecting-IP;" in text and "set_real_ip_from 2606:4700::/32;" in text
    assert "if ($shop_refused) {\n        return 444;" in text
    assert 'if ($shop_scheme = https) {\n        set $ashore_send_on "";' in text, "no circle of redirects"
    assert "X-Forwarded-For;" in shown(SHOP, replace(SITE, trusted_proxies=("192.0.2.1",)))


def test_the_networks_of_cdns_are_networks_and_none_is_twice():
    for cdn in CDNS.values():
        assert [network(one) for one in cdn.networks] == list(dict.fromkeys(cdn.networks))
        assert cdn.source.startswith("https://")


def test_only_the_cdn_needs_a_cdn():
    with pytest.raises(ConfigError, match="cdn_only needs cdn, or trusted_proxies"):
        config("", "cdn_only = true")
    with pytest.raises(ConfigError, match=r"did you mean cloudflare\?"):
        config("", 'cdn = "cloudflair"')
    assert config("", 'cdn = "fastly"\ncdn_only = true').stages[0].cdn == "fastly"


@pytest.mark.parametrize(
    "line",
    [
        f"ada:{HASH}",
        "ada:$apr1$abcdefgh$0123456789012345678901",
        "ada:$2y$10$" + "x" * 53,
        "a@b.c:$y$j9T$salt$" + "x" * 43,
    ],
)
def test_hashed_passwords_are_taken_as_tools_write_them(tmp_path: Path, line: str):
    (tmp_path / "users").write_text(f"# a comment\n\n{line}\n")
    assert logins(tmp_path, "users") == f"{line}\n"


@pytest.mark.parametrize(
    "line", ["ada:secret", "ada", ":$6$x$yyyyyyyyyy", "ada:$1$salt$hashhashhash", f"a b:{HASH}", "ada:{SHA}x"]
)
def test_plain_and_weak_passwords_are_refused_and_not_shown(tmp_path: Path, line: str):
    (tmp_path / "users").write_text(f"bob:{HASH}\n{line}\n")
    with pytest.raises(ConfigError, match="entry 2 of users is not a user and a hashed password") as refused:
        logins(tmp_path, "users")
    assert "secret" not in str(refused.value) and "openssl passwd -6" in refused.value.hint


def test_a_file_without_users_would_let_nobody_in(tmp_path: Path):
    (tmp_path / "users").write_text("# nobody\n")
    with pytest.raises(ConfigError, match="names no user"):
        logins(tmp_path, "users")
    with pytest.raises(ConfigError, match="cannot be read"):
        logins(tmp_path, "none")


def test_logins_are_a_secret_of_root_and_the_proxy(tmp_path: Path):
    (tmp_path / "users").write_text(f"ada:{HASH}\n")
    site = site_of(replace(STAGE, basic_auth="users"), "203.0.113.7", False, tmp_path)
    assert HASH not in repr(site) and site.closed
    (file,) = [part for part in PROXY.site(SHOP, site, {}, "1.22.1").parts if part.path == "/srv/shop/logins"]
    assert (file.text, file.mode, file.group) == (f"ada:{HASH}\n", 0o640, "shop") and HASH not in repr(file)
    text = shown(SHOP, site)
    assert text.count("auth_basic ") == 1 and 'proxy_set_header Authorization "";' in text
    assert "location = /healthz {\n        allow all;" in shown(replace(SHOP, health_path="/healthz"), site)


def test_a_ci_key_s_deploy_keeps_the_logins_and_the_lines_of_the_operator():
    site = replace(SITE, closed=True, snippet="add_header X-Own yes;\n", path="", own_port=8001)
    kept = site_from_json(site_to_json(replace(site, logins=type(site.logins)("ada:x"))))
    assert kept == site
    assert "/srv/shop/logins" not in [part.path for part in PROXY.site(SHOP, kept, {}, "1.22.1").parts]
    (gone,) = [part for part in PROXY.site(SHOP, SITE, {}, "1.22.1").parts if part.path == "/srv/shop/logins"]
    assert isinstance(gone, Absent)


def test_the_project_s_own_lines_are_included_and_an_error_names_their_line(tmp_path: Path):
    own = tmp_path / "ashore" / "nginx" / "server.conf"
    assert own_lines(tmp_path, "nginx") == ""
    own.parent.mkdir(parents=True)
    own.write_text("add_header X-Own yes;\n")
    site = site_of(STAGE, "203.0.113.7", False, tmp_path)
    assert site.snippet == "add_header X-Own yes;\n"
    files = PROXY.site(SHOP, site, {}, "1.22.1")
    assert "include ashore/own/shop.conf;" in shown(SHOP, site)
    assert [part.text.partition("\n")[2] for part in files.parts if part.path.endswith("own/shop.conf")] == [
        site.snippet
    ]
    said = f"echo '[emerg] 12#12: unknown directive \"x\" in {tmp_path}/own.conf:4' >&2; exit 1"
    step = SiteFiles(
        "site",
        (File(f"{tmp_path}/own.conf", "x", 0o600),),
        ("sh", "-c", said),
        own=f"{tmp_path}/own.conf",
        origin="mine",
        wrong=files.wrong,
    )
    with pytest.raises(Failed, match='mine, line 3: unknown directive "x"'):
        step.apply(System())
    assert not (tmp_path / "own.conf").exists()


def test_uploads_are_streamed_and_scans_answered_by_settings():
    assert "proxy_request_buffering off;" in shown(replace(SHOP, stream_uploads=True))
    assert "proxy_request_buffering" not in shown()
    assert "if ($ashore_scan) {" in shown() and "$ashore_scan" not in shown(replace(SHOP, block_scans=False))


STATIC = replace(SHOP, static=(("/static/", "static"),))


def test_compressed_files_are_looked_for_unless_that_is_off():
    assert "gzip_static on;" in shown(STATIC) and "static$ashore_br/,static," in shown(STATIC)
    assert "gzip_static" not in shown(replace(STATIC, precompressed=False))


def release(top: Path, name: str) -> Path:
    made = top / name
    (made / "source" / "static" / "deep").mkdir(parents=True)
    return made


@pytest.fixture
def group() -> str:
    import grp

    return grp.getgrgid(os.getgid()).gr_name


def test_text_is_compressed_once_and_small_or_packed_files_are_not(tmp_path: Path, group: str):
    made = release(tmp_path, "1")
    static = made / "source" / "static"
    (static / "deep" / "a.css").write_text("a { color: red }\n" * 200)
    (static / "small.css").write_text("a {}")
    (static / "noise.js").write_bytes(os.urandom(3000))
    (static / "photo.jpg").write_bytes(b"x" * 5000)
    (static / "own.js").write_text("x = 1;\n" * 500)
    (static / "own.js.gz").write_bytes(b"made by the project")
    (static / "own.js.br").write_bytes(b"brotli of the project")
    step = Packed(str(made), group, ((",static,", "static"),))
    assert step.check(System())
    step.apply(System())
    assert step.check(System()) == []
    packed = made / "packed" / ",static,"
    found = sorted(path.relative_to(packed).as_posix() for path in packed.rglob("*.gz"))
    assert found == ["deep/a.css.gz", "own.js.gz"]
    assert gzip.decompress((packed / "deep" / "a.css.gz").read_bytes()) == (static / "deep" / "a.css").read_bytes()
    assert (packed / "own.js.gz").read_bytes() == b"made by the project"
    assert (made / "static.br" / ",static," / "own.js").read_bytes() == b"brotli of the project"
    assert (packed / "photo.jpg").stat().st_ino == (static / "photo.jpg").stat().st_ino, "hard links take no room"


def test_a_file_that_is_as_before_is_not_compressed_again(tmp_path: Path, group: str):
    old, new = release(tmp_path, "1"), release(tmp_path, "2")
    (old / "source" / "static" / "a.css").write_text("a { color: red }\n" * 200)
    Packed(str(old), group, ((",static,", "static"),)).apply(System())
    os.link(old / "source" / "static" / "a.css", new / "source" / "static" / "a.css")
    assert len(dict(compressed_in(str(old)))) >= 1
    Packed(str(new), group, ((",static,", "static"),), str(old)).apply(System())
    assert (new / "packed/,static,/a.css.gz").stat().st_ino == (old / "packed/,static,/a.css.gz").stat().st_ino


def test_links_among_static_files_lead_nowhere_outside_of_the_source(tmp_path: Path, group: str):
    made = release(tmp_path, "1")
    static = made / "source" / "static"
    (made / "source" / "shared.css").write_text("b {}")
    (tmp_path / "secret.txt").write_text("secret")
    os.symlink("../shared.css", static / "shared.css")
    os.symlink(tmp_path / "secret.txt", static / "secret.txt")
    os.symlink(".", static / "loop")
    found = list(files_below(str(static), f"{made}/source"))
    assert "shared.css" in found and not any("secret" in path for path in found)
    Packed(str(made), group, ((",static,", "static"),)).apply(System())
    assert (made / "packed" / ",static," / "shared.css").read_text() == "b {}"
