"""The steps of `fab provision` that close a server: SSH by key, a firewall, updates, swap. Pure.

Changes that could lock the operator out are Guarded: they stay only if a new login works.
"""

from ..agent import layout
from ..agent.resources.access.firewall import LOADED, ConnectionLimit, Firewall, NoFirewall, SshPorts
from ..agent.resources.access.guarded import Guarded
from ..agent.resources.access.sshd import Sshd
from ..agent.resources.config_files import ConfigFiles
from ..agent.resources.files import Directory, File, Link
from ..agent.resources.serving.services import Service, UnitFile
from ..agent.wire import Resource
from ..config.reader import App, Stage
from ..config.site import in_front
from .proxies import proxy_of
from .render import file, render, unsealed

PACKAGES = ("nftables", "unattended-upgrades")
UNITS = "/etc/systemd/system"
EARLY = f"{UNITS}/sysinit.target.wants"
FIREWALL, FIREWALL_APPS = "/etc/ashore/firewall.d", "/etc/ashore/firewall-apps.d"

UNDO_SECONDS = 40
PROVE_SECONDS = 20


def keys_only(force: bool) -> tuple[Resource, ...]:
    """Needs no package. The new login that proves it takes a second or two, in which steps behind it are applied."""
    return (*dead_man(force), ssh(force))


def network(app: App, stage: Stage, force: bool) -> tuple[Resource, ...]:
    """Needs its package and the app's user; proved as `keys_only` is."""
    return firewall(app, stage, force) if stage.firewall else (NoFirewall(),)


def bounded(app: App, force: bool) -> tuple[Resource, ...]:
    """The app's data is limited: see the script."""
    unit = layout.data_unit(app.name)
    service = render("systemd/data.service.j2", app=app, script=layout.DATA_SCRIPT)
    return (
        Directory(layout.KIT),
        ConfigFiles(
            f"data of {app.name}: limited to data_megabytes",
            (
                File(layout.DATA_SCRIPT, render("systemd/data-limit.sh.j2"), force=force),
                File(f"{UNITS}/{unit}.service", service, force=force),
                File(f"{UNITS}/{unit}.timer", render("systemd/data.timer.j2", app=app), force=force),
            ),
            ("systemctl", "daemon-reload"),
        ),
        Service(f"{unit}.timer", enabled=True),
    )


def updates(force: bool) -> tuple[Resource, ...]:
    """Automatic security updates, with the tools of Debian and Ubuntu."""
    return (
        ConfigFiles(
            "security updates: installed automatically",
            (File("/etc/apt/apt.conf.d/52ashore", render("apt/updates.conf.j2"), force=force),),
            ("apt-config", "dump"),
        ),
        Service("apt-daily.timer", enabled=True),
        Service("apt-daily-upgrade.timer", enabled=True),
    )


def dead_man(force: bool) -> tuple[Resource, ...]:
    unit = f"{UNITS}/ashore-undo.service"
    return (
        Directory("/usr/local/lib/ashore"),
        Directory(EARLY),
        ConfigFiles(
            "automatic undo of SSH and firewall changes: installed",
            (
                File(layout.UNDO_SCRIPT, render("ssh/undo.sh.j2"), force=force),
                File(unit, render("systemd/undo.service.j2", script=layout.UNDO_SCRIPT), force=force),
                Link(f"{EARLY}/ashore-undo.service", unit),
            ),
            ("systemctl", "daemon-reload"),
        ),
    )


def ssh(force: bool) -> Guarded:
    with_rsa, without = (
        file("/etc/ssh/sshd_config.d/10-ashore.conf", "ssh/sshd.conf.j2", force, rsa=rsa) for rsa in (True, False)
    )
    return Guarded("SSH: login by key only", (Sshd(with_rsa, without),), (), UNDO_SECONDS, PROVE_SECONDS)


def firewall(app: App, stage: Stage, force: bool) -> tuple[Resource, ...]:
    own = (f"{stage.port}/tcp",) if stage.port else ()
    proxies = by_family(in_front(stage)["trusted_proxies"])
    wishes = {"app": app, "ports": grouped((*own, *stage.open_ports)), "proxies": proxies}
    unit = f"{UNITS}/ashore-firewall.service"
    rules: tuple[Resource, ...] = (
        SshPorts(f"{FIREWALL}/ssh.nft", SSH_RULE, force),
        proxy_of(app).since_http3(file(f"{FIREWALL}/http3.nft", "nftables/http3.nft.j2", force)),
        file(f"{FIREWALL}/app-{app.name}.nft", "nftables/app.nft.j2", force, **wishes),
        ConnectionLimit(f"{FIREWALL}/connections.nft", LIMIT_RULES, app.name, app.connections_per_address, force),
        SshPorts(f"{FIREWALL_APPS}/{app.name}.nft", unsealed("nftables/apps.nft.j2", app=app), force, user=app.name),
        file("/etc/ashore/firewall.nft", "nftables/firewall.nft.j2", force),
        UnitFile("ashore-firewall.service", file(unit, "systemd/firewall.service.j2", force)),
        Link(f"{EARLY}/ashore-firewall.service", unit),
        Firewall(),
    )
    title = f"firewall: only {', '.join(('SSH', '80', '443', *own, *stage.open_ports))} open"
    return (
        Directory("/etc/ashore"),
        Directory(FIREWALL),
        Directory(FIREWALL_APPS),
        guarded_firewall(title, rules),
    )


def guarded_firewall(title: str, steps: tuple[Resource, ...]) -> Guarded:
    return Guarded(title, steps, (LOADED,), UNDO_SECONDS, PROVE_SECONDS)


SSH_RULE = """\
# Written by Ashore, from deploy/hardening.py: the ports that sshd listens on, and those of its configuration.
tcp dport { %s } ct state new jump ssh
"""
LIMIT_RULES = """\
# Written by Ashore, from deploy/hardening.py: the most connections that one address may hold, or one /64 of IPv6.
tcp dport { 80, 443 } ct state new add @visitors { ip saddr ct count over %s } drop
tcp dport { 80, 443 } ct state new add @visitors6 { ip6 saddr & ffff:ffff:ffff:ffff:: ct count over %s } drop
udp dport 443 ct state new add @visitors { ip saddr ct count over %s } drop
udp dport 443 ct state new add @visitors6 { ip6 saddr & ffff:ffff:ffff:ffff:: ct count over %s } drop
"""


def by_family(networks: tuple[str, ...]) -> list[tuple[str, str]]:
    """(nft's word for the family, its networks as nft lists them) of addresses and networks; none within another."""
    import ipaddress

    fours = ipaddress.collapse_addresses(ipaddress.IPv4Network(one) for one in networks if ":" not in one)
    sixes = ipaddress.collapse_addresses(ipaddress.IPv6Network(one) for one in networks if ":" in one)
    families = (("ip", ", ".join(map(str, fours))), ("ip6", ", ".join(map(str, sixes))))
    return [(family, listed) for family, listed in families if listed]


def grouped(ports: tuple[str, ...]) -> list[tuple[str, str]]:
    """(protocol, its ports as nft lists them) of ports like "8443/tcp", each once."""
    found: dict[str, list[str]] = {}
    for port in dict.fromkeys(ports):
        number, _, protocol = port.partition("/")
        found.setdefault(protocol, []).append(number)
    return [(protocol, ", ".join(numbers)) for protocol, numbers in sorted(found.items())]
