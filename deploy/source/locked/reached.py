"""Which packages of a lock the project needs, where the lock does not say: from its dependencies, and theirs."""

import re
from collections.abc import Iterable, Mapping

from ...agent.dataclass import dataclass
from .listing import either, joined, normal

MOST_PATHS = 6  # ways to a package of which each has a marker of its own: beyond, it is installed in any case


@dataclass(frozen=True)
class Wanted:
    """A package that another one needs."""

    name: str
    marker: str = ""
    extras: tuple[str, ...] = ()


REQUIREMENT = re.compile(r"\s*([A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)\s*(?:\[([^\]]*)\])?([^;]*)(?:;(.*))?", re.S)


def requirement(line: str) -> Wanted:
    """A line of [project] dependencies."""
    found = REQUIREMENT.match(line)
    if not found:
        return Wanted("")
    extras = tuple(normal(extra.strip()) for extra in (found[2] or "").split(",") if extra.strip())
    return Wanted(normal(found[1]), (found[4] or "").strip(), extras)


def reached(wanted: Iterable[Wanted], needs: Mapping[str, Mapping[str, list[Wanted]]]) -> dict[str, str]:
    """Name → the marker with which it is installed, of all that is needed.

    needs: name → extra ("" for none) → what it needs.
    """
    markers: dict[str, list[str]] = {}
    seen: set[tuple[str, str, str]] = set()
    waiting = [(each, "") for each in wanted]
    while waiting:
        each, above = waiting.pop()
        if each.name not in needs:
            continue  # a lock leaves out what no platform of the project needs
        marker = joined(above, each.marker)
        found = markers.setdefault(each.name, [])
        if marker not in found:
            if len(found) >= MOST_PATHS:
                marker = ""
            found.append(marker)
        for extra in ("", *each.extras):
            if (each.name, extra, marker) not in seen:
                seen.add((each.name, extra, marker))
                waiting += [(need, marker) for need in needs[each.name].get(extra, [])]
    return {name: either(found) for name, found in markers.items()}
