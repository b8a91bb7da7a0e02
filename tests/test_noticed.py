"""What a change of the release warns of at its end, and how that is seen on the server."""

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from deploy.agent.resources.host.noticed import Noticed, disks, has_rules, scarce
from deploy.agent.system import System
from deploy.config.site import Site
from deploy.screen import noticed

NOW = datetime(2026, 11, 21, tzinfo=timezone.utc)
GB = 1 << 30


def pem(began_days: float, ends_days: float) -> str:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(NOW - timedelta(began_days))
    signed = made.not_valid_after(NOW + timedelta(ends_days)).sign(key, hashes.SHA256())
    return signed.public_bytes(Encoding.PEM).decode()


def told(tls: str, began: float, ends: float, trusted: bool = True) -> list[str]:
    seen = {"certificate": pem(began, ends), "trusted": trusted}
    return noticed.certificate_doubts(seen, Site(("shop.example.com",), tls=tls), NOW)


def test_a_server_that_is_well_is_not_spoken_of():
    assert noticed.of_server({"disks": [], "failed": [], "firewall_gone": False}) == []
    assert noticed.of_server({}) == noticed.certificate_doubts({}, Site(("shop.example.com",), tls="acme"), NOW) == []
    assert told("acme", 40, 50) == told("files", 300, 65) == told("acme", 1, 5) == []
    assert told("off", 90, -1) == []


def test_a_certificate_that_ran_out_or_soon_does_is_told_with_what_to_do():
    (line,) = told("acme", 91, -1)
    assert "expired on 2026-11-20" in line and "fab tls.renew" in line
    (line,) = told("files", 91, -1)
    assert "expired on 2026-11-20" in line and "certificate_key" in line
    (line,) = told("acme", 80, 10)
    assert "expires on 2026-12-01" in line
    (line,) = told("acme", 1, 3000, trusted=False)
    assert "self-signed" in line


def test_a_firewall_that_is_gone_a_full_disk_and_failed_units_are_told_with_what_to_do():
    full = [{"path": "/var/log", "bytes": 50 << 20, "files": None}, {"path": "/srv", "bytes": None, "files": 12}]
    firewall, log, srv, unit = noticed.of_server({"disks": full, "failed": ["certbot.service"], "firewall_gone": True})
    assert "rules are not loaded" in firewall and "fab provision" in firewall
    assert "the disk with /var/log is nearly full, 52.4 MB free" in log and "free some space" in log
    assert "room for 12 more files (`df -i`)" in srv
    assert unit == "certbot.service has failed: certificates are not renewed; `fab tls.renew` shows why"


@pytest.mark.parametrize(
    ("free", "total", "expected"),
    [(1 * GB, 40 * GB, True), (3 * GB, 40 * GB, False), (4 * GB, 400 * GB, False), (50 << 20, 100 << 20, True)],
)
def test_a_disk_is_nearly_full_by_its_part_and_by_what_is_left(free: int, total: int, expected: bool):
    assert scarce(free, total, 2 * GB) is expected


def test_our_rules_are_looked_for_in_our_own_table():
    def listed(*rules: tuple[str, str]) -> str:
        items = [{"rule": {"family": family, "table": table}} for family, table in rules]
        return json.dumps({"nftables": [{"metainfo": {}}, {"table": {"family": "inet", "name": "ashore"}}, *items]})

    assert has_rules(listed(("ip", "docker"), ("inet", "ashore")))
    assert not has_rules(listed(("ip", "docker"), ("ip", "ashore")))
    assert has_rules("what nft of another version says")


def test_a_look_changes_nothing_and_drifts_never(tmp_path: Path):
    live = tmp_path / "live"
    live.mkdir()
    (live / "fullchain.pem").write_text(pem(1, 80) + pem(1, 80))
    events: list[dict] = []
    assert Noticed("shop", str(tmp_path)).check(System(emit=events.append)) == []
    (event,) = events
    assert event["certificate"].count("BEGIN") == 1 and event["trusted"] is False
    assert disks(("/no/such/place",)) == []
