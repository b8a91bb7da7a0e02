"""https on real servers: certificates from a real ACME server that looks at port 80, and what visitors are shown."""

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from authority import Authority, certifying
from encrypted import ALIAS, https, own_certificate, serial, shown, sslyze, use_own
from standing import DOMAIN, Project, Server, serving
from visiting import wait_for

from deploy import sandbox
from deploy.sandbox.authority import ca_file


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    with certifying(tmp_path_factory.mktemp("acme") / "authority") as made:
        yield made


@pytest.fixture(scope="module")
def certified_machine(
    acme: Authority, snapshot: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[sandbox.Machine]:
    """A server with certbot on it, whose names the authority's DNS knows."""
    with serving("tls", snapshot, tmp_path_factory) as made:
        project = Project(tmp_path_factory.mktemp("provision") / "project", made)
        configure(project, acme)
        project.fab("provision")
        Server(made).script(f"echo nameserver {acme.server.machine.address} > /etc/resolv.conf")
        yield made


@pytest.fixture
def site(certified_machine: sandbox.Machine, acme: Authority) -> Server:
    """The server as it is before its first certificate, with DNS that points to it."""
    server = Server(certified_machine)
    server.script("rm -rf /etc/letsencrypt /srv/visitors/tls")
    acme.issues_for(90 * 86400)
    acme.points(certified_machine.address)
    acme.limit(False)
    return server


@pytest.fixture
def project(tmp_path: Path, certified_machine: sandbox.Machine, acme: Authority) -> Project:
    made = Project(tmp_path / "project", certified_machine)
    configure(made, acme)
    return made


@pytest.fixture
def encrypted(certified_machine: sandbox.Machine, tmp_path: Path) -> Server:
    """The server with a certificate that nobody had to be asked for."""
    made = Project(tmp_path / "own" / "project", certified_machine)
    use_own(made, *own_certificate(tmp_path, [DOMAIN, ALIAS]))
    made.fab("deploy")
    return Server(certified_machine)


def configure(project: Project, acme: Authority) -> None:
    project.tls = "acme"
    project.write_config(
        stage=f'acme_directory = "{acme.directory}"\nacme_ca = "{ca_file()}"\naliases = ["{ALIAS}"]\n'
        f'acme_email = "you@{DOMAIN}"\n'
    )


def test_a_domain_is_all_it_takes(site: Server, project: Project, acme: Authority):
    ran = project.fab("deploy")
    assert f"https://{DOMAIN}/ → Nginx, port 443 (HTTP/2)" in ran.out
    root = acme.root()
    status, headers = https(site, root=root)
    assert status == 200
    assert headers["strict-transport-security"] == "max-age=604800"
    assert https(site, host=ALIAS, root=root)[0] == 301
    assert https(site, host=ALIAS, root=root)[1]["location"] == f"https://{DOMAIN}/"
    for host, path in ((DOMAIN, "/a?b=c"), (ALIAS, "/a?b=c")):
        status, _, headers = site.get(path, host=host)
        assert (status, headers["Location"]) == (301, f"https://{DOMAIN}/a?b=c")
        assert "Strict-Transport-Security" not in headers
    assert "0 changed" in project.fab("deploy").out
    (row,) = [json.loads(line) for line in project.fab("tls", "--json").out.splitlines()]
    assert row["names"] == sorted([DOMAIN, ALIAS]) and row["state"] == "good" and row["renewed_by"] == "certbot"
    assert "certbot.timer" in site.run("systemctl", "list-timers")


def test_http2_is_spoken(encrypted: Server):
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    plain = socket.create_connection((encrypted.machine.address, 443), 10)
    with plain, context.wrap_socket(plain, server_hostname=DOMAIN) as connection:
        assert connection.selected_alpn_protocol() == "h2" and connection.version() == "TLSv1.3"


def test_dns_that_points_elsewhere_is_told_in_words_and_the_site_answers_meanwhile(
    site: Server, project: Project, acme: Authority
):
    acme.points(acme.server.machine.address)
    ran = project.fab("deploy", status=1)
    elsewhere, here = acme.server.machine.address, site.machine.address
    assert f"DNS points {DOMAIN} to {elsewhere}, but this server is {here}" in ran.err
    assert "the site answers over http;" in ran.err and f"point {DOMAIN} to {here}" in ran.err
    assert site.get("/")[0] == 200 and https(site)[0] == 200
    acme.points("")
    assert f"DNS has no address for {DOMAIN}" in project.fab("deploy", status=1).err
    acme.points(here)
    project.fab("deploy")
    assert site.get("/")[0] == 301 and https(site, root=acme.root())[0] == 200


def test_a_closed_port_80_is_told_in_words(site: Server, project: Project, acme: Authority):
    block = "nft add table inet closed; nft add chain inet closed in '{ type filter hook input priority 0; }'; nft add"
    site.script(f"{block} rule inet closed in ip saddr {acme.server.machine.address} tcp dport 80 reject")
    try:
        ran = project.fab("deploy", status=1)
    finally:
        site.script("nft delete table inet closed")
    assert f"port 80 of {DOMAIN} ({site.machine.address}) cannot be reached from outside" in ran.err
    assert "provider's firewall" in ran.err
    assert site.get("/")[0] == 200


def test_a_rate_limit_is_told_with_its_end_and_not_tried_again_before(site: Server, project: Project, acme: Authority):
    acme.limit(True)
    first = project.fab("deploy", status=1).err
    assert "accepts no more requests for" in first
    assert "before 2099-01-01 12:00:00 UTC" in first
    acme.limit(False)
    assert "accepts no more requests before 2099-01-01 12:00:00 UTC" in project.fab("deploy", status=1).err
    assert "2099-01-01" in project.fab("tls").out
    assert site.get("/")[0] == 200


def test_an_authority_that_cannot_be_reached_is_told(site: Server, project: Project, acme: Authority):
    acme.server.script("systemctl stop nginx")
    try:
        said = project.fab("deploy", status=1).err
        assert "the server cannot connect to" in said
    finally:
        acme.server.script("systemctl start nginx")


def test_the_timer_renews_and_visitors_notice_nothing(site: Server, project: Project, acme: Authority):
    acme.issues_for(20 * 86400)
    project.fab("deploy")
    before = serial(shown(site))
    site.script("systemctl start certbot.service")
    wait_for(lambda: serial(shown(site)) != before, "the renewed certificate")
    assert https(site, root=acme.root())[0] == 200
    assert "0 changed" in project.fab("deploy").out


def test_a_certificate_that_ran_out_is_replaced_by_the_next_deploy(site: Server, project: Project, acme: Authority):
    acme.issues_for(30)  # longer than a deploy takes on a busy machine, which looks at it once more
    project.fab("deploy")
    before = shown(site)
    wait_for(lambda: project.fab("tls").out.count("expired"), "its end", 300)
    project.fab("deploy")
    assert serial(shown(site)) != serial(before)


def test_a_compromised_key_is_replaced_and_its_certificate_revoked(site: Server, project: Project, acme: Authority):
    project.fab("deploy")
    before = shown(site)
    project.fab("tls.renew", "--compromised")
    after = shown(site)
    key = ["openssl", "x509", "-noout", "-pubkey"]
    keys = [subprocess.run(key, input=pem, capture_output=True, text=True).stdout for pem in (before, after)]
    assert keys[0] != keys[1]
    assert acme.revoked(serial(before)) and not acme.revoked(serial(after))
    assert "0 changed" in project.fab("deploy").out


def test_a_hook_that_nginx_does_not_take_is_undone(site: Server, project: Project):
    project.fab("deploy")
    before = serial(shown(site))
    site.script("echo broken > /etc/nginx/conf.d/broken.conf")

    def renewed() -> bool:  # not at once where the system's timer runs certbot at this moment
        site.script("certbot renew -q --no-random-sleep-on-renew --force-renewal || true")
        return serial(site.script("cat /etc/letsencrypt/live/visitors/fullchain.pem")) != before

    try:
        wait_for(renewed, "certbot's renewal", 120)
        assert serial(site.script("cat /srv/visitors/tls/live/fullchain.pem")) == before
    finally:
        site.script("rm /etc/nginx/conf.d/broken.conf")
    assert serial(shown(site)) == before
    project.fab("deploy")
    assert serial(shown(site)) != before


def test_an_own_certificate_takes_the_place_of_the_authority_s(site: Server, project: Project, tmp_path: Path):
    project.fab("deploy")
    chain, key = own_certificate(tmp_path, [DOMAIN, ALIAS])
    use_own(project, chain, key)
    project.fab("deploy")
    assert shown(site) == chain.read_text()
    assert "0 changed" in project.fab("deploy").out
    assert site.script("ls /etc/letsencrypt/renewal") == ""
    assert site.script("stat -c '%a %U' /srv/visitors/tls/live/privkey.pem") == "600 root\n"
    assert key.read_text().splitlines()[1] not in project.fab("deploy", "--json").text


def test_an_own_certificate_that_browsers_would_not_take_is_refused_before_anything_is_sent(
    site: Server, project: Project, tmp_path: Path
):
    project.fab("deploy")
    before = site.state()
    chain, key = own_certificate(tmp_path, [DOMAIN])
    use_own(project, chain, key)
    assert f"the certificate is not for {ALIAS}" in project.fab("deploy", status=1).err
    (tmp_path / "other").mkdir()
    _, other = own_certificate(tmp_path / "other", [DOMAIN])
    use_own(project, chain, other)
    assert "do not match" in project.fab("deploy", status=1).err
    use_own(project, key, key)
    assert "contains no certificate" in project.fab("deploy", status=1).err
    use_own(project, tmp_path / "none", key)
    assert "cannot be read: No such file" in project.fab("deploy", status=1).err
    assert site.state() == before


def test_strangers_get_no_handshake_and_a_foreign_host_on_a_good_name_gets_nothing(encrypted: Server):
    with pytest.raises(ssl.SSLError):
        https(encrypted, host="stranger.example")
    assert https(encrypted, host="stranger.example", name=DOMAIN)[0] == 421


def test_behind_another_proxy_its_word_counts_and_nobody_else_s(site: Server, project: Project):
    (project.directory / "plain.py").write_text(
        "def app(environ, answer):\n    answer('200 OK', [('X-Seen', environ['HTTP_X_FORWARDED_PROTO'] + ' '"
        " + environ.get('HTTP_X_FORWARDED_FOR', ''))])\n    return [b'ok']\n"
    )
    project.tls, project.wsgi = "off", "plain:app"
    claimed = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}
    operator = site.machine.address.rpartition(".")[0] + ".1"

    def seen(proxies: list[str]) -> str:
        project.write_config(stage=f"trusted_proxies = {json.dumps(proxies)}")
        project.commit()
        project.fab("deploy")
        return site.get("/", headers=claimed)[2]["X-Seen"]

    assert seen([]) == f"http {operator}"
    assert seen([f"{operator}/32"]) == "https 203.0.113.7"
    with pytest.raises(ssl.SSLError):
        https(site)


def test_sslyze_finds_mozilla_s_intermediate_configuration(encrypted: Server, tmp_path: Path):
    found = sslyze(encrypted, tmp_path)
    assert found and [line for line in found if "path" not in line.lower()] == [], found
