"""The addresses that the kit was last run from: the firewall never bans them.

The kernel has them for 30 days, in a set of our table; a file has them for the time after a boot.
"""

import os
import subprocess
import time
from contextlib import suppress

from .resources.files import replace, text_of
from .system import ENVIRONMENT, ssh_connection

FILE = "/var/lib/ashore/operators.nft"
RULES = "/etc/ashore/firewall.nft"
DAYS = 30
DAY_SECONDS = 24 * 3600


def welcome() -> None:
    """Note the operator of this run; once a day is enough. Where that fails, SSH still lets them in."""
    if not os.path.exists(RULES):
        return
    with suppress(OSError):
        known = text_of(FILE) or ""
        fresh = noted(known, ssh_connection()[0], int(time.time()))
        if fresh != known:
            replace(FILE, fresh.encode(), 0o600, 0, 0)
            subprocess.run(["nft", "-f", FILE], capture_output=True, env=ENVIRONMENT)


def noted(known: str, address: str, now: int) -> str:
    """The text of FILE with this address as of now; the same text where it was noted within a day.

    A line is one for nft, with the time of the last run in a comment.
    """
    element = element_of(address)
    kept = {}
    for line in known.splitlines():
        rule, _, when = line.rpartition(" # ")
        if rule and when.isdigit() and now - int(when) < DAYS * DAY_SECONDS:
            kept[rule] = int(when)
    if not element or now - kept.get(element, 0) < DAY_SECONDS:
        return known
    kept[element] = now
    return "".join(f"{rule} # {when}\n" for rule, when in sorted(kept.items()))


def element_of(address: str) -> str:
    """The line that lets an address in, its time beginning anew; "" for what is none. IPv6 by /64, as it is banned."""
    import ipaddress

    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    name = "operators"
    if found.version == 6:
        name, found = "operators6", ipaddress.IPv6Network((int(found), 64), strict=False).network_address
    add = f"add element inet ashore {name} {{ {found} timeout {DAYS}d }}"
    return f"{add}; delete element inet ashore {name} {{ {found} }}; {add}"
