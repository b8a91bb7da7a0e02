"""How visitors reach an app, from what a stage says."""

from pathlib import Path

from deploy.config import Stage
from deploy.site import Site, site_of

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
