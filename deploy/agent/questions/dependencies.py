"""Which packages a new virtualenv would have that the current one has not, and the other way round."""

import glob
import os
import re
import shutil

from ..resources.release.build_box import build
from ..resources.release.releases import uv_environment
from ..system import System

ADDED = ".ashore-adds.txt"


def compare(
    old: str, new: str, texts: dict[str, str], requirements: str, uv: str, user: str, directory: str, adds: str = ""
) -> list[tuple[str, str, str]]:
    """(name, version in `old`, version in `new`) of what differs; "" where it is not there.

    old, new: directories of virtualenvs. Where `new` is not built yet, uv resolves the requirements (texts by their
    paths, and what the kit adds) as it would install them: in the build box, as `user`, in a directory that is made for
    that and removed.
    """
    before = installed(old) if old else {}
    after = (
        installed(new)
        if os.path.exists(f"{new}/.complete")
        else resolved(texts, requirements, uv, user, directory, adds)
    )
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return [(name, before.get(name, ""), after.get(name, "")) for name in names]


def installed(venv: str) -> dict[str, str]:
    """Map normalised package name to version, by the metadata in a virtualenv."""
    found = {}
    for path in glob.glob(f"{venv}/lib/python*/site-packages/*.dist-info"):
        name, _, version = os.path.basename(path).removesuffix(".dist-info").partition("-")
        found[normal(name)] = version
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def resolved(texts: dict[str, str], requirements: str, uv: str, user: str, directory: str, adds: str) -> dict[str, str]:
    top = f"{directory}-{os.getpid()}"
    os.mkdir(top, 0o755)  # fails where it is there already: nobody else may have made it
    try:
        for name, text in texts.items():
            path = os.path.normpath(f"{top}/source/{name}")
            if not path.startswith(f"{top}/source/"):
                continue  # it is outside the project: uv will say that it misses it
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        argv = [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python", "/usr/bin/python3"]
        argv.append(requirements)
        if adds:
            with open(f"{top}/source/{ADDED}", "w", encoding="utf-8") as file:
                file.write(f"{adds}\n")
            argv.append(ADDED)
        said = build(System(), argv, user, top, f"{top}/source", uv_environment())
    finally:
        shutil.rmtree(top, ignore_errors=True)
    return dict(pinned(said))


def pinned(text: str) -> list[tuple[str, str]]:
    """(name, version) for each line `name==version` of `uv pip compile`; a package from a URL bears that as version."""
    found = []
    for line in text.splitlines():
        match = re.match(r"([\w.-]+)(?:\[[^]]*\])?\s*(?:==|@\s*)(\S+)", line)
        if match:
            found.append((normal(match[1]), match[2]))
    return found
