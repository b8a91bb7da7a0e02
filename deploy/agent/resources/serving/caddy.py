"""Caddy's configuration of this server, the names of its sites, and what its running process may read."""

import glob
import os
import re

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Refused, Resource
from ..files import text_of

HOME = "/etc/caddy"
SITES = f"{HOME}/ashore/sites"
ADDRESS = re.compile(r"https?://(\[[^]]*\]|[^:]*)(?::(\d+))?")
ADDRESSES = re.compile(r"^((?:https?://\S+?(?:, )?)+) \{$", re.M)


@dataclass(frozen=True)
class OwnCaddyfile(Resource):
    """Caddy does not serve sites of somebody else's Caddyfile, which the kit's would replace.

    drop_in: with it, Caddy reads the kit's.
    """

    drop_in: str
    path: str = f"{HOME}/Caddyfile"

    @property
    def title(self) -> str:
        return f"{self.path}: no sites of others"

    @property
    def units(self) -> tuple[str, ...]:
        return ("caddy.service",)

    def check(self, system: System) -> list[Drift]:
        if os.path.exists(self.drop_in) or system.unit("caddy.service").get("ActiveState") != "active":
            return []
        if not is_packaged(system, self.path):
            raise Refused(
                f"Caddy on this server serves the sites of {self.path}, and would no longer do so",
                "deploy to another server; if those sites are not needed: systemctl disable --now caddy",
            )
        return []


def is_packaged(system: System, path: str) -> bool:
    """Whether a configuration file is as its package brought it."""
    import hashlib

    listed = system.run(["dpkg-query", "-W", "-f", "${Conffiles}", "caddy"], accept=(0, 1))
    digests = dict(line.split()[:2] for line in listed.splitlines() if line.split())
    return hashlib.md5((text_of(path) or "").encode(), usedforsecurity=False).hexdigest() == digests.get(path)


@dataclass(frozen=True)
class SiteNames(Resource):
    """The site's names are no other site's. own: its file. port: if it is not the usual one; "" is every name there."""

    names: tuple[str, ...]
    own: str
    sites: str = SITES
    port: int = 0

    @property
    def title(self) -> str:
        at = f" at port {self.port}" if self.port else ""
        return f"server names {', '.join(filter(None, self.names))}{at}: not used by another site"

    def check(self, system: System) -> list[Drift]:
        for path in sorted(glob.glob(f"{self.sites}/*.caddy")):
            taken = names_in(text_of(path) or "", self.port) if path != self.own else set()
            for name in self.names:
                if name in taken:
                    app = os.path.basename(path).removesuffix(".caddy")
                    what = f"{name} is the name" if name else f"port {self.port} is that"
                    raise Refused(
                        f"{what} of another site on this server: the app {app} ({path})",
                        "give each app its own `domain` in deploy.toml, or deploy this one to another host; if that"
                        f" site is not needed, remove {path} and run `systemctl reload caddy`",
                    )
        return []


def names_in(text: str, port: int = 0) -> set[str]:
    """The names of the sites in a file of ours, at a port or (0) at the usual ones; "" for all others there."""
    found = (ADDRESS.fullmatch(address) for line in ADDRESSES.findall(text) for address in line.split(", "))
    return {address[1].strip("[]") for address in found if address and int(address[2] or 0) == port}


@dataclass(frozen=True)
class Regrouped(Resource):
    """The running Caddy is in a group, by which it reads the files of an app.

    A process keeps the groups that it started with. script: starts a second Caddy beside the first one, replaces the
    first one, and ends the second, so that no request of other apps' visitors is lost.
    """

    group: str
    script: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"caddy: reads the files of {self.group}"

    @property
    def units(self) -> tuple[str, ...]:
        return ("caddy.service",)

    @property
    def shares(self) -> str:
        return "caddy"

    def check(self, system: System) -> list[Drift]:
        import grp

        status = text_of(f"/proc/{system.unit('caddy.service').get('MainPID', '0')}/status") or ""
        groups = re.search(r"^Groups:(.*)$", status, re.M)
        if not groups:  # it does not run
            return []
        try:
            wanted = str(grp.getgrnam(self.group).gr_gid)
        except KeyError:
            return []  # an earlier step of the plan makes it
        return [] if wanted in groups[1].split() else [Drift("group of the running process", "absent", self.group)]

    def apply(self, system: System) -> None:
        system.run(self.script)
        system.forget()
