"""What DNS says of a site's names, as this machine sees it, while other things are under way."""

import ipaddress
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from ..config.site import is_address

Found = dict[str, tuple[str, ...] | None]  # name → its addresses; None where DNS did not answer
UNKNOWN = {getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA") if hasattr(socket, name)}


@dataclass(frozen=True)
class NameLookup:
    """Asks for all names at once, each in a thread: resolving has no time limit of its own."""

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
        """What is known by now, or after so many seconds."""
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
    """What keeps visitors from getting to the server, and the record to make.

    address: the server's, as this machine reaches it; "" where that is not known. proxied: another server is in front.
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
    """Whether none of the addresses is the server's. By a private one, nobody can tell: it may have another as well."""
    own = ipaddress.ip_address(address)
    same = [one for one in map(ipaddress.ip_address, seen) if one.version == own.version]
    return own.is_global and bool(same) and own not in same
