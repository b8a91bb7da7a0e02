"""Locked packages as lines of a requirements file, for uv."""

import re

from ...agent.dataclass import dataclass


@dataclass(frozen=True)
class Locked:
    """One package of a lock. source: a URL, or a path in the project, in place of a version from an index.

    hashes: "sha256:…". marker: when it is installed, "" for always.
    """

    name: str
    version: str
    hashes: tuple[str, ...] = ()
    marker: str = ""
    source: str = ""
    extras: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        name = self.name + (f"[{','.join(self.extras)}]" if self.extras else "")
        if self.source and "://" not in self.source:
            line = f"./{self.source.removeprefix('./')}" if self.source != "." else "."
            return line + (f"[{','.join(self.extras)}]" if self.extras else "")
        line = f"{name} @ {self.source}" if self.source else f"{name}=={self.version}" if self.version else name
        line += f" ; {self.marker}" if self.marker else ""
        return line + "".join(f" --hash={found}" for found in sorted(self.hashes))


@dataclass(frozen=True)
class Listing:
    """What a lock installs. directories: of the source, that packages of it are built from; "." is the project itself.

    indexes: (name, URL) of those that it names besides the usual one.
    """

    packages: tuple[Locked, ...]
    directories: tuple[str, ...] = ()
    indexes: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        return "".join(f"{package.line}\n" for package in self.packages)

    @property
    def hashed(self) -> bool:
        return bool(self.packages) and all(package.hashes for package in self.packages)

    def names(self) -> set[str]:
        return {normal(package.name) for package in self.packages}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def joined(*markers: str) -> str:
    """All of the markers: "(a) and (b)"; "" where none says anything."""
    said = [f"({marker})" if " or " in marker else marker for marker in markers if marker]
    return " and ".join(dict.fromkeys(said))


def either(markers: list[str]) -> str:
    """One of the markers is enough; "" where one of them always holds."""
    if not markers or "" in markers:
        return ""
    different = list(dict.fromkeys(markers))
    return " or ".join(f"({marker})" if " and " in marker else marker for marker in different)


def other_indexes(sources: object) -> tuple[tuple[str, str], ...]:
    """(name, URL) of a list of tables with indexes, but the public one: the server may have its own in its place."""
    listed = [each for each in sources if isinstance(each, dict)] if isinstance(sources, list) else []
    named = [(str(each.get("name", "")), str(each.get("url", ""))) for each in listed]
    return tuple((name, url) for name, url in named if url and name.lower() != "pypi")
