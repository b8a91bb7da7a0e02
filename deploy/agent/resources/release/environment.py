"""A release's environment: what the kit sets, what deploy.toml says, and what `fab env.set` has put on the server."""

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Refused, Resource, Secret
from ..files import replace, text_of

LAYERS = ("kit", "app", "set")  # each goes over those before it
REFERENCE = re.compile(r"\$\$|\$(?:([A-Z_][A-Z0-9_]*)|\{([A-Z_][A-Z0-9_]*)\})")  # $$ is a plain $
Layers = dict[str, dict[str, str]]


def environment_file(values: Mapping[str, str]) -> str:
    """The text of a file for systemd's EnvironmentFile=: each value in double quotes, escaped as systemd reads it."""
    lines = ["# Written by Ashore for this release; `fab env.set` makes another."]
    for key, value in values.items():
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`").replace("$", "\\$")
        lines.append(f'{key}="{escaped}"')
    return "\n".join(lines) + "\n"


def layers_of(directory: str) -> Layers:
    """What `Environment` wrote for a release: a table of names and values for each of LAYERS."""
    try:
        with open(f"{directory}/env.json", encoding="utf-8") as file:
            found: Layers = json.load(file)
    except FileNotFoundError:
        found = {}
    return {layer: found.get(layer, {}) for layer in LAYERS}


def changed(layer: Mapping[str, str], change: Mapping[str, str | None]) -> dict[str, str]:
    """A layer after a change, in which None takes a name away."""
    after = {**layer, **change}
    return {key: value for key, value in sorted(after.items()) if value is not None}


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[tuple[str, str]]:
    """(name, "added" | "removed" | "changed"), sorted; values stay out of it."""
    found = []
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            found.append((name, "added" if name not in before else "removed" if name not in after else "changed"))
    return found


@dataclass(frozen=True)
class Environment(Resource):
    """The files `env` (for systemd) and `env.json` (its layers, for the release after it) in a release's directory.

    base: the release directory whose variables it takes over, "" for none. layers: JSON of the layers "kit" and "app";
    "" takes these over, too. change: JSON of {name: value, or null to take it away} for the layer "set". secrets: the
    file of the app's own secrets, which values may refer to.
    """

    directory: str
    base: str
    layers: Secret
    change: Secret | None = None
    secrets: str = ""

    @property
    def title(self) -> str:
        return "environment of the release: written"

    @property
    def path(self) -> str:
        return f"{self.directory}/env"

    def check(self, system: System) -> list[Drift]:
        if os.path.exists(self.path):
            return []
        layers = self._layers()
        before, after = merged(layers_of(self.base)) if self.base else {}, merged(layers)
        resolved(layers, secrets_of(self.secrets))  # refuses what cannot be, before anything is changed
        if "RELEASE_ID" not in before:
            return [Drift("environment", "absent", "written")]
        for name in {"RELEASE_ID", "PYTHONPATH"} & after.keys():
            before[name] = after[name]  # another one in every release
        seen = [Drift(f"{name} {how}", "[hidden]", "[hidden]") for name, how in differences(before, after)]
        return seen or [Drift("environment", "absent", "as in the release before")]

    def apply(self, system: System) -> None:
        layers = self._layers()
        replace(f"{self.directory}/env.json", json.dumps(layers, indent=1).encode(), 0o600, 0, 0)
        replace(self.path, environment_file(resolved(layers, secrets_of(self.secrets))).encode(), 0o600, 0, 0)

    def _layers(self) -> Layers:
        layers = layers_of(self.base)
        if self.layers.value:
            layers |= json.loads(self.layers.value)
        kit = {name: value.replace(f"{self.base}/", f"{self.directory}/") for name, value in layers["kit"].items()}
        layers["kit"] = kit | {"RELEASE_ID": os.path.basename(self.directory)}
        layers["set"] = changed(layers["set"], json.loads(self.change.value) if self.change else {})
        return layers


def merged(layers: Layers) -> dict[str, str]:
    return {key: value for layer in LAYERS for key, value in layers[layer].items()}


def resolved(layers: Layers, secrets: Mapping[str, str]) -> dict[str, str]:
    """The environment of a release: in values of deploy.toml, $NAME is the value that the release has for that name.

    What `fab env.set` has set is taken as it is. Refused where a value refers to itself, or to an unknown name.
    """
    values = {**secrets, **merged(layers)}
    written = {name for name in layers["app"] if name not in layers["set"]}

    def value_of(name: str, asked: tuple[str, ...]) -> str:
        if name not in written:
            return values[name]
        return REFERENCE.sub(lambda found: referred(found, (*asked, name)), values[name])

    def referred(found: re.Match[str], asked: tuple[str, ...]) -> str:
        name = found[1] or found[2]
        if name is None:
            return "$"
        if name in asked:
            raise Refused(f"env in deploy.toml: {name} refers to itself", "write $$ for a plain $")
        if name not in values:
            what = f"env in deploy.toml: {asked[-1]} refers to ${name}, which is not set"
            raise Refused(what, f"set it on the server (fab env.set {name}), or write $$ for a plain $")
        return value_of(name, asked)

    return {name: value_of(name, ()) for name in merged(layers) if not OF_UV.fullmatch(name)}


OF_UV = re.compile(r"UV_[A-Z0-9_]+")  # for builds, not for the app


def secret_variables(directory: str, texts: str) -> dict[str, str]:
    """What `fab env.set` has set for builds: uv's own variables, and those that requirements name as ${NAME}."""
    layer = layers_of(directory)["set"] if directory else {}
    named = set(re.findall(r"\$\{([A-Z_][A-Z0-9_]*)\}", texts))
    return {name: value for name, value in layer.items() if OF_UV.fullmatch(name) or name in named}


def secrets_of(path: str) -> dict[str, str]:
    """NAME=value lines of a file that `SecretKey` has made."""
    lines = (text_of(path) or "").splitlines()
    return {name: value for name, equals, value in (line.partition("=") for line in lines) if equals}


@dataclass(frozen=True)
class FirstEnvironment(Resource):
    """What is to be set in the environment of an app's first release: kept in a directory of root's until then.

    change: as in `Environment`.
    """

    directory: str
    change: Secret

    @property
    def title(self) -> str:
        return "environment of the first release: stored"

    def check(self, system: System) -> list[Drift]:
        found = news(self.directory, self.change)
        return [Drift(f"{name} {how}", "[hidden]", "[hidden]") for name, how in found]

    def apply(self, system: System) -> None:
        os.makedirs(self.directory, 0o700, exist_ok=True)
        layers = layers_of(self.directory)
        layers["set"] = changed(layers["set"], json.loads(self.change.value))
        replace(f"{self.directory}/env.json", json.dumps(layers, indent=1).encode(), 0o600, 0, 0)


def news(directory: str, change: Secret) -> list[tuple[str, str]]:
    """What a change of the layer "set" would do to a release's environment, as `differences`. change: see above."""
    layer = layers_of(directory)["set"]
    return differences(layer, changed(layer, json.loads(change.value)))


def listing(directory: str, secrets: str, first: str = "") -> list[dict[str, Any]]:
    """The names in a release's environment and where each comes from ("kit", "app", "set"); never a value.

    first: where that is kept which the first release is to have, as long as there is none.
    """
    layers = layers_of(directory if os.path.exists(f"{directory}/env.json") else first)
    layers["kit"] = {**layers["kit"], **secrets_of(secrets)}
    sources: dict[str, list[str]] = {}
    for layer in LAYERS:
        for name in layers[layer]:
            sources.setdefault(name, []).append(layer)
    return [{"name": name, "from": found[-1], "over": found[:-1]} for name, found in sorted(sources.items())]
