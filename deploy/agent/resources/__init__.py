"""The kinds of resource, by name: one class is one kind, with its check and apply.

    files, config_files   what every server has: files, directories, links; files that only make sense together
    host/      the machine: packages, users, swap, logs, warnings about it
    access/    access: sshd, logins, firewall, keys, and changes that a second login must confirm
    release/   one release: its upload, source, virtualenv, environment, commands
    serving/   serving visitors: services, health, the switch of traffic and its watch, sites
    tls/       certificates, and requesting them

A kind's module is found by the name of its class, and imported on the server when a plan first names it.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

from ..wire import Resource, Value

CLASS = re.compile(r"^class (\w+)\(", re.M)


class Kinds(Mapping[str, type]):
    """Kind name → class."""

    def __getitem__(self, name: str) -> type:
        for module, text in sources():
            if f"\nclass {name}(" in text:
                found: type = getattr(import_module(module), name)
                if issubclass(found, (Resource, Value)):
                    return found
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        for module, text in sources():
            for name in CLASS.findall(text):
                if issubclass(getattr(import_module(module), name), Resource):
                    yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)


def sources() -> Iterator[tuple[str, str]]:
    """(module, text) of the modules of resources: as they were sent, else as they are on the disk."""
    sent = getattr(sys.modules["__main__"], "SOURCES", None)
    if sent is not None:
        yield from ((name, text) for name, text in sent.items() if name.startswith(f"{__name__}."))
        return
    here = Path(__file__).parent
    for path in sorted(here.rglob("*.py")):
        if path.name != "__init__.py":
            yield ".".join([__name__, *path.relative_to(here).with_suffix("").parts]), path.read_text("utf-8")


KINDS = Kinds()
