"""The addresses that DNS has for a site's names, looked up in the background."""

import ipaddress
import socket
import threading
from collections.abc import Iterable

from ..agent.dataclass import dataclass
from ..config.site import is_address

Found = dict[str, tuple[str, ...] | None]  # name → its addresses; None where DNS did not answer
UNKNOWN = {getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)}


@dataclass(frozen=True)
class NameLookup:
    """Looks up all names at once, each in a thread, because resolving has no time limit."""

    names: tuple[str, ...]
    answers: Found
    threads: tuple[threading.Thread, ...]

    @classmethod
    def of(cls, names: Iterable[str]) -> "NameLookup":
        wanted = tuple(name for name in dict.fromkeys(names) if not is_address(name) and not name.startswith("*"))
        answers: Found = {}

        def ask(name: str) -> None:
            answers[name] = addresses(name)

        threads = tuple(threading.Thread(target=ask, args=(name,), daemon=True) for name in wanted)
        for thread in threads:
            thread.start()
        return cls(wanted, answers, threads)

    def found(self, seconds: float) -> Found:
        """The results so far, after waiting for at most this many seconds."""
        for thread in self.threads:
            thread.join(seconds / len(self.threads))
        return {name: self.answers.get(name) for name in self.names}


def addresses(name: str) -> tuple[str, ...] | None:
    try:
        rows = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return () if error.errno in UNKNOWN else None
    except OSError:
        return None
    return tuple(dict.fromkeys(str(row[4][0]).partition("%")[0] for row in rows))


def notes(found: Found, address: str, proxied: bool) -> list[str]:
    """Why visitors cannot reach the server by a name, and the DNS record to add.

    address: the server's, as this machine reaches it; "" if unknown. proxied: another server is in front of it.
    """
    kind = "AAAA" if ":" in address else "A"
    told = []
    for name, seen in found.items():
        record = f"at your DNS provider, add the record: {name} {kind} {address or 'ADDRESS OF THE SERVER'}"
        if seen is None:
            continue
        if not seen:
            told.append(f"DNS has no address for {name}, so visitors cannot reach it: {record}")
        elif address and not proxied and elsewhere(seen, address):
            there = ", ".join(seen)
            what = f"DNS points {name} to {there}, but this server is {address}"
            told.append(f"{what}: unless a CDN or proxy there forwards to this server, {record}")
    return told


def elsewhere(seen: tuple[str, ...], address: str) -> bool:
    """Whether no address is the server's. False for a private server address: the server may have a public one, too."""
    own = ipaddress.ip_address(address)
    same = [one for one in map(ipaddress.ip_address, seen) if one.version == own.version]
    return own.is_global and bool(same) and own not in same
