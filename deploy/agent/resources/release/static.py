"""Links by which the proxy finds a release's static files."""

import os

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Resource
from ..files import Link, required_ids


@dataclass(frozen=True)
class StaticLinks(Resource):
    """A release's links to the directories of its static files, by which the proxy finds them through `current`.

    links: (name, directory of its source). reader: the proxy, for people. packed: by way of `Packed`.
    """

    directory: str
    group: str
    links: tuple[tuple[str, str], ...]
    reader: str
    packed: bool = False

    @property
    def title(self) -> str:
        return f"static files of {os.path.basename(self.directory)}: linked for {self.reader}"

    def check(self, system: System) -> list[Drift]:
        return [drift for link in self._links() for drift in link.check(system)]

    def apply(self, system: System) -> None:
        made = f"{self.directory}/static"
        os.makedirs(made, exist_ok=True)
        os.chown(made, *required_ids("root", self.group))
        os.chmod(made, 0o750)
        for link in self._links():
            if link.check(system):
                link.apply(system)

    def _links(self) -> list[Link]:
        targets = [(name, f"../packed/{name}" if self.packed else f"../source/{path}") for name, path in self.links]
        return [Link(f"{self.directory}/static/{name}", target) for name, target in targets]
