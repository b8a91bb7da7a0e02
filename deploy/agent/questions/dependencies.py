"""Which packages a new virtualenv would have that the current one has not, and the other way round."""

import glob
import os
import re
import shutil

from ..resources.release.build_box import build
from ..resources.release.environment import secret_variables
from ..resources.release.pythons import interpreter
from ..resources.release.recipes import uv_environment
from ..system import System

ADDED, LISTED = ".ashore-adds.txt", ".ashore-listed.txt"
# What is built from the source, which is not uploaded for a preview.
LOCAL_LINE = re.compile(r"^\s*(?:(?:-e|--editable)[=\s]\s*)?(?:file:)?\.[./\w-]*(?:\[[^\]]*\])?\s*(?:[;#].*)?$", re.M)


def compare(
    old: str,
    new: str,
    texts: dict[str, str],
    requirements: str,
    uv: str,
    user: str,
    directory: str,
    adds: str = "",
    how: str = "",
    listing: str = "",
    extras: tuple[str, ...] = (),
    python: str = "",
    variables: str = "",
) -> list[tuple[str, str, str]]:
    """(name, version in `old`, version in `new`) of what differs; "" where it is not there.

    old, new: directories of virtualenvs. Where `new` is not built yet, uv resolves the requirements (texts by their
    paths, and what the kit adds) as it would install them: in the build box, as `user`, in a directory that is made for
    that and removed. variables: the release directory that has those for private indexes. how, listing, extras, python:
    as in `release.recipes`.
    """
    before = installed(old) if old else {}
    after = (
        installed(new)
        if os.path.exists(f"{new}/.complete")
        else resolved(texts, requirements, uv, user, directory, adds, how, listing, extras, python, variables)
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


def resolved(
    texts: dict[str, str],
    requirements: str,
    uv: str,
    user: str,
    directory: str,
    adds: str,
    how: str,
    listing: str,
    extras: tuple[str, ...],
    python: str,
    variables: str,
) -> dict[str, str]:
    top = f"{directory}-{os.getpid()}"
    os.mkdir(top, 0o755)  # fails where it is there already: nobody else may have made it
    try:
        own = {LISTED: listing} if listing else {}
        for name, text in {**texts, **own, **({ADDED: f"{adds}\n"} if adds else {})}.items():
            path = os.path.normpath(f"{top}/source/{name}")
            if not path.startswith(f"{top}/source/"):
                continue  # it is outside the project: uv will say that it misses it
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(LOCAL_LINE.sub("", text) if name.endswith((".txt", ".in")) else text)
        words = [word for extra in extras for word in ("--extra", extra)]
        exact = ["--no-deps"] if how and not adds else []  # a lock is complete; what the kit adds may need more
        argv = [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
        argv += ["--python", interpreter(python) or interpreter("")]
        argv += [] if interpreter(python) else ["--python-version", python]  # it is yet to be installed
        argv += [*exact, *(words if requirements.endswith(".toml") and not how else [])]
        argv += [LISTED if how else requirements, *([ADDED] if adds else [])]
        if how == "uv":
            export = [
                uv,
                "export",
                "--quiet",
                "--frozen",
                "--no-dev",
                "--no-emit-project",
                "--no-hashes",
                "--no-header",
            ]
            export += ["--no-annotate", "--project", os.path.dirname(requirements) or ".", *words]
            with open(f"{top}/source/{LISTED}", "w", encoding="utf-8") as file:
                file.write(build(System(), export, user, top, f"{top}/source", uv_environment()))
        secret = secret_variables(variables, "".join([*texts.values(), listing]))
        said = build(System(), argv, user, top, f"{top}/source", uv_environment(), secret=secret)
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
