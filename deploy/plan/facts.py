"""The input of a plan: the server's facts, and the release to serve."""

from typing import Any

from ..agent.constants import PROXY
from ..agent.dataclass import dataclass, field, fields, replace
from ..config.site import Site

SYSTEMS = ("debian", "ubuntu")  # IDs of os-release that the kit knows


@dataclass(frozen=True)
class Place:
    """Where visitors find an app: its domain or address, its port (0: the usual one), its path ("": all of it).

    guest_of: the app that has the domain, if that is another one. prefixes: URLs of its static files.
    """

    app: str
    domain: str
    port: int = 0
    path: str = ""
    guest_of: str = ""
    prefixes: tuple[str, ...] = ()

    @classmethod
    def of(cls, found: dict[str, Any]) -> "Place":
        return cls(**{**found, "prefixes": tuple(found.get("prefixes", ()))})


@dataclass(frozen=True)
class Facts:
    """Facts about a server and one app on it.

    records: release ID → its release.json and its `state`. current, previous: release IDs, "" if there is none.
    proxy: the version of its package. provisioned: layout.PROVISION at the last provision; "" before the first one.
    ci: the version of the kit that plans for CI keys of the app; "" if there are none.
    pythons: versions of those that uv has installed.
    scale: how many of which process `fab scale` wants.
    place: where visitors find the current release, None without one; neighbours: where they find other apps.
    data: why the app cannot write its data at the moment, as text; "" if it can.
    """

    hostname: str
    system: str
    python: str
    cpus: int
    proxy: str
    records: dict[str, dict[str, Any]]
    current: str
    previous: str
    maintenance: bool
    provisioned: str
    uv: tuple[str, ...]
    ci: str = ""
    data: str = ""
    pythons: tuple[str, ...] = ()
    scale: dict[str, int] = field(default_factory=dict)
    place: Place | None = None
    neighbours: tuple[Place, ...] = ()

    @classmethod
    def of(cls, reply: dict[str, Any], proxy: str = PROXY) -> "Facts":
        """proxy: the name of the app's."""
        known = [field.name for field in fields(cls) if field.name in reply]  # another version may send fewer
        values: dict[str, Any] = {name: reply[name] for name in known}
        values |= {"place": Place.of(reply["place"]) if reply.get("place") else None}
        values |= {"neighbours": tuple(map(Place.of, reply.get("neighbours", ())))}
        lists = {"uv": tuple(values["uv"]), "pythons": tuple(values.get("pythons", ()))}
        return cls(**values | lists | {"proxy": reply.get(proxy, "")})

    def with_scale(self, scale: dict[str, int]) -> "Facts":
        return replace(self, scale=scale)

    @property
    def guests(self) -> tuple[Place, ...]:
        """Apps below a path of the domain that the current release has."""
        if self.place is None or self.place.guest_of:
            return ()
        return tuple(one for one in self.neighbours if one.guest_of and one.domain == self.place.domain)

    @property
    def good(self) -> list[str]:
        """IDs of releases that served until their watch ended, oldest first."""
        return sorted(name for name, record in self.records.items() if record["state"] == "good")

    @property
    def record(self) -> dict[str, Any]:
        """The current release's."""
        return self.records.get(self.current, {})


@dataclass(frozen=True)
class Release:
    """A release to serve. site: how visitors reach it. record: its release.json."""

    id: str
    site: Site
    record: dict[str, Any]
