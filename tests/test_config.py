"""deploy.toml: what it may say, and how a mistake is told."""

import json
from pathlib import Path

import pytest

from deploy.agent.dataclass import fields
from deploy.config.reader import App, Stage, load
from deploy.config.values import login
from deploy.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
GOOD = '[app]\nname = "shop"\nwsgi = "shop:app"\n[stages.production]\nhosts = ["root@web1"]\n'


def wrong(directory: Path, text: str) -> ConfigError:
    (directory / "deploy.toml").write_text(text)
    with pytest.raises(ConfigError) as raised:
        load(directory)
    return raised.value


def test_the_least_config_has_good_defaults(tmp_path: Path):
    (tmp_path / "deploy.toml").write_text(GOOD)
    config = load(tmp_path)
    assert config.app == App("shop", "shop:app")
    assert config.stage("production") == Stage("production", ("root@web1",))


def test_the_sample_file_is_the_documentation_and_loads():
    text = (ROOT / "deploy.toml").read_text()
    config = load(ROOT)
    assert config.app.wsgi == "webapp:create_app()"
    for key in [field.name for field in (*fields(App)[:-3], *fields(Stage)[1:-3]) if field.name != "mount"]:
        assert key in text, f"the sample does not show {key}"


def test_the_sample_s_commented_defaults_are_the_defaults():
    app = App("x", "x:x")
    for line in (ROOT / "deploy.toml").read_text().splitlines():
        key, _, value = line.removeprefix("# ").partition(" = ")
        if line.startswith("# ") and key in (
            "workers",
            "threads",
            "health_seconds",
            "keep_releases",
            "timeout_seconds",
        ):
            assert getattr(app, key) == int(value)


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"there is no deploy\.toml here") as raised:
        load(tmp_path)
    assert str(tmp_path) in raised.value.where and raised.value.hint


def test_a_file_that_cannot_be_read_is_told_with_what_it_should_be(tmp_path: Path):
    (tmp_path / "deploy.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"deploy\.toml cannot be read: it is not UTF-8 text") as raised:
        load(tmp_path)
    assert raised.value.state == "nothing was changed" and raised.value.hint


def test_broken_toml_is_told_with_line_column_and_the_line_itself(tmp_path: Path):
    error = wrong(tmp_path, '[app]\nname = "shop\n')
    assert "line 2" in error.what and "column" in error.what
    assert 'name = "shop' in error.detail and "^" in error.detail


def test_an_unknown_key_names_the_nearest(tmp_path: Path):
    error = wrong(tmp_path, GOOD.replace("[stages", 'requirments = "r.txt"\n[stages'))
    assert error.what == "unknown key app.requirments"
    assert error.hint == "did you mean requirements?"
    assert "line 4" in error.where


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("threads = '8'", "app.threads should be a whole number, not a string"),
        ("threads = true", "app.threads should be a whole number, not true or false"),
        ("threads = 0", "app.threads should be from 1 to 256, not 0"),
        ("include = 'webapp'", "app.include should be a list of strings"),
        ("requirements = '../r.txt'", "app.requirements should be a path inside the project"),
        ("requirements = '/etc/passwd'", "app.requirements should be a path inside the project"),
        ("health_path = 'healthz'", "app.health_path should be a path like /healthz"),
        ('health_path = "/a\\r\\nHost: x"', "app.health_path should be a path"),
        ("static = { 'static' = 'x' }", "app.static has 'static'"),
        ("static = { '/s/' = 'x; } evil {' }", "app.static should be a directory of letters"),
        ("static = { '/s/' = 'x$y' }", "app.static should be a directory of letters"),
        ('static = { "/s/" = "x\\ny" }', "app.static should be a path inside"),
        ("requirements = '--index-url=x'", "app.requirements should be a path inside the project"),
        ('requirements = "r\\u001b[2J"', "app.requirements should be a path inside the project"),
        ("health_path = '/a{internal;}#'", "app.health_path should be a path"),
        ("warm_paths = ['/a;b']", "app.warm_paths should be a path"),
        ('release_command = "x\\u001b[2J"', "app.release_command should be one line"),
        ("env = { lower = 'x' }", "app.env has 'lower'"),
        ("env = { SECRET_KEY = 'x' }", "SECRET_KEY, which is generated on the server"),
        ("env = { MAIL_PASSWORD = 'x' }", "set it on the server: fab env.set MAIL_PASSWORD"),
        ("env = { STRIPE_API_KEY = 'sk-$HOME' }", "a secret does not belong in deploy.toml"),
        ("env = { RELEASE_ID = 'x' }", "app.env has RELEASE_ID, which Ashore sets itself"),
        ('env = { A = "x\\ny" }', "app.env has A, whose value contains a line break"),
        ("env = 'x'", "app.env should be a table, not a string"),
    ],
)
def test_a_wrong_value_names_its_key_and_what_it_should_be(tmp_path: Path, line: str, said: str):
    error = wrong(tmp_path, GOOD.replace("[stages", f"{line}\n[stages"))
    assert said in error.what
    assert "line 4" in error.where


