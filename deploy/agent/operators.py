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
    with suppress(OSError):
        if not is_welcome():
            fresh = noted(text_of(FILE) or "", ssh_connection()[0], int(time.time()))
            replace(FILE, fresh.encode(), 0o600, 0, 0)
            subprocess.run(["nft", "-f", FILE], capture_output=True, env=ENVIRONMENT)


def is_welcome() -> bool:
    """Whether the operator of this run was noted within a day, or there is no firewall of ours."""
    return not os.path.exists(RULES) or lately(text_of(FILE) or "", ssh_connection()[0], int(time.time()))


def lately(known: str, address: str, now: int) -> bool:
    """Whether the text of FILE has this address as of the day before `now`; also where it is none."""
    element = element_of(address)
    return not element or now - times(known).get(element, 0) < DAY_SECONDS


def times(known: str) -> dict[str, int]:
    """Map a line for nft to the time of the last run: the text of FILE has the time behind it, in a comment."""
    lines = (line.rpartition(" # ") for line in known.splitlines())
    return {rule: int(when) for rule, _, when in lines if rule and when.isdigit()}


def noted(known: str, address: str, now: int) -> str:
    """The text of FILE with this address as of now; the same text where it was noted within a day."""
    if lately(known, address, now):
        return known
    kept = {rule: when for rule, when in times(known).items() if now - when < DAYS * DAY_SECONDS}
    kept[element_of(address)] = now
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
