"""How visitors reach an app, from what a stage says."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.agent.resources.tls.certificates import OwnCertificate
from deploy.agent.system import System
from deploy.agent.wire import Refused
from deploy.config.reader import Stage
from deploy.config.site import Site, site_of
from deploy.errors import ConfigError

DOMAIN, ALIAS = "shop.example.com", "www.shop.example.com"


def of(named: bool = False, **stage: object) -> Site:
    return site_of(Stage("production", ("root@203.0.113.7",), **stage), "203.0.113.7", named, Path())


def test_a_domain_is_served_over_https_and_its_aliases_are_sent_on():
    site = of(domain=DOMAIN, aliases=(ALIAS,))
    assert (site.names, site.aliases, site.tls, site.url) == ((DOMAIN,), (ALIAS,), "acme", f"https://{DOMAIN}/")


def test_a_bare_address_is_served_over_http_since_nobody_certifies_it():
    site = of()
    assert (site.names, site.tls, site.url) == (("203.0.113.7",), "off", "http://203.0.113.7/")


def test_a_host_that_was_named_on_the_command_line_is_reached_by_its_address_too():
    assert of(named=True, domain=DOMAIN).names == (DOMAIN, "203.0.113.7")


def test_aliases_can_be_served_by_the_app_itself():
    site = of(domain=DOMAIN, aliases=(ALIAS,), serve_aliases=True)
    assert (site.names, site.aliases) == ((DOMAIN, ALIAS), ())


def test_nginx_listens_at_an_address_of_its_own_where_that_is_the_site_s_name():
    assert Site(("203.0.113.7",), tls="files").addresses == ("203.0.113.7", "127.0.0.1")
    assert Site((DOMAIN, "203.0.113.7"), tls="files").addresses == ()


def own(directory: Path, ends_days: float, name: str = DOMAIN) -> dict[str, str]:
    """A certificate with its key, as a stage names them."""
    key = ec.generate_private_key(ec.SECP256R1())
    ends = datetime.now(timezone.utc) + timedelta(ends_days)
    made = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([])).serial_number(1)
    made = made.public_key(key.public_key()).not_valid_before(ends - timedelta(90)).not_valid_after(ends)
    signed = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False).sign(key, hashes.SHA256())
    (directory / "own.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "own.key").write_bytes(key.private_bytes(*form))
    return {"tls": "files", "certificate": f"{directory}/own.pem", "certificate_key": f"{directory}/own.key"}


def in_use(directory: Path, site: Site, *, live: bool) -> list[object]:
    """What is found where the site's certificate is the one in use, or another is."""
    there = directory / "live"
    there.mkdir()
    (there / "fullchain.pem").write_text(site.certificate if live else "another")
    (there / "privkey.pem").write_text(site.key.value)
    (there / "trusted").touch()
    step = OwnCertificate(str(directory), "shop", site.certificate, site.key, "/hook", site.ended)
    return [*step.check(System())]


def test_a_certificate_of_your_own_that_ran_out_does_not_keep_a_fix_from_a_site_that_shows_it(tmp_path: Path):
    site = of(domain=DOMAIN, **own(tmp_path, -1))
    assert site.ended
    assert in_use(tmp_path, site, live=True) == []


def test_a_certificate_of_your_own_that_ran_out_is_not_put_in_the_place_of_another(tmp_path: Path):
    site = of(domain=DOMAIN, **own(tmp_path, -1))
    with pytest.raises(Refused, match="the certificate expired on "):
        in_use(tmp_path, site, live=False)


def test_a_good_certificate_takes_the_place_of_another_and_a_wrong_one_is_refused(tmp_path: Path):
    site = of(domain=DOMAIN, **own(tmp_path, 30))
    assert site.ended == "" and in_use(tmp_path, site, live=False)
    with pytest.raises(ConfigError, match="is not for"):
        of(domain=DOMAIN, **own(tmp_path, 30, "other.example.com"))


def test_a_certificate_in_the_home_directory_of_nobody_is_told_in_four_parts():
    with pytest.raises(ConfigError, match="there is no home directory ~nobody-here") as raised:
        of(domain=DOMAIN, tls="files", certificate="~nobody-here/c.pem", certificate_key="k.pem")
    assert raised.value.where == "certificate in deploy.toml" and raised.value.hint
    assert raised.value.state == "nothing was changed"
