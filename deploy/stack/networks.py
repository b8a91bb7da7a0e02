"""Networks as a regular expression for the addresses in them, for a proxy that cannot compare text with networks."""

import ipaddress

HEXTET = "[0-9a-f]{0,4}"


def pattern_of(networks: tuple[str, ...]) -> str:
    """For Go's regular expressions. An address that it misses counts as a visitor's: never the other way round."""
    return "|".join(one_of(ipaddress.ip_network(network)) for network in networks)


def one_of(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
    """Of IPv6, as its addresses are usually written: whole groups of the prefix, which has no group of zeros."""
    if isinstance(network, ipaddress.IPv4Network):
        firsts, lasts = (str(address).split(".") for address in (network[0], network[-1]))
        return r"\.".join(between(int(first), int(last)) for first, last in zip(firsts, lasts, strict=True))
    groups = network[0].exploded.split(":")[: network.prefixlen // 16]
    if network.prefixlen == 128:
        return str(network[0])
    start = ":".join(f"{int(group, 16):x}" for group in groups)
    return f"{start}:[0-9a-f:]*" if groups and "0" not in start.split(":") else "none"


def between(first: int, last: int) -> str:
    """One part of an address of IPv4."""
    if first == last:
        return str(first)
    return r"\d{1,3}" if (first, last) == (0, 255) else f"(?:{'|'.join(map(str, range(first, last + 1)))})"
