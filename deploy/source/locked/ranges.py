"""Ranges of versions, as pyproject.toml, Poetry and .python-version write them."""

import re

from ...agent.dataclass import dataclass

Version = tuple[int, ...]


class Unreadable(Exception):
    """A range that is none."""


@dataclass(frozen=True)
class Bound:
    """One part of a range. operator: one of >=, >, <=, <, ==, !=; for the last two, a prefix of a version counts."""

    operator: str
    version: Version

    def admits(self, version: Version) -> bool:
        wide = max(len(version), len(self.version))
        found, limit = padded(version, wide), padded(self.version, wide)
        if self.operator in ("==", "!="):
            same = version[: len(self.version)] == self.version
            return same == (self.operator == "==")
        return {">=": found >= limit, ">": found > limit, "<=": found <= limit, "<": found < limit}[self.operator]


def padded(version: Version, length: int) -> Version:
    return version + (0,) * (length - len(version))


Range = tuple[tuple[Bound, ...], ...]  # one of these must hold, with all of its parts


def parsed(text: str) -> Range:
    """ ">=3.10,<4", "^3.12", "~3.11", "3.12", "3.12.*", ">=3.8 || ^2.7". Unreadable for anything else."""
    return tuple(tuple(bound for part in parts(each) for bound in bounds(part)) for each in re.split(r"\|\|?", text))


def parts(text: str) -> list[str]:
    found = [
        part for part in re.split(r"\s*,\s*|\s+(?=[<>=!~^])", re.sub(r"([<>=!~^])\s+", r"\1", text.strip())) if part
    ]
    return found or ["*"]


def bounds(part: str) -> tuple[Bound, ...]:
    if part == "*":
        return ()
    found = re.fullmatch(
        r"(\^|~=|~|===?|!=|>=|<=|>|<)?\s*v?(\d+(?:\.\d+)*)(\.[*xX])?(?:[-.]?(?:a|b|rc|dev|post)\d*)*", part
    )
    if not found:
        raise Unreadable(part)
    operator, version = found[1] or "==", tuple(map(int, found[2].split(".")))
    if operator == "===":
        operator = "=="
    if operator in ("~=", "~"):
        upper = version[:-1] if operator == "~=" and len(version) > 1 else version[:2]
        return Bound(">=", version), Bound("<", (*upper[:-1], upper[-1] + 1))
    if operator == "^":
        first = next((n for n, each in enumerate(version) if each), len(version) - 1)
        return Bound(">=", version), Bound("<", (*version[:first], version[first] + 1))
    return (Bound(operator, version),)


def admits(wanted: Range, version: Version) -> bool:
    return any(all(bound.admits(version) for bound in each) for each in wanted)


def as_marker(text: str) -> str:
    """A range of Pythons in Poetry's words as an environment marker; "" where it cannot be read."""
    try:
        found = parsed(text)
    except Unreadable:
        return ""
    each = [" and ".join(one_marker(bound) for bound in all_of) for all_of in found if all_of]
    return "" if len(each) < len(found) else " or ".join(each)


def one_marker(bound: Bound) -> str:
    name = "python_full_version" if len(bound.version) > 2 else "python_version"
    return f'{name} {bound.operator} "{".".join(map(str, bound.version))}"'
