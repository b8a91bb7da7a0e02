"""The parts of a release: its virtualenv's name, its environment, its unit, and the digest of them all."""

import hashlib
import json
from typing import Any

from ..agent import layout
from ..agent.dataclass import replace
from ..agent.resources.release.recipes import Recipe
from ..agent.wire import Entry, pack
from ..config.reader import App
from ..config.site import Site, is_address
from ..source.dependencies import Dependencies
from ..stack.runners import runner

RECORDED = (
    "wsgi", "requirements", "static", "health_path", "health_seconds", "warm_paths", "worker_class", "workers",
    "threads", "timeout_seconds", "memory_percent", "cpu_percent", "tasks_max", "tmp_megabytes", "outbound",
    "allow_jit", "writable_paths", "devices",
)  # fmt: skip  # settings that belong to the code: a reactivated release uses its own


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
    return {
        "DATA_DIR": layout.data(app.name),
        "FLASK_APP": app.wsgi,  # for `fab run "flask …"` and release commands
        "WSGI_APP": app.wsgi,
        **runner().environment(app, cpus),
    }


def unit_text(app: App) -> str:
    return runner().unit(app, layout.ROOM_SCRIPT)


def static_links(static: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The links of a release for its static files: (name, directory of its source)."""
    return tuple((layout.static_name(prefix), directory) for prefix, directory in static)


def digest(app: App, site: Site, entries: tuple[Entry, ...], key: str, cpus: int) -> str:
    """Same digest, same release: covers what would be built, except its ID and variables set on the server."""
    parts: list[Any] = [entries, key, settings(app, cpus), app.env, unit_text(app), runner().files(app, cpus)]
    name = site.names[0]  # the app's DOMAIN
    if not is_address(name):  # an address differs per host, and all hosts of a stage share their releases
        parts.append(name)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def recorded(app: App) -> dict[str, Any]:
    """The settings of the app that belong to a release, for its release.json."""
    return {name: getattr(app, name) for name in RECORDED}


def as_recorded(app: App, record: dict[str, Any]) -> App:
    """The app as it was when a release was made, by its release.json."""
    found = {name: value for name, value in record.get("app", {}).items() if name in RECORDED}
    lists = {name: tuple(value) for name, value in found.items() if isinstance(value, list)}
    if "static" in found:
        lists["static"] = tuple((prefix, directory) for prefix, directory in found["static"])
    found |= lists
    return replace(app, **found)
