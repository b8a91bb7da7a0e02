"""The sandbox network: one bridge on this machine, its own subnet, and masquerading to the outside."""

import contextlib
import ipaddress
import json
from pathlib import Path

from ..agent.dataclass import dataclass
from ..errors import SandboxError
from .local import run

BRIDGE = "ashore0"
TABLE = "ashore_sandbox"
COMMENT = "ashore sandbox"
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
CANDIDATES = tuple(ipaddress.ip_network(f"10.76.{third}.0/24") for third in range(256))


@dataclass(frozen=True)
class Network:
    """The subnet in use, and what ip_forward was before we turned it on."""

    subnet: str
    forwarding_before: str

    @property
    def gateway(self) -> str:
        return self.address(1)

    def address(self, number: int) -> str:
        return str(ipaddress.ip_network(self.subnet)[number])


def free_subnet(routes: list[str], preferred: str | None = None) -> str:
    """The first of 10.76.x.0/24 that no route overlaps; `preferred`, if it is free, so that addresses stay the same."""
    taken = [ipaddress.ip_network(route, strict=False) for route in routes if route != "default" and ":" not in route]
    wanted = [ipaddress.ip_network(preferred)] if preferred else []
    for candidate in (*wanted, *CANDIDATES):
        if not any(candidate.overlaps(route) for route in taken):
            return str(candidate)
    raise SandboxError(
        "no free subnet for sandboxes: this machine has routes to all of 10.76.0.0/16",
        where="ip route",
        state="nothing was changed",
        hint="stop the VPN or container network that uses it",
    )


def ruleset(subnet: str) -> str:
    """Masquerading, and no connections to a sandbox from beyond this machine. Loading it again replaces it."""
    return f"""\
table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
    chain postrouting {{
        type nat hook postrouting priority srcnat;
        ip saddr {subnet} oifname != "{BRIDGE}" masquerade
    }}
    chain forward {{
        type filter hook forward priority filter;
        oifname "{BRIDGE}" iifname != "{BRIDGE}" ct state new drop
    }}
}}
"""


def closed_chains(listing: str) -> list[tuple[str, str, str]]:
    """(family, table, name) of others' chains that drop what is forwarded, as Docker's and ufw's do.

    `listing` is what `nft -j list chains` prints.
    """
    chains = [item["chain"] for item in json.loads(listing)["nftables"] if "chain" in item]
    return [
        (chain["family"], chain["table"], chain["name"])
        for chain in chains
        if chain.get("hook") == "forward" and chain.get("policy") == "drop" and chain["table"] != TABLE
    ]


def our_rules(listing: str) -> list[tuple[str, str, str, str]]:
    """(family, table, chain, handle) of the rules that we put into others' chains, from `nft -j -a list ruleset`."""
    rules = [item["rule"] for item in json.loads(listing)["nftables"] if "rule" in item]
    return [
        (rule["family"], rule["table"], rule["chain"], str(rule["handle"]))
        for rule in rules
        if rule.get("comment") == COMMENT and rule["table"] != TABLE
    ]


def uplink_mtu() -> int:
    """The MTU of the default route. With a larger one, a sandbox's large packets would be lost, and TLS would stall."""
    routes = json.loads(run(["ip", "-j", "route", "show", "default"], failed="could not read the routes") or "[]")
    sizes = [Path(f"/sys/class/net/{route['dev']}/mtu") for route in routes if "dev" in route]
    return min([int(path.read_text()) for path in sizes if path.exists()], default=1500)


def exists() -> bool:
    return Path(f"/sys/class/net/{BRIDGE}").exists()


def known(state: Path) -> Network | None:
    return Network(**json.loads(state.read_text())) if state.exists() else None


def configure(root: Path, network: Network, number: int, resolv_conf: str) -> None:
    """Tell the machine below `root` its address, as a provider's DHCP would."""
    unit = root / "etc/systemd/network/10-host0.network"
    unit.write_text(link_unit(network, number, uplink_mtu()))
    target = root / "etc/resolv.conf"
    target.unlink(missing_ok=True)  # it may be a link to what runs inside only
    target.write_text(resolv_conf)