@pytest.mark.parametrize(
    "line",
    [
        "MAX_TOKENS = 4096", "TOKEN_URL = 'https://id.example/token'", "PASSWORD_MIN_LENGTH = 12", "SECRETARY = 'x'",
        "API_KEY_HEADER = 'X-Key'", "DJANGO_SECRET_KEY = '$SECRET_KEY'", "MAIL_PASSWORD = '${MAIL_PASS}'",
        "REFRESH_TOKEN = '3600'",
    ],
)  # fmt: skip
def test_a_variable_is_not_refused_for_a_name_that_only_looks_like_a_secret_s(tmp_path: Path, line: str):
    path = tmp_path / "deploy.toml"
    path.write_text(GOOD.replace("[stages", f"env = {{ {line} }}\n[stages"))
    assert load(tmp_path).app.env


@pytest.mark.parametrize("name", ["Shop", "9shop", "sh op", "../etc", "a" * 31, "shop;rm"])
def test_an_app_s_name_cannot_break_a_path_or_a_command(tmp_path: Path, name: str):
    assert "app.name should be" in wrong(tmp_path, GOOD.replace('"shop"', f'"{name}"')).what


@pytest.mark.parametrize("domain", ["shop example", "shop;}", "SHOP.example", "-shop.example", "shop..x", "*.a.b"])
def test_a_domain_cannot_break_the_site_file(tmp_path: Path, domain: str):
    assert "production.domain should" in wrong(tmp_path, GOOD + f'domain = "{domain}"\n').what


@pytest.mark.parametrize(
    "lines, said",
    [
        ('tls = "files"', "needs certificate and certificate_key"),
        ('tls = "files"\ncertificate = "a"\ncertificate_key = "b"', "needs a domain"),
        ('certificate = "a.pem"', 'is only for tls = "files", but tls is "acme"'),
        ('aliases = ["www.shop.example"]', "needs a domain"),
        ('domain = "shop.example"\naliases = ["*.shop.example"]', "cannot be redirected"),
        ('domain = "shop.example"\nserve_aliases = true\naliases = ["*.shop.example"]', "use your own"),
        ('domain = "shop.example"\npath = "/a/"\ntrusted_proxies = ["10.0.0.1"]', "trusted_proxies are both set"),
        ("port = 443", "is what a site has without it"),
        ("port = 0", "should be from 1 to 65535"),
        ('path = "/blog/"', "needs a domain"),
        ('domain = "shop.example"\npath = "/blog"', "begins and ends with /"),
        ('domain = "shop.example"\npath = "/"', "begins and ends with /"),
        ('domain = "shop.example"\npath = "/a b/"', "begins and ends with /"),
        ('domain = "shop.example"\npath = "/blog/"\nport = 8443', "path and stages.production.port are both set"),
        ('domain = "shop.example"\npath = "/a/"\naliases = ["b.example"]', "production.aliases are both set"),
        ('trusted_proxies = ["10.0.0.256"]', "should be an address or a network"),
        ('acme_directory = "http://ca.example"', "https://"),
        ('acme_email = "nobody"', "an e-mail address"),
        ("hsts_days = 9999", "from 0 to 730"),
        ('tls = "on"', '"acme", "files" or "off"'),
        ('domains = ["shop.example"]', "unknown key stages.production.domains"),
    ],
)
def test_what_a_stage_says_of_tls_must_go_together(tmp_path: Path, lines: str, said: str):
    error = wrong(tmp_path, GOOD + lines + "\n")
    assert said in error.what and "line" in error.where


