"""deploy.toml → frozen values. Every mistake is a ConfigError that names file, line and key."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..agent.constants import ASGI_RUNNER, ASGI_WORKERS, PROXIES, RUNNER, RUNNERS
from ..agent.dataclass import dataclass, field, replace
from ..errors import ConfigError
from .commands import NO_PROCFILE, PROCFILE, Procfile, completed, procfile
from .keys import keys
from .schema import App as App  # what reading a config gives, so they can be had from here
from .schema import Stage as Stage
from .values import Wrong, kind_of, leads_back

FILE = "deploy.toml"


@dataclass(frozen=True)
class Config:
    """notes: what a reader of the Procfile should know, for a deploy and a check."""

    app: App
    stages: tuple[Stage, ...]
    directory: Path = field(default_factory=Path)
    notes: tuple[str, ...] = ()

    def stage(self, name: str) -> Stage:
        for stage in self.stages:
            if stage.name == name:
                return stage
        known = ", ".join(stage.name for stage in self.stages) or "none"
        raise ConfigError(
            f"there is no stage {name!r} in {FILE} (stages: {known})",
            where=str(self.directory / FILE),
            hint=f'add a table [stages.{name}] with hosts = ["user@host"], or name a host: fab -H user@host …',
        )

    def app_on(self, stage: Stage) -> App:
        """The app with the stage's environment over its own, at its path."""
        env = tuple(sorted({**dict(self.app.env), **dict(stage.env)}.items()))
        return replace(self.app, env=env, mount=stage.path.rstrip("/"))


def usual_host(config: Config) -> str:
    """The name by which visitors know the site, where no stage is chosen."""
    return next((stage.domain for stage in config.stages if stage.domain), "localhost")


def load(directory: Path, taken: frozenset[str] = frozenset()) -> Config:
    """The config in a project's directory. taken: the names of commands, which a stage cannot have."""
    path = directory / FILE
    source = _source(path)
    import tomllib  # late: the server's side of a CI key reads values, not TOML, and may be a Python without it

    try:
        data = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{FILE} is not TOML: {error}", where=str(path), detail=_line(source, str(error)), hint=_FIX
        ) from error
    return read(data, source, directory, taken, procfile(directory))


_FIX = "fix that line; docs/config.md has every key"