def hardware_address(number: int) -> str:
    """Each IP address always has the same hardware address, so ARP caches stay valid."""
    return f"02:61:73:68:00:{number:02x}"


def link_unit(network: Network, number: int, mtu: int) -> str:
    """The machine's network settings, for systemd-networkd."""
    return f"""\
[Match]
Name=host0

[Link]
MTUBytes={mtu}
# An IP address keeps its hardware address. Else the next machine that gets it
# would be called by the last one's until this network forgets, half a minute later.
MACAddress={hardware_address(number)}

[Network]
Address={network.address(number)}/24
Gateway={network.gateway}
IPv6AcceptRA=no
"""


def machine_name(number: int) -> str:
    """For systemd-nspawn, which calls this machine's end of the cable vb-NAME, if that is short enough for one."""
    return f"ashore-{number}"


def unplug(number: int) -> None:
    """Remove the cable of a machine that ended. The kernel would in its own time, answering calls for it until then."""
    cable = f"vb-{machine_name(number)}"
    if Path(f"/sys/class/net/{cable}").exists():
        with contextlib.suppress(SandboxError):  # the kernel was quicker
            run(["ip", "link", "delete", cable], failed=f"could not remove {cable}")


def bring_up(state: Path) -> Network:
    """Make bridge and rules if they aren't there; `state` remembers the subnet. Under the caller's lock."""
    before = known(state)
    if before and exists():
        _load_rules(before.subnet)
        return before
    routes = json.loads(run(["ip", "-j", "-4", "route", "show", "table", "all"], failed="could not read the routes"))
    subnet = free_subnet([route["dst"] for route in routes], before.subnet if before else None)
    network = Network(subnet, FORWARDING.read_text().strip())
    state.write_text(json.dumps(vars(network)))
    failed = "could not create the sandbox network"
    if not exists():
        # With an address of its own. Else it takes its lowest port's, a new one whenever a machine comes or goes, and
        # the other machines lose their way out for half a minute.
        made = ["ip", "link", "add", BRIDGE, "address", hardware_address(1), "type", "bridge"]
        run(made, failed=failed, hint="does this kernel support bridges?")
    run(["ip", "address", "replace", f"{network.gateway}/24", "dev", BRIDGE], failed=failed)
    run(["ip", "link", "set", BRIDGE, "mtu", str(uplink_mtu()), "up"], failed=failed)
    # A booting machine is asked for before it answers; asking once a second only would make booting look that slow.
    Path(f"/proc/sys/net/ipv4/neigh/{BRIDGE}/retrans_time_ms").write_text("50")
    _load_rules(subnet)
    FORWARDING.write_text("1")
    return network


def _load_rules(subnet: str) -> None:
    failed = "could not load the firewall rules of the sandboxes"
    run(["nft", "-f", "-"], stdin=ruleset(subnet), failed=failed)
    closed = closed_chains(run(["nft", "-j", "list", "chains"], failed=failed))
    if closed:
        _drop_foreign_rules()
    for family, table, chain in closed:
        for match in ("iifname", "oifname"):
            rule = [match, BRIDGE, "counter", "accept", "comment", f'"{COMMENT}"']
            run(["nft", "insert", "rule", family, table, chain, *rule], failed=failed)


def _drop_foreign_rules() -> None:
    failed = "could not remove the firewall rules of the sandboxes"
    for family, table, chain, handle in our_rules(run(["nft", "-j", "-a", "list", "ruleset"], failed=failed)):
        run(["nft", "delete", "rule", family, table, chain, "handle", handle], failed=failed)


def take_down(state: Path) -> None:
    """Restore this machine's network. Under the caller's lock."""
    if not exists():
        return
    failed = "could not remove the sandbox network"
    run(["nft", "-f", "-"], stdin=f"table inet {TABLE}\ndelete table inet {TABLE}\n", failed=failed)
    _drop_foreign_rules()
    before = known(state)
    if before and before.forwarding_before == "0":
        FORWARDING.write_text("0")
    run(["ip", "link", "delete", BRIDGE], failed=failed)  # last: while it exists, there is something to take down
