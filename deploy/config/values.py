"""The kinds of values in deploy.toml: each reads a value, or raises Wrong with what it should be."""

import re
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ..agent.constants import PROXIES
from ..agent.dataclass import dataclass

RESERVED = re.compile(r"RELEASE_ID|DATA_DIR|[AW]SGI_APP|[A-Z]+_CMD_ARGS")  # what the kit sets itself
SECRETS = re.compile(r"(.*_)?(SECRET|PASSWORD|PASSPHRASE|TOKEN|(SECRET|PRIVATE|API|ACCESS)_KEY)")  # a name's end counts
LOGIN = "user@host, user@host:port or a name from ~/.ssh/config, with IPv6 in brackets: user@[fd00::1]:2222"
HOST_AND_PORT = re.compile(r"(?:\[(?P<ipv6>.*:.*)\]|(?P<name>[^\s,:@\[\]-][^\s,:@\[\]]*))(?::(?P<port>[0-9]{1,5}))?")
NAMES_TAKEN = rf"ashore|{'|'.join(PROXIES)}|systemd|private|deploy|root|user|getty|(ashore|ci|systemd)-.*"
Env = tuple[tuple[str, str], ...]
T = TypeVar("T")


class Wrong(Exception):
    """An invalid value: says what it should be; `_Reader` adds the key."""


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A kind of value. takes: the allowed values, as text."""

    takes: str
    read: Callable[[Any], T]

    def __call__(self, value: Any) -> T:
        return self.read(value)


def kind(takes: str) -> Callable[[Callable[[Any], T]], Kind[T]]:
    def made(read: Callable[[Any], T]) -> Kind[T]:
        return Kind(takes, read)

    return made


def word(pattern: str, what: str) -> Kind[str]:
    @kind(what)
    def read(value: Any) -> str:
        if not re.fullmatch(pattern, text(value)):
            raise Wrong(f"should be {what}, not {value!r}")
        return text(value)

    return read


LINE = word(r"[^\x00-\x08\x0a-\x1f\x7f-\x9f]*", "one line for /bin/sh")


def one_of(names: tuple[str, ...]) -> Kind[str]:
    """One of these names, or "" for the default."""
    takes = f"{', '.join(names[:-1])} or {names[-1]}"

    @kind(takes)
    def read(value: Any) -> str:
        if text(value) and value not in names:
            import difflib

            near = difflib.get_close_matches(value.lower(), names, 1, 0.4)
            guess = f"; did you mean {near[0]}?" if near else ""
            raise Wrong(f"should be {takes}, not {value!r}{guess}")
        return text(value)

    return read


@kind("a name of up to 30 small letters, digits and -, starting with a letter")
def app_name(value: Any) -> str:
    """The name of its user, directories and units, so it must not be used by the kit, Debian or systemd."""
    name = word(r"[a-z][a-z0-9-]{0,29}", "a short name of lowercase letters, digits and -")(value)
    if re.fullmatch(NAMES_TAKEN, name):
        raise Wrong(f"cannot be {name!r}: Ashore or the system uses that name for users, directories or units")
    return name


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong(f"should be a string, not {kind_of(value)}")
    return value


@kind("true or false")
def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"should be true or false, not {kind_of(value)}")
    return value


def number(low: int, high: int) -> Kind[int]:
    @kind(f"a whole number from {low} to {high}")
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong(f"should be a whole number, not {kind_of(value)}")
        if not low <= value <= high:
            raise Wrong(f"should be from {low} to {high}, not {value}")
        return value

    return read


@kind('a port or a range of ports with its protocol, like "8443/tcp" or "60000-61000/udp"')
def port(value: Any) -> str:
    """A port or a range of them with its protocol: "8443/tcp", "60000-61000/udp"."""
    found = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?/(tcp|udp)", text(value))
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= first <= last <= 65535:
        raise Wrong(f'should be a port like "8443/tcp" or "60000-61000/udp", not {value!r}')
    return text(value)


def login(written: str) -> tuple[str, str, int]:
    """The user, host and port of "user@host:port"; "" and 0 if ~/.ssh/config decides. Wrong for anything else."""
    user, at, rest = written.rpartition("@")
    bare = rest.count(":") > 1 and not rest.startswith("[")  # an IPv6 address has no port then
    found = HOST_AND_PORT.fullmatch(f"[{rest}]" if bare else rest)
    sound = found and re.fullmatch(r"[^\s,/]+" if at else "", user) and 1 <= int(found["port"] or 1) <= 65535
    if not found or not sound or (found["ipv6"] and not is_ipv6(found["ipv6"])):
        raise Wrong(f"should be {LOGIN}; not {written!r}")
    return user, found["ipv6"] or found["name"], int(found["port"] or 0)


def is_ipv6(address: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(address).version == 6
    except ValueError:
        return False


@kind(LOGIN)
def host(value: Any) -> str:
    login(text(value))
    return text(value)


def texts(each: Kind[str]) -> Kind[tuple[str, ...]]:
    @kind(f"a list; each item is {each.takes}")
    def read(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise Wrong(f'should be a list of strings, like ["…"], not {kind_of(value)}')
        return tuple(each(item) for item in value)

    return read


@kind("a path inside the project")
def inside(value: Any) -> str:
    """A path inside the source, with slashes, as git and the manifest spell it: "./shop/" is "shop"."""
    import posixpath

    path = text(value)
    if (
        not path
        or path.startswith(("/", "~", "-"))
        or "\\" in path
        or ".." in path.split("/")
        or not path.isprintable()
    ):
        raise Wrong(f"should be a path inside the project, not {value!r}")
    return posixpath.normpath(path)


@kind("a list; each item is a path inside the project")
def writable(value: Any) -> tuple[str, ...]:
    """Paths that are data: none is the whole source, or below another one."""
    found = tuple(dict.fromkeys(texts(inside)(value)))
    for path in found:
        if path == ".":
            raise Wrong('cannot be the whole source ("."): name the directories that the app writes to')
        above = next((other for other in found if path.startswith(f"{other}/")), "")
        if above:
            raise Wrong(f"has {path!r}, which is below {above!r}: the latter is enough")
    return found


@kind("a path inside the project")
def inside_or_none(value: Any) -> str:
    return "" if value == "" else inside(value)


@kind("names of Debian packages")
def debian_packages(value: Any) -> tuple[str, ...]:
    named = word(r"[a-z0-9][a-z0-9.+-]+", "the name of a Debian package, like libpq5")
    return tuple(dict.fromkeys(texts(named)(value)))


@kind("an IP address or a network, like 10.0.0.0/8")
def network(value: Any) -> str:
    """An address or a network, as a proxy takes it."""
    import ipaddress

    try:
        return str(ipaddress.ip_network(text(value), strict=False))
    except ValueError:
        raise Wrong(f"should be an address or a network like 10.0.0.0/8, not {value!r}") from None


@kind("a table; names are capitals, digits and _, values are strings or numbers")
def env(value: Any) -> Env:
    if not isinstance(value, dict):
        raise Wrong(f"should be a table, not {kind_of(value)}")
    for key, setting in value.items():
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", key):
            raise Wrong(f"has {key!r}: a variable name consists of capital letters, digits and _")
        if RESERVED.fullmatch(key):
            raise Wrong(f"has {key}, which Ashore sets itself")
        if key == "SECRET_KEY":
            raise Wrong(
                'has SECRET_KEY, which is generated on the server; another variable can use its value: "$SECRET_KEY"'
            )
        if SECRETS.fullmatch(key) and not re.fullmatch(r"[\d.]*|\$\w+|\$\{\w+\}", str(setting)):
            raise Wrong(f"has {key}: a secret does not belong in deploy.toml; set it on the server: fab env.set {key}")
        if isinstance(setting, bool) or not isinstance(setting, (str, int, float)):
            raise Wrong(f"has {key} = {setting!r}: should be a string or a number")
        if "\n" in str(setting) or "\0" in str(setting):
            raise Wrong(f"has {key}, whose value contains a line break")
    return tuple(sorted((key, str(setting)) for key, setting in value.items()))


MOVED = r"/(?!/)[A-Za-z0-9._~!&()*+,=:@%/-]*"  # nothing that means something in a proxy's configuration
ELSEWHERE = r"https?://[a-z0-9.-]+(:\d{1,5})?"


@kind("a table of paths, each with a path or a URL")
def redirects(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise Wrong(f'should be a table, like {{ "/old" = "/new" }}, not {kind_of(value)}')
    for moved, target in value.items():
        if not re.fullmatch(MOVED, moved) or moved == "/":
            raise Wrong(f"has {moved!r}: should be a path like /old, or /old/ for all below it, and not just /")
        if not re.fullmatch(rf"{MOVED}|{ELSEWHERE}({MOVED})?", text(target)):
            raise Wrong(f"has {moved!r} = {target!r}: a target is a path like /new, or a URL, without a query")
        if moved.endswith("/") and not target.endswith("/"):
            raise Wrong(f"has {moved!r} = {target!r}: the target of all below a path must end with /, too")
    for moved in value:
        if leads_back(moved, value):
            raise Wrong(f"has {moved!r} = {value[moved]!r}, which leads in a circle")
    return tuple(sorted(value.items()))


def leads_back(moved: str, found: dict[str, str]) -> bool:
    """Whether a visitor who follows redirects from there never arrives."""
    at = f"{moved}x" if moved.endswith("/") else moved
    for _ in range(len(found) + 1):
        below = [each for each in found if each.endswith("/") and at.startswith(each)]
        hit = at if at in found and not at.endswith("/") else max(below, key=len, default="")
        if not hit:
            return False
        at = found[hit] + at[len(hit) :]
    return True


@kind("a table of URL prefixes, each with a directory inside the project")
def static(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise Wrong(f'should be a table, like {{ "/static/" = "webapp/static" }}, not {kind_of(value)}')
    for prefix in value:
        if not re.fullmatch(r"/([\w.-]+/)+", prefix):
            raise Wrong(f"has {prefix!r}: a URL prefix begins and ends with /, and is not just /")
    return tuple((prefix, served(path)) for prefix, path in value.items())


def served(value: Any) -> str:
    """A directory of the source, for the proxy's config: it must not contain characters with a meaning there."""
    path = inside(value)
    if path == ".":
        raise Wrong("should be a directory with static files, not the whole source")
    if not re.fullmatch(r"[\w./+@-]+", path):
        raise Wrong(f"should be a directory of letters, digits and . _ + @ - / only, not {value!r}")
    return path


def kind_of(value: Any) -> str:
    names = {
        bool: "true or false",
        str: "a string",
        int: "a number",
        float: "a fraction",
        list: "a list",
        dict: "a table",
    }
    return names.get(type(value), type(value).__name__)
