"""The parts of a release: its virtualenv's name, its environment, its unit, and the digest of them all."""

import hashlib
import json
from typing import Any

from ..agent import layout
from ..agent.dataclass import asdict, fields, replace
from ..agent.resources.release.recipes import Recipe
from ..agent.wire import Entry, pack
from ..config.processes import Process, Timer
from ..config.reader import App
from ..config.site import Site, is_address
from ..source.dependencies import Dependencies
from ..stack.data import served_data
from ..stack.processes import unit_texts
from ..stack.runners import runner_of
from .places import recorded_place

RECORDED = (
    "wsgi", "requirements", "static", "health_path", "health_seconds", "warm_paths", "worker_class", "workers",
    "threads", "timeout_seconds", "memory_percent", "cpu_percent", "tasks_max", "tmp_megabytes", "outbound",
    "allow_jit", "writable_paths", "devices",
)  # fmt: skip  # settings that belong to the code: a reactivated release uses its own
RECORDED_IF_SET = (
    "build_command",
    "writable",
    "asgi",
    "runner",
    "web",
    "processes",
    "timers",
    "mount",
)  # a release whose record lacks them has none


def venv_key(
    entries: tuple[Entry, ...], found: Dependencies, python: str, confined: bool = False, adds: str = ""
) -> str:
    """Names the virtualenv: releases with the same Python and the same requirements share one.

    confined: built for a CI key: it is never shared with an operator's release, and is removed with the key's releases.
    adds: see `requirements.added`.
    """
    python_minor = ".".join(python.split(".")[:2])
    parts: list[Any] = [python_minor, layout.UV_VERSION, sorted(found.read.items()), "ci" if confined else "operator"]
    parts += [adds] if adds else []
    if found.inputs:  # it may be built from files of the source, so its name depends on them
        whole = "." in found.inputs
        under = tuple(f"{path}/" for path in found.inputs)
        parts.append([e for e in entries if whole or e.path in found.inputs or e.path.startswith(under)])
    how = found.recipe if found.recipe.how else replace(found.recipe, hashed=False)
    parts += [recorded_recipe(how)] if how != Recipe() else []
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def recorded_recipe(recipe: Recipe) -> dict[str, Any]:
    """For release.json: what is not as usual."""
    packed: dict[str, Any] = {key: value for key, value in pack(recipe).items() if key != "kind"}
    return packed


def recipe_of(record: dict[str, Any]) -> Recipe:
    """How a release's virtualenv is made, by its release.json."""
    recipe: dict[str, Any] = record.get("recipe", {})
    found: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in recipe.items()}
    return Recipe(**found)


def settings(app: App, cpus: int) -> dict[str, str]:
    """The variables that the kit sets for a release, besides RELEASE_ID."""
    asgi = {"QUART_APP": app.served, "ASGI_APP": app.served}
    return {
        "DATA_DIR": layout.data(app.name),
        **(of_server(app) if app.web else asgi if app.is_asgi else of_wsgi(app)),
        **runner_of(app).environment(app, cpus),
    }


def of_server(app: App) -> dict[str, str]:
    found = {"FLASK_APP": app.target} if ":" in app.target else {}
    return found | ({"SCRIPT_NAME": app.mount} if app.mount else {})


def of_wsgi(app: App) -> dict[str, str]:
    return {
        "FLASK_APP": app.wsgi,  # for `fab run "flask …"` and release commands
        "WSGI_APP": app.wsgi,
    }


def unit_text(app: App) -> str:
    return runner_of(app).unit(app, layout.ROOM_SCRIPT)


def static_links(app: App) -> tuple[tuple[str, str], ...]:
    """The links of a release for its static files: (name, directory of its source). Data needs none."""
    data = served_data(app)
    return tuple((layout.static_name(prefix), path) for prefix, path in app.static if (prefix, path) not in data)


def digest(app: App, site: Site, entries: tuple[Entry, ...], key: str, cpus: int) -> str:
    """Same digest, same release: covers what would be built, except its ID and variables set on the server."""
    parts: list[Any] = [entries, key, settings(app, cpus), app.env, unit_text(app), runner_of(app).files(app, cpus)]
    parts += [[app.build_command, app.writable]] if app.build_command or app.writable else []
    beside = unit_texts(app, "RELEASE")
    parts += [beside] if beside else []
    name = site.names[0]  # the app's DOMAIN
    if not is_address(name):  # an address differs per host, and all hosts of a stage share their releases
        parts.append(name)
    parts += [recorded_place(site)] if recorded_place(site) else []
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def recorded(app: App) -> dict[str, Any]:
    """The settings of the app that belong to a release, for its release.json."""
    found = {name: getattr(app, name) for name in RECORDED}
    found |= {name: plain(getattr(app, name)) for name in RECORDED_IF_SET if getattr(app, name)}
    if app.is_asgi or app.runner:
        found |= {"asgi": app.asgi, "runner": app.run_by}  # as it is now, whatever later versions choose by themselves
    return found


def plain(value: Any) -> Any:
    """As JSON has it: of what has keys of its own, a table."""
    of_processes = isinstance(value, tuple) and any(isinstance(item, (Process, Timer)) for item in value)
    return [asdict(item) for item in value] if of_processes else value


def as_recorded(app: App, record: dict[str, Any]) -> App:
    """The app as it was when a release was made, by its release.json."""
    default = {field.name: field.default for field in fields(App)}
    known = record.get("app", {})
    found = {name: known[name] for name in RECORDED if name in known}
    if known:
        found |= {name: known.get(name, default[name]) for name in RECORDED_IF_SET}
    lists = {name: tuple(value) for name, value in found.items() if isinstance(value, list)}
    if "static" in found:
        lists["static"] = tuple((prefix, directory) for prefix, directory in found["static"])
    for key, kind in (("processes", Process), ("timers", Timer)):
        if key in found:
            lists[key] = tuple(kind(**table) for table in found[key])
    found |= lists
    return replace(app, **found)
