"""sshd's configuration as it is written: its lines with the files that are included, and the Match blocks around them.

What the lines come to is for sshd to say (`sshd -T -C …`); this is for asking it about every login that could differ.
"""

import glob
import os
import re
from functools import cached_property
from itertools import islice, product

from ...dataclass import dataclass
from ..files import text_of

SSHD_CONFIG = "/etc/ssh/sshd_config"
DEEPEST = 16  # sshd's own limit for files that include files
MOST_TRIED = 200  # connections for one block; the plainest come first
TAKES_NO_VALUE = ("all", "invalid-user", "canonical", "final")
DIMENSIONS = {"address": "addr", "localaddress": "laddr", "localport": "lport", "host": "host", "rdomain": "rdomain"}
ELSEWHERE = {"addr": "192.0.2.1", "laddr": "127.0.0.1", "lport": "22", "host": "host.invalid", "rdomain": ""}


@dataclass(frozen=True)
class Match:
    """A Match line. written: its own words behind Match."""

    path: str
    number: int
    written: str

    @cached_property
    def criteria(self) -> tuple[tuple[str, str], ...]:
        """("user", "bob,!eve"), …, all of which a login must meet."""
        return criteria(words(self.written))

    def __str__(self) -> str:
        return f"Match {self.written}"


@dataclass(frozen=True)
class Line:
    """A keyword in small letters with its value. blocks: the Match lines that it depends on, the outermost first."""

    path: str
    number: int
    keyword: str
    value: str
    blocks: tuple[Match, ...] = ()

    def __str__(self) -> str:
        return f"{self.path}, line {self.number}"


@dataclass(frozen=True)
class Login:
    """A connection as sshd judges it. at: its `addr`, `laddr`, `lport`, `host` and `rdomain`."""

    user: str
    groups: tuple[str, ...]
    at: tuple[tuple[str, str], ...]

    @property
    def specification(self) -> str:
        """As `sshd -T -C` takes it."""
        return ",".join(f"{name}={value}" for name, value in (("user", self.user), *self.at) if value)


def lines(path: str = SSHD_CONFIG, blocks: tuple[Match, ...] = (), depth: int = 0) -> list[Line]:
    """All lines in the order in which sshd meets them; a Match ends with its file."""
    found: list[Line] = []
    outer = blocks
    for number, text in enumerate((text_of(path) or "").splitlines(), 1):
        match = re.match(r"\s*([A-Za-z][A-Za-z0-9]*)(?:\s*=\s*|\s+|$)(.*)", text)
        if not match:
            continue
        keyword, value = match[1].lower(), match[2].strip()
        if keyword == "match":
            blocks = (*outer, Match(path, number, value))
            found.append(Line(path, number, keyword, value, blocks))
            continue
        found.append(Line(path, number, keyword, value, blocks))
        if keyword == "include" and depth < DEEPEST:
            for pattern in words(value):
                for included in sorted(glob.glob(os.path.join(os.path.dirname(SSHD_CONFIG), pattern))):
                    found += lines(included, blocks, depth + 1)
    return found


def words(value: str) -> list[str]:
    """The arguments of a line, quotes and a comment taken off."""
    found = []
    for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', value):
        if plain.startswith("#"):
            break
        found.append(quoted or plain)
    return found


def criteria(arguments: list[str]) -> tuple[tuple[str, str], ...]:
    """(criterion, its patterns) of the words behind Match: "User bob", or "User=bob" as newer versions have it."""
    found = []
    waiting = list(arguments)
    while waiting:
        name, _, patterns = waiting.pop(0).partition("=")
        name = name.lower()
        if name not in TAKES_NO_VALUE and not patterns:
            patterns = waiting.pop(0) if waiting else ""
        found.append((name, patterns))
    return tuple(found)


def glob_fits(text: str, pattern: str) -> bool:
    expression = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern)
    return re.fullmatch(expression, text, re.S) is not None


def fits(text: str, patterns: str) -> bool:
    """As sshd matches a list of patterns: one with `!` that fits decides against it."""
    found = False
    for pattern in patterns.split(","):
        if glob_fits(text, pattern.lstrip("!")):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def address_fits(text: str, patterns: str) -> bool:
    import ipaddress

    found = False
    for pattern in patterns.split(","):
        bare = pattern.lstrip("!")
        try:
            inside = ipaddress.ip_address(text) in ipaddress.ip_network(bare, strict=False)
        except ValueError:
            inside = glob_fits(text, bare.lower())
        if inside and pattern.startswith("!"):
            return False
        found = found or inside
    return found


