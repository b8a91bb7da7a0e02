"""What a change of the release has seen beside its work, told at its end: no firewall, a full disk. Pure."""

from datetime import datetime, timedelta

from ..agent.events import DiskSeen
from ..agent.events import ServerSeen as Seen
from ..config.site import Site
from .columns import size

SOON = timedelta(days=14)
LATE_PART = 3  # or less than this part of its time: authorities may give certificates of a week


def of_server(seen: Seen) -> list[str]:
    """Each with what to do."""
    told = []
    if seen.get("firewall_gone"):
        told.append("the firewall's rules are not loaded, so all ports are open: `fab provision` loads them")
    told += [disk(found) for found in seen.get("disks", ())]
    return told + [f"{unit} has failed: {UNITS.get(unit, SHOWN.format(unit))}" for unit in seen.get("failed", ())]


def certificate_doubts(seen: Seen, site: Site, now: datetime) -> list[str]:
    """Of the one in use, with what to do; nothing where the site has none, or where it is good for a while."""
    if not site.encrypted or not seen.get("certificate"):
        return []
    return certificate(seen["certificate"], bool(seen.get("trusted")), site.tls, now)


SHOWN = "`journalctl -u {}` on the server tells why"
UNITS = {
    "ashore-firewall.service": "the firewall is not loaded at boot; `fab provision` tells what nft does not accept",
    "ashore-undo.service": "SSH access could not be restored; `journalctl -u ashore-undo` on the server tells why",
    "certbot.service": "certificates are not renewed; `fab tls.renew` tells why",
    "logrotate.service": "logs grow without end; `journalctl -u logrotate.service` on the server tells why",
}


def disk(found: DiskSeen) -> str:
    left = [f"{size(found['bytes'])} are free"] if found["bytes"] is not None else []
    left += [f"{found['files']} more files fit (`df -i`)"] if found["files"] is not None else []
    room = "make room (`df -h`, `journalctl --vacuum-size=200M`) before logs, data or a deploy need more"
    return f"the disk with {found['path']} is nearly full, {' and '.join(left)}: {room}"


def certificate(pem: str, trusted: bool, tls: str, now: datetime) -> list[str]:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        return []
    ends, life = found.not_valid_after_utc, found.not_valid_after_utc - found.not_valid_before_utc
    how = "`fab tls.renew` gets a new one, or tells why not"
    if tls == "files":
        how = "put a new one into the files that `certificate` and `certificate_key` name, then: fab deploy"
    if not trusted:
        return [f"the certificate is signed by the server itself, and browsers warn of it: {how}"]
    if ends < now:
        return [f"the certificate ran out on {ends:%Y-%m-%d}, and browsers refuse the site: {how}"]
    if ends - now < min(SOON, life / LATE_PART):
        return [f"the certificate runs out on {ends:%Y-%m-%d}: {how}"]
    return []
