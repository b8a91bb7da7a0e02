"""Warnings at the end of a change about the server: no firewall, a full disk. Pure."""

from datetime import datetime, timedelta

from ..agent.events import DiskSeen
from ..agent.events import ServerSeen as Seen
from ..config.site import Site
from .columns import size

SOON = timedelta(days=14)
LATE_PART = 3  # or a third of its lifetime: some certificates are valid for a week


def of_server(seen: Seen) -> list[str]:
    """Each with what to do."""
    told = []
    if seen.get("firewall_gone"):
        told.append("the firewall rules are not loaded, so all ports are open: `fab provision` loads them")
    told += [disk(found) for found in seen.get("disks", ())]
    return told + [f"{unit} has failed: {UNITS.get(unit, SHOWN.format(unit))}" for unit in seen.get("failed", ())]


def of_releases(seen: Seen) -> list[str]:
    """Older releases that still run."""
    why = "visitors are still connected to it; it is stopped in the background"
    return [f"{release} still runs: {why} (`fab releases`)" for release in seen.get("retiring", ())]


def certificate_doubts(seen: Seen, site: Site, now: datetime) -> list[str]:
    """Warnings about the certificate in use, with what to do; none if the site has none, or it is valid for a while."""
    if not site.encrypted or not seen.get("certificate"):
        return []
    return certificate(seen["certificate"], bool(seen.get("trusted")), site.tls, now)


SHOWN = "`journalctl -u {}` on the server shows why"
UNITS = {
    "ashore-firewall.service": "the firewall is not loaded at boot; `fab provision` shows which rule nft rejects",
    "ashore-undo.service": "SSH access could not be restored; `journalctl -u ashore-undo` on the server shows why",
    "certbot.service": "certificates are not renewed; `fab tls.renew` shows why",
    "logrotate.service": "logs are not rotated; `journalctl -u logrotate.service` on the server shows why",
}


def disk(found: DiskSeen) -> str:
    left = [f"{size(found['bytes'])} free"] if found["bytes"] is not None else []
    left += [f"room for {found['files']} more files (`df -i`)"] if found["files"] is not None else []
    room = "free some space (`df -h`, `journalctl --vacuum-size=200M`)"
    return f"the disk with {found['path']} is nearly full, {' and '.join(left)}: {room}"


def certificate(pem: str, trusted: bool, tls: str, now: datetime) -> list[str]:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        return []
    ends, life = found.not_valid_after_utc, found.not_valid_after_utc - found.not_valid_before_utc
    how = "`fab tls.renew` gets a new one, or shows why it cannot"
    if tls == "files":
        how = "replace the files set by `certificate` and `certificate_key`, then: fab deploy"
    if not trusted:
        return [f"the certificate is self-signed, so browsers warn: {how}"]
    if ends < now:
        return [f"the certificate expired on {ends:%Y-%m-%d}, so browsers refuse the site: {how}"]
    if ends - now < min(SOON, life / LATE_PART):
        return [f"the certificate expires on {ends:%Y-%m-%d}: {how}"]
    return []
