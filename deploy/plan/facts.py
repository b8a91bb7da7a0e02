"""What a plan is made from: what a server told, and the release that is to serve."""

from dataclasses import dataclass, fields
from typing import Any

from ..agent.constants import PROXY
from ..config.site import Site


@dataclass(frozen=True)
class Facts:
    """What a server told of itself and of one app on it.

    records: release ID → its release.json and its `state`. current, previous: release IDs, "" where there is none.
    proxy: its package's version. provisioned: layout.PROVISION, as it was then; "" before the first provision.
    ci: the version of the kit that makes plans for CI keys of the app; "" where there are none.
    data: why the app cannot write its data at the moment, in words; "" where it can.
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

    @classmethod
    def of(cls, reply: dict[str, Any]) -> "Facts":
        known = [field.name for field in fields(cls) if field.name in reply]  # another kit's side may tell less
        values: dict[str, Any] = {name: reply[name] for name in known}
        return cls(**values | {"uv": tuple(values["uv"]), "proxy": reply[PROXY]})

    @property
    def good(self) -> list[str]:
        """IDs of releases that have served to the end of their watch, oldest first."""
        return sorted(name for name, record in self.records.items() if record["state"] == "good")

    @property
    def record(self) -> dict[str, Any]:
        """The current release's."""
        return self.records.get(self.current, {})


@dataclass(frozen=True)
class Release:
    """What is to serve. site: how visitors reach it. record: its release.json."""

    id: str
    site: Site
    record: dict[str, Any]