@pytest.mark.parametrize(
    "host",
    [
        "root@shop:abc", "@", "", ":22", "root@", "@shop", "root@shop:0", "root@shop:70000", "root@shop:", "two words",
        "web1,web2", "root@[fd00::1", "[web1]:22", "root@fd00::x", "ssh://root@shop", "-oProxyCommand=x",
    ],
)  # fmt: skip
def test_a_host_that_is_none_is_told_with_how_one_is_written(tmp_path: Path, host: str):
    error = wrong(tmp_path, GOOD.replace('"root@web1"', json.dumps(host)))
    assert error.what.startswith("stages.production.hosts should be user@host, user@host:port or a name")
    assert error.what.endswith(f"in brackets: user@[fd00::1]:2222; not {host!r}")
    assert error.where.endswith("deploy.toml, line 5") and error.state == "nothing was changed" and error.hint


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("web1", ("", "web1", 0)), ("root@web_1.example.com:2222", ("root", "web_1.example.com", 2222)),
        ("me@corp@shop", ("me@corp", "shop", 0)), ("root@[fd00::1]:2222", ("root", "fd00::1", 2222)),
        ("root@[fd00::1]", ("root", "fd00::1", 0)), ("fd00::1", ("", "fd00::1", 0)),
        ("root@fe80::1%eth0", ("root", "fe80::1%eth0", 0)), ("10.0.0.2:22", ("", "10.0.0.2", 22)),
    ],
)  # fmt: skip
def test_a_host_is_written_as_for_ssh(tmp_path: Path, written: str, parts: tuple[str, str, int]):
    (tmp_path / "deploy.toml").write_text(GOOD.replace('"root@web1"', json.dumps(written)))
    assert load(tmp_path).stage("production").hosts == (written,)
    assert login(written) == parts


@pytest.mark.parametrize("port", ["8443", "0/tcp", "70000/udp", "9000-8000/tcp", "22/tcp; drop", "22/sctp", " 22/tcp"])
def test_a_port_cannot_break_the_firewall(tmp_path: Path, port: str):
    assert 'open_ports should be a port like "8443/tcp"' in wrong(tmp_path, GOOD + f'open_ports = ["{port}"]\n').what


def test_missing_keys_and_tables_are_named(tmp_path: Path):
    assert "app.name is missing" in wrong(tmp_path, '[app]\nwsgi = "shop:app"\n').what
    assert "the table [app] is missing" in wrong(tmp_path, "").what
    assert "stages.production.hosts is missing" in wrong(tmp_path, GOOD.replace('hosts = ["root@web1"]', "")).what


def test_an_unknown_stage_lists_those_that_are(tmp_path: Path):
    (tmp_path / "deploy.toml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"no stage 'staging'.*stages: production"):
        load(tmp_path).stage("staging")


def test_a_stage_s_environment_goes_over_the_app_s(tmp_path: Path):
    (tmp_path / "deploy.toml").write_text(GOOD + '[stages.production.env]\nA = 2\n[app.env]\nA = "1"\nB = "b"\n')
    config = load(tmp_path)
    assert config.app_on(config.stage("production")).env == (("A", "2"), ("B", "b"))


def test_a_host_key_may_name_one_of_the_stage_s_hosts(tmp_path: Path):
    hosts = 'hosts = ["root@Web1", "root@10.0.0.2:2222", "fd00::1"]'
    print_ = f"SHA256:{'A' * 43}"
    keys = (f"web1 {print_}", f"10.0.0.2:2222 {print_}=", f"[10.0.0.2]:2222 {print_}", f"fd00::1 {print_}", print_)
    text = GOOD.replace('hosts = ["root@web1"]', hosts)
    (tmp_path / "deploy.toml").write_text(f"{text}host_keys = {json.dumps(keys)}\n")
    assert load(tmp_path).stage("production").host_keys == keys
    for name in ("web2", "root@web1", "web1:2222", "10.0.0.2"):
        error = wrong(tmp_path, f'{text}host_keys = ["{name} {print_}"]\n')
        assert f"has a key for {name}, which is not in hosts" in error.what
        assert "line 6" in error.where and "Web1, 10.0.0.2:2222, fd00::1" in error.hint


@pytest.mark.parametrize("name", ["ashore", "nginx", "systemd", "private", "deploy", "ci-shop", "ashore-x", "getty"])
def test_a_name_that_the_kit_or_the_system_has_is_no_app_s(tmp_path: Path, name: str):
    error = wrong(tmp_path, GOOD.replace('"shop"', f'"{name}"'))
    assert error.what.startswith(f"app.name cannot be '{name}'") and "line 2" in error.where and error.hint
