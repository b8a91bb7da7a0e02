"""deploy.toml → frozen values. Every mistake is a ConfigError that names file, line and key."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tomllib

from .errors import ConfigError

FILE = "deploy.toml"
RESERVED = ("RELEASE_ID", "DATA_DIR", "WSGI_APP", "GUNICORN_CMD_ARGS")
SECRETS = re.compile(r"SECRET|PASSWORD|TOKEN|PRIVATE_KEY|API_KEY")
TAKEN = ("sandbox", "provision", "deploy", "rollback", "releases", "history", "env", "restart", "run", "shell",
         "maintenance", "logs")  # the commands of fabfile.py, which a stage cannot be called  # fmt: skip
Env = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class App:
    """The program. `static` maps a URL prefix to a directory of the source; `workers` 0 means one for each CPU.

    release_command: run with /bin/sh before each new release gets traffic; "" for none.
    """

    name: str
    wsgi: str
    requirements: str = "requirements.txt"
    include: tuple[str, ...] = ()
    static: tuple[tuple[str, str], ...] = ()
    env: Env = ()
    health_path: str = "/"
    health_seconds: int = 30
    warm_paths: tuple[str, ...] = ("/",)
    watch_seconds: int = 10
    release_command: str = ""
    release_seconds: int = 300
    keep_releases: int = 5
    worker_class: str = "gthread"
    workers: int = 0
    threads: int = 8
    timeout_seconds: int = 30
    max_body_megabytes: int = 10


@dataclass(frozen=True)
class Stage:
    """Where the app runs. With no `domains`, a host's own address is the site's name."""

    name: str
    hosts: tuple[str, ...]
    domains: tuple[str, ...] = ()
    host_keys: tuple[str, ...] = ()
    env: Env = ()
    key_file: str = ""
    pin: bool = True  # write a host key that was accepted into known_hosts


@dataclass(frozen=True)
class Config:
    app: App
    stages: tuple[Stage, ...]
    directory: Path = field(default_factory=Path)

    def stage(self, name: str) -> Stage:
        for stage in self.stages:
            if stage.name == name:
                return stage
        known = ", ".join(stage.name for stage in self.stages) or "none"
        raise ConfigError(
            f"there is no stage {name!r} in {FILE} (there: {known})",
            where=str(self.directory / FILE),
            hint=f'add a table [stages.{name}] with hosts = ["user@host"], or name a host: fab -H user@host …',
        )

    def app_on(self, stage: Stage) -> App:
        """The app with the stage's environment over its own."""
        return replace(self.app, env=tuple(sorted({**dict(self.app.env), **dict(stage.env)}.items())))


class Wrong(Exception):
    """A value that cannot be: what it should be, for `_Reader` to name its key."""