def _source(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        hint = "`cd` to the directory that has it, or write one for the app in this directory: fab init"
        raise ConfigError(f"there is no {FILE} here", where=str(path.parent.resolve()), hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "") or "it is not UTF-8 text"
        hint = f"check with `ls -l {FILE}` that it is a file that you may read"
        raise ConfigError(f"{FILE} cannot be read: {reason}", where=str(path), hint=hint) from None


def _line(source: str, message: str) -> str:
    found = re.search(r"line (\d+), column (\d+)", message)
    if not found:
        return ""
    line, column = int(found[1]), int(found[2])
    return f"{source.splitlines()[line - 1]}\n{' ' * (column - 1)}^"


def read(
    data: dict[str, Any],
    source: str,
    directory: Path,
    taken: frozenset[str] = frozenset(),
    file: Procfile = NO_PROCFILE,
) -> Config:
    """file: the project's Procfile."""
    reader = TableReader(source, directory / FILE)
    reader.known(data, ("app", "processes", "timers", "stages"), "")
    if "app" not in data:
        raise reader.error("app", "the table [app] is missing")
    app, notes = completed(App(**reader.table(data["app"], App, "app")), data, file, reader)
    stages = data.get("stages", {})
    if not isinstance(stages, dict):
        raise reader.error("stages", f"stages should be tables [stages.NAME], not {kind_of(stages)}")
    made = []
    for name, table in stages.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", name) or name in taken:
            raise reader.error(
                name,
                f"{name!r} cannot be the name of a stage (lowercase letters, digits, - and _; no command name)",
            )
        stage = Stage(name=name, **reader.table(table, Stage, f"stages.{name}"))
        require_certificate(stage, reader)
        require_place(stage, reader)
        require_hosts_of_keys(stage, reader)
        made.append(stage)
    require_runner(app, reader)
    require_proxy(app, made, reader)
    require_redirects(app, tuple(made), reader)
    return Config(app, tuple(made), directory, notes)


def require_runner(app: App, reader: "TableReader") -> None:
    """One callable, and a runner that can call it; or a command."""
    if app.web:
        return
    example = 'wsgi = "shop:app" for WSGI (Flask, Django), or asgi = "shop:app" for ASGI (FastAPI, Starlette, Quart)'
    more = f'{example}; a server of its own: [processes.web] command = "…", or web: in a {PROCFILE}'
    if not app.served:
        raise reader.error("app", "app.wsgi or app.asgi is missing: one of them names what is served", more)
    if app.wsgi and app.asgi:
        raise reader.error("asgi", "app.wsgi and app.asgi are both set, but one app is served", f"keep one: {example}")
    if app.asgi and "asgi" not in RUNNERS[app.run_by]:
        able = ", ".join(name for name, kinds in RUNNERS.items() if "asgi" in kinds)
        what = f'app.runner = "{app.runner}" cannot run app.asgi: it runs WSGI apps only'
        raise reader.error("runner", what, f"runners for ASGI: {able}")
    usual = keys(App)["worker_class"].default
    if app.worker_class != usual and app.run_by != RUNNER:
        what = f'app.worker_class is only for runner = "{RUNNER}", but the app is run by {app.run_by}'
        raise reader.error("worker_class", what, "remove worker_class, or set runner")
    if app.asgi and app.worker_class not in (usual, *ASGI_WORKERS):
        what = f'app.worker_class = "{app.worker_class}" cannot run app.asgi: it runs WSGI apps only'
        raise reader.error("worker_class", what, f'worker_class = "{ASGI_RUNNER}", or remove it')


def require_proxy(app: App, stages: list[Stage], reader: "TableReader") -> None:
    """What is set, the app's proxy can do."""
    tables: list[tuple[str, App | Stage]] = [("app", app), *((f"stages.{stage.name}", stage) for stage in stages)]
    for prefix, table in tables:
        known = keys(type(table))
        for key in (key for key in PROXIES[app.proxy] if key in known):
            if getattr(table, key) != known[key].default:
                able = " or ".join(f'proxy = "{name}"' for name, lacks in PROXIES.items() if key not in lacks)
                raise reader.error(key, f"{prefix}.{key}: {app.proxy} cannot do this", f"remove {key}, or set {able}")


def require_certificate(stage: Stage, reader: "TableReader") -> None:
    """The TLS settings of a stage must be consistent."""
    prefix = f"stages.{stage.name}"
    if stage.tls == "files" and not (stage.certificate and stage.certificate_key):
        raise reader.error("tls", f'{prefix}: tls = "files" needs certificate and certificate_key, paths of PEM files')
    if stage.tls != "files" and (stage.certificate or stage.certificate_key):
        key = "certificate" if stage.certificate else "certificate_key"
        raise reader.error(key, f'{prefix}.{key} is only for tls = "files", but tls is "{stage.tls}"')
    if stage.tls == "files" and not stage.domain:
        raise reader.error("tls", f'{prefix}: tls = "files" needs a domain')
    if stage.aliases and not stage.domain:
        raise reader.error("aliases", f"{prefix}.aliases needs a domain")
    wild = [name for name in stage.aliases if name.startswith("*")]
    if wild and not stage.serve_aliases:
        raise reader.error(
            "aliases", f"{prefix}.aliases: {wild[0]} cannot be redirected, only served (serve_aliases = true)"
        )
    if wild and stage.tls == "acme":
        what = f'{prefix}.aliases: a certificate for {wild[0]} cannot be issued over http; use your own, tls = "files"'
        raise reader.error("aliases", what)
    if stage.cdn_only and not (stage.cdn or stage.trusted_proxies):
        raise reader.error("cdn_only", f"{prefix}.cdn_only needs cdn, or trusted_proxies")


def require_place(stage: Stage, reader: "TableReader") -> None:
    """The port and the path of a stage must fit its other settings."""
    prefix = f"stages.{stage.name}"
    if stage.port in (80, 443):
        raise reader.error("port", f"{prefix}.port = {stage.port} is what a site has without it", "remove port")
    if stage.path and not stage.domain:
        what = f"{prefix}.path needs a domain: below a bare address, give each app a `port`"
        raise reader.error("path", what)
    for key in ("port", "aliases", "trusted_proxies", "cdn", "cdn_only"):
        if stage.path and getattr(stage, key):
            what = f"{prefix}.path and {prefix}.{key} are both set: the app below a path has those of its domain"
            raise reader.error(key, what, f"remove {key}, or path")


def require_redirects(app: App, stages: tuple[Stage, ...], reader: "TableReader") -> None:
    """Redirects must not hide what else is served, nor lead in a circle by the site's own domain."""
    names = {stage.domain for stage in stages if stage.domain}
    local = {}
    for moved, target in app.redirects:
        if app.health_path.partition("?")[0] == moved or (moved.endswith("/") and app.health_path.startswith(moved)):
            raise reader.error("redirects", f"app.redirects has {moved!r}, which would redirect health_path")
        hidden = [prefix for prefix, _ in app.static if moved.startswith(prefix) or prefix.startswith(moved)]
        if hidden and moved.endswith("/"):
            raise reader.error("redirects", f"app.redirects has {moved!r}, but static has {hidden[0]!r}")
        found = re.fullmatch(r"https?://([^/:]+)(/.*)?", target)
        local[moved] = (found[2] or "/") if found and found[1] in names else target
    circle = [moved for moved in local if leads_back(moved, local)]
    if circle:
        what = f"app.redirects has {circle[0]!r}, which leads in a circle by the site's own domain"
        raise reader.error("redirects", what)


def host_and_port(written: str) -> tuple[str, int]:
    """Of "host", "host:port", "[host]:port" or an IPv6 address: (the host in small letters, its port or 0 for none)."""
    found = re.fullmatch(r"\[(.+)\](?::(\d+))?", written) or re.fullmatch(r"([^:]+):(\d+)", written)
    return (found[1].lower(), int(found[2] or 0)) if found else (written.lower(), 0)


def require_hosts_of_keys(stage: Stage, reader: "TableReader") -> None:
    """An entry of host_keys that names a host must name one of the stage's hosts."""
    there = {host_and_port(host.rpartition("@")[2]) for host in stage.hosts}
    for entry in stage.host_keys:
        name = entry.rpartition(" ")[0]
        if name and host_and_port(name) not in there:
            hosts = ", ".join(host.rpartition("@")[2] for host in stage.hosts)
            what = f"stages.{stage.name}.host_keys has a key for {name}, which is not in hosts"
            raise reader.error("host_keys", what, f"write the host as in hosts, without the user: {hosts}")


@dataclass(frozen=True)
class TableReader:
    source: str
    path: Path

    def error(self, key: str, what: str, hint: str = _FIX) -> ConfigError:
        lines = self.source.splitlines()
        pattern = re.compile(rf'\s*(\[.*\b)?["\']?{re.escape(key)}["\']?\s*(=|\]|\.)')
        line = next((number for number, text in enumerate(lines, 1) if pattern.match(text)), 0)
        return ConfigError(what, where=f"{self.path}" + (f", line {line}" if line else ""), hint=hint)

    def known(self, table: dict[str, Any], keys: Iterable[str], prefix: str) -> None:
        for key in table:
            if key not in keys:
                import difflib

                near = difflib.get_close_matches(key, list(keys), 1, 0.4)
                guess = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(keys)}"
                raise self.error(key, f"unknown key {prefix}{key}", guess)

    def table(self, table: Any, kind: type, name: str) -> dict[str, Any]:
        """The values of a table of this kind, App or another of TABLES, by key."""
        if not isinstance(table, dict):
            raise self.error(name.rpartition(".")[2], f"{name} should be a table [{name}], not {kind_of(table)}")
        known = keys(kind)
        self.known(table, known, f"{name}.")
        for key in known:
            if known[key].required and key not in table:
                raise self.error(name.rpartition(".")[2], f"{name}.{key} is missing")
        found = {}
        for key, value in table.items():
            try:
                found[key] = known[key].kind(value)
            except Wrong as wrong:
                raise self.error(key, f"{name}.{key} {wrong}") from None
        return found
