"""The kinds of resource, by name. A kind's module is imported, on the server, when a plan first names it."""

from collections.abc import Iterator, Mapping
from importlib import import_module

HOMES = {
    "files": ("File", "Directory", "Link", "Absent"),
    "config_files": ("Config",),
    "logs": ("LogDirectory",),
    "host": ("DnsElsewhere", "Platform", "Port", "HostNames", "SecretKey"),
    "packages": ("Packages", "SinceVersion", "Uv"),
    "users": ("User", "Member"),
    "health": ("Healthy", "Warmed", "Reachable"),
    "services": ("Service", "UnitFile", "Retired"),
    "uploads": ("Room", "Uploaded", "Discarded"),
    "releases": ("Source", "Virtualenv", "Pruned"),
    "certificates": ("Placeholder", "OwnCertificate", "Presented"),
    "acme": ("Issued", "NotRenewed", "Revoked", "TrustedAuthority"),
    "environment": ("Environment", "FirstEnvironment"),
    "commands": ("ReleaseCommand",),
    "keys": ("LoginUser", "Keyring", "Disconnected", "Tree", "Unused"),
    "noticed": ("Noticed",),
    "probe": ("Probed",),
    "traffic": ("Watched",),
    "way_back": ("WayBack", "TrafficBack"),
    "door": ("Guarded",),
    "sshd": ("Sshd",),
    "admitted": ("Admitted",),
    "firewall": ("SshPorts", "ConnectionLimit", "Firewall", "NoFirewall"),
    "swap": ("Swap",),
    "nginx": ("WorkerConnections",),
    "static": ("StaticLinks",),
    "sites": ("ServerNames", "DefaultServer"),
}


class Kinds(Mapping[str, type]):
    """Kind name → class."""

    def __getitem__(self, name: str) -> type:
        for module, names in HOMES.items():
            if name in names:
                found: type = getattr(import_module(f"{__name__}.{module}"), name)
                return found
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for names in HOMES.values() for name in names)

    def __len__(self) -> int:
        return sum(len(names) for names in HOMES.values())


KINDS = Kinds()
