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
    network = network_of(address)
    found = [when for rule, when in times(known).items() if f"{{ {network} }}" in rule]
    return not network or now - max(found, default=0) < DAY_SECONDS


def times(known: str) -> dict[str, int]:
    """Map a line for nft to the time of the last run: the text of FILE has the time behind it, in a comment."""
    lines = (line.rpartition(" # ") for line in known.splitlines())
    return {rule: int(when) for rule, _, when in lines if rule and when.isdigit()}


def noted(known: str, address: str, now: int) -> str:
    """The text of FILE with this address as of now; the same text where it was noted within a day."""
    if lately(known, address, now):
        return known
    kept = {rule: when for rule, when in times(known).items() if now - when < DAYS * DAY_SECONDS}
    kept[element_of(network_of(address))] = now
    return "".join(f"{rule} # {when}\n" for rule, when in sorted(kept.items()))


def network_of(address: str) -> str:
    """What is let in for an address: IPv6 by /64, as it is banned; "" for what is no address."""
    if address.replace(".", "").isdigit():
        return address  # IPv4: what follows takes 3 ms to load
    import ipaddress

    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return ""
    return str(ipaddress.ip_network((int(found), 64), strict=False).network_address)


def element_of(network: str) -> str:
    """The line for nft that lets a network in, its time beginning anew."""
    name = "operators6" if ":" in network else "operators"
    add = f"add element inet ashore {name} {{ {network} timeout {DAYS}d }}"
    return f"{add}; delete element inet ashore {name} {{ {network} }}; {add}"
