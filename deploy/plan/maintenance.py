"""The site is closed to visitors, or open again."""

import ipaddress

from ..agent import layout
from ..agent.resources.files import Absent, Directory, File
from ..agent.wire import Plan
from ..config.reader import App
from ..errors import NOTHING, ConfigError


def addresses(written: list[str], proxy: str) -> tuple[str, ...]:
    """IP addresses as a proxy writes them, without duplicates; ConfigError for anything else. proxy: its name."""
    found = []
    for text in filter(None, written):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            hint = f"an IPv4 or IPv6 address, as in the access log (`fab logs --{proxy}`)"
            raise ConfigError(f"{text!r} is not an IP address", "--allow", NOTHING, hint) from None
        mapped = getattr(address, "ipv4_mapped", None)
        found.append(str(mapped or address))
    return tuple(dict.fromkeys(found))


def closing(app: App, allow: tuple[str, ...], on: bool) -> Plan:
    """Close the site to visitors, or open it again. allow: addresses that still get through."""
    directory = layout.maintenance_directory(app.name)
    if not on:
        # First the file that closes the site: without `let`, allowed addresses would get the 503 page, too.
        return Plan("maintenance off", (Absent(f"{directory}/on"), Absent(directory)))
    let = tuple(File(f"{directory}/let/{address}", "") for address in allow)
    return Plan(
        "maintenance on",
        (
            Directory(directory, 0o750, "root", app.name),
            Directory(f"{directory}/let", 0o750, "root", app.name),
            *let,
            File(f"{directory}/on", ""),
        ),
    )
