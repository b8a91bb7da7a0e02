"""What DNS says of a site, before it is said that the site answers."""

import pytest

from deploy.session import dns

HERE, ELSEWHERE = "198.51.100.7", "8.8.4.4"
OWN = "9.9.9.9"  # an address that the world can reach


def test_a_name_without_an_address_is_told_with_the_record_to_make():
    (line,) = dns.notes({"shop.example.com": ()}, OWN, False)
    assert line.startswith("DNS has no address for shop.example.com")
    assert line.endswith(f"add the record: shop.example.com A {OWN}")
    (line,) = dns.notes({"shop.example.com": ()}, "2620:fe::9", False)
    assert line.endswith("shop.example.com AAAA 2620:fe::9")


def test_a_name_that_leads_elsewhere_is_told_unless_a_proxy_of_ours_is_there():
    found = {"shop.example.com": (ELSEWHERE,), "www.shop.example.com": (OWN, ELSEWHERE)}
    (line,) = dns.notes(found, OWN, False)
    assert f"DNS points shop.example.com to {ELSEWHERE}, but this server is {OWN}" in line
    assert dns.notes(found, OWN, True) == []


@pytest.mark.parametrize(
    ("seen", "own"),
    [
        (None, OWN),  # DNS did not answer
        ((OWN,), OWN),
        (("2620:fe::9",), OWN),  # the server's own IPv6 address is not known here
        ((ELSEWHERE,), "10.0.0.5"),  # reached by a VPN
        ((ELSEWHERE,), ""),  # reached through a jump host
    ],
)
def test_what_is_well_or_not_known_is_not_told(seen: tuple[str, ...] | None, own: str):
    assert dns.notes({"shop.example.com": seen}, own, False) == []


def test_only_names_are_looked_up_and_one_that_is_not_there_has_no_address():
    found = dns.NameLookup.of(("localhost", "127.0.0.1", "::1", "*.shop.example", "localhost")).found(10)
    assert list(found) == ["localhost"] and found["localhost"]
    assert dns.NameLookup.of(("127.0.0.1",)).found(0) == {}
