"""What certificate authorities and certificates say, read from captured output."""

import pytest

from deploy.agent.resources.tls.certificates import certificate, certificate_of
from deploy.agent.resources.tls.proving import authority, explained, problem, retry_after

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
PRINTED = """Saving debug log to /var/log/letsencrypt/letsencrypt.log
Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority reported these problems:
  Domain: www.shop.example.com
  Type:   connection
  Detail: 203.0.113.7: Fetching http://www.shop.example.com/.well-known/acme-challenge/x: Timeout during connect
"""
LOG = """2026-11-21 11:15:46,563:DEBUG:acme.client:Received response:
HTTP 400
{
   "type": "urn:ietf:params:acme:error:badNonce",
   "detail": "JWS has an invalid anti-replay nonce"
}
HTTP 429
{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many certificates (5) already issued for \\"x\\",\
 retry after 2026-11-22 09:10:11 UTC: see the documents", "status": 429}
{"type": "urn:ietf:params:acme:error:badNonce", "detail": "again"}
"""
OPENSSL = """serial=2C6F
notBefore=Nov 21 10:15:45 2026 GMT
notAfter=Feb 19 10:15:44 2027 GMT
issuer=
    countryName               = US
    organizationName          = Let's Encrypt
    commonName                = E7
X509v3 Subject Alternative Name:\x20
    DNS:shop.example.com, DNS:www.shop.example.com, IP Address:203.0.113.7
"""


def test_the_last_problem_in_certbot_s_log_that_is_not_about_a_nonce_is_the_reason():
    kind, detail = problem(LOG)
    assert kind == "rateLimited" and retry_after(detail) == "2026-11-22 09:10:11"
    assert problem("nothing") == ("", "")


@pytest.mark.parametrize(
    "kind, printed, said, hint",
    [
        ("rateLimited", "", "Let's Encrypt accepts no more requests for shop.example.com before 2026-11-22", "wait"),
        ("connection", PRINTED, "port 80 of www.shop.example.com (203.0.113.7) cannot be reached", "firewall"),
        ("dns", "", "finds no address for shop.example.com", "DNS provider"),
        ("caa", "", "a CAA record in DNS forbids Let's Encrypt", "CAA record"),
        ("unauthorized", PRINTED, "but another server answered", "CDN"),
        (
            "",
            "ValueError: Requesting ca.example/dir: Connection refused",
            "cannot connect to Let's Encrypt",
            "outgoing",
        ),
        ("serverInternal", "", "issued no certificate for shop.example.com", "see its message above"),
    ],
)
def test_what_is_in_the_way_is_told_with_what_to_do(kind: str, printed: str, said: str, hint: str):
    names = ("shop.example.com", "www.shop.example.com")
    seen = {"www.shop.example.com": ["203.0.113.7"]}
    what, told = explained(kind, "retry after 2026-11-22 09:10:11 UTC", printed, names, seen, LETS_ENCRYPT)
    assert said in what and hint in told


def test_authorities_have_names():
    assert authority(LETS_ENCRYPT) == "Let's Encrypt"
    assert authority("https://acme-staging-v02.api.letsencrypt.org/directory") == "Let's Encrypt's staging"
    assert authority("https://ca.example:8443/acme/dir") == "ca.example:8443"


def test_a_certificate_is_read_from_openssl_s_words():
    found = certificate(OPENSSL)
    assert (found.serial, found.issuer, found.day) == ("2C6F", "Let's Encrypt", "2027-02-19")
    assert found.names == {"shop.example.com", "www.shop.example.com", "203.0.113.7"}
    assert round((found.ends - found.begins) / 86400) == 90


def test_a_certificate_is_read_from_what_a_connection_shows():
    shown = {
        "issuer": ((("organizationName", "Let's Encrypt"),), (("commonName", "E7"),)),
        "notBefore": "Nov 21 10:15:45 2026 GMT",
        "notAfter": "Feb 19 10:15:44 2027 GMT",
        "serialNumber": "2C6F",
        "subjectAltName": (("DNS", "shop.example.com"),),
    }
    assert certificate_of(shown).day == "2027-02-19" and certificate_of(shown).issuer == "Let's Encrypt"