def word(pattern: str, what: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not re.fullmatch(pattern, text(value)):
            raise Wrong(f"should be {what}, not {value!r}")
        return text(value)

    return read


def text(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong(f"should be a string, not {_kind(value)}")
    return value


def number(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong(f"should be a whole number, not {_kind(value)}")
        if not low <= value <= high:
            raise Wrong(f"should be from {low} to {high}, not {value}")
        return value

    return read


def texts(each: Callable[[Any], str]) -> Callable[[Any], tuple[str, ...]]:
    def read(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise Wrong(f'should be a list of strings, like ["…"], not {_kind(value)}')
        return tuple(each(item) for item in value)

    return read


def inside(value: Any) -> str:
    """A path inside the source, with slashes."""
    path = text(value).rstrip("/")
    if not path or path.startswith(("/", "~")) or "\\" in path or ".." in path.split("/"):
        raise Wrong(f"should be a path inside the project, not {value!r}")
    return path


def env(value: Any) -> Env:
    if not isinstance(value, dict):
        raise Wrong(f"should be a table, not {_kind(value)}")
    for key, setting in value.items():
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", key):
            raise Wrong(f"has {key!r}: a variable's name is capitals, digits and _")
        if key in RESERVED:
            raise Wrong(f"has {key}, which the kit sets itself")
        if SECRETS.search(key):
            raise Wrong(f"has {key}: a secret does not belong in {FILE} (SECRET_KEY is made on the server)")
        if isinstance(setting, bool) or not isinstance(setting, (str, int, float)):
            raise Wrong(f"has {key} = {setting!r}: should be a string or a number")
        if "\n" in str(setting) or "\0" in str(setting):
            raise Wrong(f"has {key} with a line break in it")
    return tuple(sorted((key, str(setting)) for key, setting in value.items()))


def static(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise Wrong(f'should be a table, like {{ "/static/" = "webapp/static" }}, not {_kind(value)}')
    for prefix in value:
        if not re.fullmatch(r"/([\w.-]+/)+", prefix):
            raise Wrong(f"has {prefix!r}: a URL prefix begins and ends with / and is not / itself")
    return tuple((prefix, inside(path)) for prefix, path in value.items())


def _kind(value: Any) -> str:
    names = {
        bool: "true or false",
        str: "a string",
        int: "a number",
        float: "a fraction",
        list: "a list",
        dict: "a table",
    }
    return names.get(type(value), type(value).__name__)


APP_KEYS: dict[str, Callable[[Any], Any]] = {
    "name": word(r"[a-z][a-z0-9-]{0,29}", "a short name in small letters, digits and -"),
    "wsgi": word(r"[\w.]+:\w+(\(\))?", '"module:callable" or "module:factory()"'),
    "requirements": inside,
    "include": texts(inside),
    "static": static,
    "env": env,
    "health_path": word(r"/[!-~]*", "a path like /healthz"),
    "health_seconds": number(1, 600),
    "warm_paths": texts(word(r"/[!-~]*", "a path like /")),
    "watch_seconds": number(0, 3600),
    "release_command": word(r"[^\0\n]*", "one line for /bin/sh"),
    "release_seconds": number(1, 86_400),
    "keep_releases": number(1, 100),
    "worker_class": word(r"gthread|sync|gevent|eventlet", "gthread, sync, gevent or eventlet"),
    "workers": number(0, 256),
    "threads": number(1, 256),
    "timeout_seconds": number(1, 3600),
    "max_body_megabytes": number(1, 10_000),
}
STAGE_KEYS: dict[str, Callable[[Any], Any]] = {
    "hosts": texts(word(r"[^\s,]+", "user@host or a name from ~/.ssh/config")),
    "domains": texts(word(r"(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?", "a domain in small letters")),
    "host_keys": texts(word(r"SHA256:[A-Za-z0-9+/]{43}=?", 'a fingerprint like "SHA256:…", from `ssh-keygen -lf`')),
    "env": env,
}


def load(directory: Path) -> Config:
    """The config in a project's directory."""
    path = directory / FILE
    source = _source(path)
    try:
        data = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{FILE} is not TOML: {error}", where=str(path), detail=_line(source, str(error)), hint=_MEND
        ) from error
    return read(data, source, directory)


_MEND = "mend that line; docs/config.md has every key"


def _source(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        hint = (
            "go to the directory that has it (`cd`), or copy the commented one of the kit and set name, wsgi and hosts"
        )
        raise ConfigError(f"there is no {FILE} here", where=str(path.parent.resolve()), hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{FILE} cannot be read: {error}", where=str(path)) from error


def _line(source: str, message: str) -> str:
    found = re.search(r"line (\d+), column (\d+)", message)
    if not found:
        return ""
    line, column = int(found[1]), int(found[2])
    return f"{source.splitlines()[line - 1]}\n{' ' * (column - 1)}^"


def read(data: dict[str, Any], source: str, directory: Path) -> Config:
    reader = _Reader(source, directory / FILE)
    reader.known(data, ("app", "stages"), "")
    if "app" not in data:
        raise reader.error("app", "the table [app] is missing")
    app = reader.table(data["app"], APP_KEYS, "app", required=("name", "wsgi"))
    stages = data.get("stages", {})
    if not isinstance(stages, dict):
        raise reader.error("stages", f"stages should be tables [stages.NAME], not {_kind(stages)}")
    made = []
    for name, table in stages.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", name) or name in TAKEN:
            raise reader.error(
                name, f"{name!r} cannot be a stage's name (small letters, digits, - and _; not a command's)"
            )
        made.append(Stage(name=name, **reader.table(table, STAGE_KEYS, f"stages.{name}", required=("hosts",))))
    return Config(App(**app), tuple(made), directory)


@dataclass(frozen=True)
class _Reader:
    source: str
    path: Path

    def error(self, key: str, what: str, hint: str = _MEND) -> ConfigError:
        lines = self.source.splitlines()
        pattern = re.compile(rf'\s*(\[.*\b)?["\']?{re.escape(key)}["\']?\s*(=|\]|\.)')
        line = next((number for number, text in enumerate(lines, 1) if pattern.match(text)), 0)
        return ConfigError(what, where=f"{self.path}" + (f", line {line}" if line else ""), hint=hint)

    def known(self, table: dict[str, Any], keys: Iterable[str], prefix: str) -> None:
        for key in table:
            if key not in keys:
                import difflib

                near = difflib.get_close_matches(key, list(keys), 1, 0.4)
                guess = f"did you mean {near[0]}?" if near else f"known here: {', '.join(keys)}"
                raise self.error(key, f"unknown key {prefix}{key}", guess)

    def table(
        self, table: Any, keys: dict[str, Callable[[Any], Any]], name: str, required: tuple[str, ...]
    ) -> dict[str, Any]:
        if not isinstance(table, dict):
            raise self.error(name.rpartition(".")[2], f"{name} should be a table [{name}], not {_kind(table)}")
        self.known(table, keys, f"{name}.")
        for key in required:
            if key not in table:
                raise self.error(name.rpartition(".")[2], f"{name}.{key} is missing")
        found = {}
        for key, value in table.items():
            try:
                found[key] = keys[key](value)
            except Wrong as wrong:
                raise self.error(key, f"{name}.{key} {wrong}") from None
        return found
