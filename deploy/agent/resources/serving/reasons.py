"""Why an instance does not answer: its journal since this start, and what to do."""

import json
import os
import re
import subprocess

from ...system import ENVIRONMENT
from ..files import text_of
from ..release.build_hints import library_of, removed_module
from .read_only import hint_of_read_only

PASSING = re.compile(r"\] \[INFO\] |^\[INFO\] |^INFO: ")  # as runners write it
NO_MODULE = re.compile(r"^ModuleNotFoundError: No module named '([\w.]+)'", re.M)


def journal(unit: str, lines: int = 200, since: float = 0) -> str:
    """What the unit wrote since its last start, as far as it tells why it ended: see `telling`.

    since: seconds since 1970, where it may have been started anew meanwhile; 0 is its last start, by whomever.
    """
    which = ["-u", unit, f"--since=@{since:.6f}"] if since else of_last_start(unit)
    argv = ["journalctl", *namespace(unit), *which, "-n", str(lines), "-o", "cat", "--no-pager", "-q"]
    return telling(subprocess.run(argv, capture_output=True, env=ENVIRONMENT).stdout.decode(errors="replace").strip())


def of_last_start(unit: str) -> list[str]:
    """What has journalctl show lines of a unit's last start only: its own, and systemd's about it."""
    argv = ["systemctl", "show", "-p", "InvocationID", "--value", unit]
    started = subprocess.run(argv, capture_output=True, env=ENVIRONMENT).stdout.decode(errors="replace").strip()
    return [f"_SYSTEMD_INVOCATION_ID={started}", "+", f"INVOCATION_ID={started}"] if started else ["-u", unit]


def namespace(unit: str) -> list[str]:
    """The option of journalctl for a unit: an app's lines are in a journal of its own, systemd's about it are not."""
    app, at, _ = unit.partition("@")
    return [f"--namespace=+{app}"] if at else []


def telling(text: str) -> str:
    """Of a journal's end, the last traceback that has frames of the app, those only; else 25 lines without frames.

    What a runner says in passing (INFO) is in the log, not here.
    """
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    for start in reversed(starts):
        kept, mine = [lines[start]], False
        for line in lines[start + 1 :]:
            if not line.startswith(" "):
                kept.append(line)
                break
            if line.startswith("  File "):
                mine = "/releases/" in line and "/source/" in line
            if mine:
                kept.append(line)
        if len(kept) > 2:
            return "\n".join(kept)
    told = [line for line in lines if not line.startswith("  ") and not PASSING.search(line)]
    return "\n".join(list(dict.fromkeys(told))[-25:])  # what is said again and again is said once


def hint_logs(unit: str) -> str:
    return f"fab logs --release {unit.partition('@')[2].removesuffix('.service')}"


def hint_for(unit: str, said: str) -> str:
    """What to do about a unit that ended, by what it said."""
    app, _, release = unit.removesuffix(".service").partition("@")
    return "\n".join(filter(None, (advice(app, release, said), hint_logs(unit))))


def advice(app: str, release: str, said: str) -> str:
    """What the release lacks or may not do, by its output; "" if that does not show it."""
    directory = f"/srv/{app}/releases/{release}"
    found = NO_MODULE.findall(said)
    if lacking := removed_module(said) or library_of(said):
        return lacking
    return missing_module(found[-1], directory) if found else hint_of_read_only(said, f"{directory}/source")


def missing_module(module: str, release: str) -> str:
    """Where a module that Python does not find should come from: the source itself, or a package."""
    try:
        made = json.loads(text_of(f"{release}/release.json") or "{}").get("app", {})
    except (ValueError, AttributeError):
        made = {}
    top = module.partition(".")[0]
    key = "asgi" if made.get("asgi") else "wsgi"
    served = str(made.get(key, "")).partition(":")[0]
    places = places_of(top, f"{release}/source")
    if "." in places or (not places and top == served.partition(".")[0]):
        return f"the deployed files have no module {module}: is it in git and in `include`? Is `{key}` right?"
    if places:
        inside = f"{places[0]}/{top}"
        return (
            f"{top} is in {places[0]}/ of the source, but Python searches only the top directory:\n"
            f'use its full name, as in {key} = "{inside.replace("/", ".")}:app", or move it up'
        )
    return f"add the package that contains the module {module} to {made.get('requirements', 'the requirements')}"


def places_of(module: str, source: str) -> list[str]:
    """The directories of the source that have a module of that name, "." for its top; the nearest first."""
    found = []
    for directory, names, files in os.walk(source):
        names[:] = [name for name in names if not name.startswith(".") and name != "node_modules"]
        package = module in names and any(name.endswith(".py") for name in os.listdir(f"{directory}/{module}"))
        if f"{module}.py" in files or package:
            found.append(os.path.relpath(directory, source))
    return sorted(found, key=lambda path: (path.count("/"), path != ".", path))