def meets(login: Login, name: str, patterns: str) -> bool:
    """Whether a login meets one criterion. One that this does not know is taken as met."""
    if name == "user":
        return fits(login.user, patterns)
    if name == "group":
        negated = ",".join(part[1:] for part in patterns.split(",") if part.startswith("!"))
        wanted = ",".join(part for part in patterns.split(",") if not part.startswith("!"))
        if negated and any(fits(group, negated) for group in login.groups):
            return False
        return any(fits(group, wanted) for group in login.groups)
    value = dict(login.at).get(DIMENSIONS.get(name, ""), "")
    if name in ("address", "localaddress"):
        return address_fits(value, patterns)
    if name == "localport":
        return value in patterns.split(",")
    if name == "host":
        return fits(value.lower(), patterns.lower())
    return fits(value, patterns) if name == "rdomain" else name != "invalid-user"


def applies(login: Login, blocks: tuple[Match, ...]) -> bool:
    return all(meets(login, name, patterns) for block in blocks for name, patterns in block.criteria)


def samples(name: str, patterns: str) -> list[str]:
    """Values that these patterns of a criterion tell apart: some that fit, and some that just do not."""
    found = []
    for pattern in patterns.split(","):
        bare = pattern.lstrip("!")
        found += addresses(bare) if name in ("address", "localaddress") else [re.sub(r"[*?]", "1", bare)]
    return [value for value in found if value]


def addresses(pattern: str) -> list[str]:
    """The first and the last of a network, and its neighbours; or one that fits a pattern with wildcards."""
    import ipaddress

    try:
        network = ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        for filling in ("1", "1.1", "1.1.1", "1.1.1.1", "::1", "1::1"):
            filled = pattern.replace("*", filling).replace("?", "1")
            try:
                return [str(ipaddress.ip_address(filled))]
            except ValueError:
                continue
        return []
    first, last = int(network.network_address), int(network.broadcast_address)
    kind = type(network.network_address)
    near = (min(first + 1, last), last, first - 1, last + 1)
    return [str(kind(number)) for number in near if 0 <= number < 1 << network.max_prefixlen]


def every_block(config: list[Line]) -> list[tuple[Match, ...]]:
    """The blocks as they are nested, each once, in the order of the files."""
    return list(dict.fromkeys(line.blocks for line in config if line.blocks))


Chain = tuple[Match, ...]


def logins(
    config: list[Line], users: list[tuple[str, tuple[str, ...]]], own: dict[str, str]
) -> dict[frozenset[Chain], list[Login]]:
    """The blocks that apply → logins to which just these do: one for each user, for each combination that can be.

    users: (name, groups). own: what is known of the connection that asks, as `Login.at` has it.
    """
    blocks = every_block(config)
    plain = {**ELSEWHERE, **own}
    found: dict[frozenset[Chain], list[Login]] = {}
    for alike in grouped(users, blocks):
        for chain in [(), *blocks]:
            tried = [values_for(chain, blocks, plain, name) for name in DIMENSIONS]
            for values in islice(product(*tried), MOST_TRIED):
                at = tuple(zip(DIMENSIONS.values(), values, strict=True))
                login = Login(*alike[0], at)
                if applies(login, chain):
                    key = frozenset(block for block in blocks if applies(login, block))
                    known = {login.user for login in found.setdefault(key, [])}
                    found[key] += [Login(*user, at) for user in alike if user[0] not in known]
    return found


def grouped(users: list[tuple[str, tuple[str, ...]]], blocks: list[Chain]) -> list[list[tuple[str, tuple[str, ...]]]]:
    """Users together whom no block tells apart."""
    told: dict[tuple[bool, ...], list[tuple[str, tuple[str, ...]]]] = {}
    about = [pair for chain in blocks for block in chain for pair in block.criteria if pair[0] in ("user", "group")]
    for user in users:
        told.setdefault(tuple(meets(Login(*user, ()), *pair) for pair in about), []).append(user)
    return list(told.values())


def values_for(chain: Chain, blocks: list[Chain], plain: dict[str, str], name: str) -> list[str]:
    """What to try for one property of a connection: what this chain of blocks asks for, then what others do."""
    key = DIMENSIONS[name]
    own, others = (
        [value for one in some for block in one for asked, patterns in block.criteria if asked == name
         for value in samples(name, patterns)]
        for some in ([chain], blocks)
    )  # fmt: skip
    return list(dict.fromkeys([*own, plain[key], ELSEWHERE[key], *others]))
