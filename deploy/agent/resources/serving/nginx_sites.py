"""The names and addresses of Nginx's other sites, the kit's and others."""

import glob
import os
import re
from collections.abc import Iterator

from ...dataclass import dataclass, field
from ...system import System
from ...wire import Drift, Refused, Resource
from .nginx import CONFIG

WORD = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{};]|(?:\\.|\$\{\w+\}|[^\s{};\\])+""", re.S)
NESTED = 8  # files that include each other, at most
OURS = re.compile(r"# Written by Ashore from templates/nginx/site\.conf\.j2\b")


@dataclass
class Server:
    """One `server { … }`: what it listens on, "ADDRESS:PORT"; of which of these it is the default; its names."""

    path: str
    listens: list[str] = field(default_factory=list)
    defaults: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    @property
    def ports(self) -> set[str]:
        return {listen.rpartition(":")[2] for listen in self.listens or ["*:80"]}

    @property
    def whose(self) -> str:
        """The app and its file; or only the file, if the site is not the kit's."""
        with open(self.path, encoding="utf-8", errors="replace") as file:
            ours = OURS.match(file.readline())
        name = os.path.basename(self.path).removesuffix(".conf")
        return f"the app {name} ({self.path})" if ours else self.path


@dataclass(frozen=True)
class ServerNames(Resource):
    """The site's names, and what it listens on for itself alone, are no other site's.

    If two sites have the same name, Nginx only warns, and uses the one that it reads first. So a site that already has
    the name, and is read first, keeps it.

    own: the site's file. listens: each "ADDRESS:PORT" of which the site is the default.
    """

    names: tuple[str, ...]
    ports: tuple[int, ...]
    listens: tuple[str, ...]
    own: str
    main: str = CONFIG

    @property
    def title(self) -> str:
        return f"server names {', '.join(self.names)}: not used by another site"

    def check(self, system: System) -> list[Drift]:
        ports = {str(port) for port in self.ports}
        theirs = set(self.names)
        for server in servers(self.main):
            found = [name for name in server.names if name in theirs] if ports & server.ports else []
            if server.path == self.own:
                theirs -= set(found)
            elif found:
                hint = BY_ADDRESS if ADDRESS.fullmatch(found[0]) and found[0] != self.names[0] else HINT
                raise Refused(f"{found[0]} is the name of another site on this server: {server.whose}", hint)
            elif taken := [listen for listen in server.defaults if listen in self.listens]:
                raise Refused(f"{taken[0]} is taken by another site on this server: {server.whose}", HINT)
        return []


ADDRESS = re.compile(r"[\d.]+|.*:.*")
BY_ADDRESS = "with -H, the host is also a name of the site: put it into `hosts` in deploy.toml instead of using -H"
HINT = (
    "give each app its own `domain` in deploy.toml, or deploy this one to another host; if that site is not needed,"
    " remove its link from /etc/nginx/sites-enabled and run `systemctl reload nginx`"
)


def servers(main: str) -> Iterator[Server]:
    """Nginx's servers in the order in which it reads them, as far as its configuration can be understood."""
    yield from within(main, main, NESTED)


def within(path: str, main: str, depth: int, server: Server | None = None) -> Iterator[Server]:
    """The servers that a file defines; or, of a file that is included in one, what it says of that server."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:  # a link to nothing, or a directory: Nginx will say so
        return
    if not re.search(r"\b(listen|server_name|include)\b", text):
        return
    real = os.path.realpath(path)
    words: list[str] = []
    blocks: list[str] = []
    for found in WORD.finditer(text):
        word = found[0]
        if word[0] == "#":
            continue
        if word == "{":
            blocks.append(words[0] if words else "")
            if words == ["server"] and len(blocks) <= 2 and server is None:
                server = Server(real)
            words = []
        elif word == "}":
            if blocks and blocks.pop() == "server" and server and "server" not in blocks:
                yield server
                server = None
            words = []
        elif word != ";":
            words.append(word.strip("\"'"))
        else:
            inside = blocks[-1] if blocks else ""
            if words[:1] == ["include"] and depth and inside in ("", "http", "server"):
                for pattern in words[1:]:
                    for name in sorted(glob.glob(os.path.join(os.path.dirname(main), pattern))):
                        yield from within(name, main, depth - 1, server)
            elif server and words and inside in ("", "server"):
                told(server, words)
            words = []


def told(server: Server, words: list[str]) -> None:
    """Take what a directive says of its server."""
    if words[0] == "server_name":
        for name in map(str.lower, words[1:]):
            server.names += [name[1:], f"*{name}"] if name.startswith(".") else [name]
    elif words[0] == "listen" and len(words) > 1 and "quic" not in words:
        server.listens.append(normal(words[1]))
        if "default_server" in words or "default" in words:
            server.defaults.append(normal(words[1]))


def normal(listen: str) -> str:
    """What a server listens on, always in the form "ADDRESS:PORT"; all addresses of IPv4 are *."""
    if listen.isdigit():
        return f"*:{listen}"
    if listen.startswith("unix:"):
        return f"{listen}:"
    address, colon, port = listen.rpartition(":")
    if not colon or listen.endswith("]"):
        address, port = listen, "80"
    return f"{'*' if address in ('0.0.0.0', '*') else address}:{port}"
