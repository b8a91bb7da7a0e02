"""What an app runs besides its web server: the tables [processes.NAME] and [timers.NAME], and a Procfile."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..agent.dataclass import dataclass, replace
from ..errors import NOTHING, ConfigError
from .processes import NAME, Process, Timer
from .schema import App

if TYPE_CHECKING:
    from .reader import TableReader

PROCFILE = "Procfile"
WEB, RELEASE = "web", "release"
LINE = re.compile(r"\s*([\w.-]+)\s*:\s*(.*?)\s*")
MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class Procfile:
    """commands: by the name of the process. notes: what a reader of the file should know."""

    commands: Mapping[str, str]
    notes: tuple[str, ...] = ()


NO_PROCFILE = Procfile({})


def procfile(directory: Path) -> Procfile:
    """The project's Procfile; an empty one if it has none."""
    path = directory / PROCFILE
    if not path.is_file():
        return NO_PROCFILE
    try:
        text = path.read_bytes()[:MOST_BYTES].decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "") or "it is not UTF-8 text"
        raise ConfigError(f"the {PROCFILE} cannot be read: {reason}", str(path), NOTHING, FORM) from None
    return parsed(text, str(path))


FORM = "a line of it is NAME: COMMAND, such as `worker: celery -A shop worker`"


def parsed(text: str, where: str) -> Procfile:
    """By Heroku's rules: of two lines with one name the last counts; a name may be corrected, which is said."""
    commands: dict[str, str] = {}
    notes = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        at = f"{where}, line {number}"
        found = LINE.fullmatch(line)
        if not found:
            raise ConfigError(f"this line of the {PROCFILE} is not NAME: COMMAND", at, NOTHING, FORM, line)
        written, command = found[1], found[2]
        name = written.lower().replace("_", "-")
        if not re.fullmatch(NAME, name):
            rule = "up to 32 letters, digits and -, beginning with a letter and ending with a letter or digit"
            raise ConfigError(f"{written!r} cannot be the name of a process", at, NOTHING, f"a name has {rule}")
        if not command:
            raise ConfigError(f"the process {written} has no command", at, NOTHING, FORM, line)
        if unprintable := re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", command):
            what = f"the command of {written} has the character {unprintable[0]!r}"
            raise ConfigError(what, at, NOTHING, "a command is one line for /bin/sh")
        if name != written:
            notes.append(f"{PROCFILE}: the process {written} is called {name}")
        if name in commands:
            notes.append(f"{PROCFILE}: {name} is there twice; its last line counts")
        commands[name] = command
    return Procfile(commands, tuple(notes))


def completed(app: App, data: dict[str, Any], file: Procfile, reader: "TableReader") -> tuple[App, tuple[str, ...]]:
    """The app with its processes and timers, and notes on the Procfile. data: of deploy.toml."""
    given = {
        name: reader.table(table, Process, f"processes.{name}") for name, table in tables(data, "processes", reader)
    }
    web = given.pop(WEB, None)
    notes = list(file.notes)
    app, said = with_web(app, web, file, reader)
    notes += said
    if (command := file.commands.get(RELEASE)) and app.release_command != command:
        if app.release_command:
            notes.append(f"{PROCFILE}: its release command is not used: deploy.toml has a release_command")
        else:
            app = replace(app, release_command=command)
    others = {name: command for name, command in file.commands.items() if name not in (WEB, RELEASE)}
    processes = []
    for name in sorted({*given, *others}):
        made = Process(name, **{"command": others.get(name, ""), **given.get(name, {})})
        if not made.command:
            raise reader.error(
                name, f"processes.{name}.command is missing", f'command = "…", or a line in a {PROCFILE}'
            )
        if made.singleton and made.count > 1:
            what = f"processes.{name}.count = {made.count}, but a singleton runs once"
            raise reader.error("count", what, "remove count, or singleton")
        processes.append(made)
    timers = tuple(
        Timer(name=name, **reader.table(table, Timer, f"timers.{name}"))
        for name, table in sorted(tables(data, "timers", reader))
    )
    require_commands(timers, reader)
    taken = {process.name for process in processes} & {timer.name for timer in timers}
    if taken:
        name = min(taken)
        raise reader.error(name, f"{name} is the name of a process and of a timer", "rename one of them")
    app = replace(app, processes=tuple(processes), timers=timers)
    require_memory(app, reader)
    return app, tuple(notes)


def tables(data: dict[str, Any], kind: str, reader: "TableReader") -> list[tuple[str, Any]]:
    found = data.get(kind, {})
    if not isinstance(found, dict):
        raise reader.error(kind, f"{kind} should be tables [{kind}.NAME]", f"for example [{kind}.worker]")
    for name in found:
        if not re.fullmatch(NAME, name) or name == RELEASE or (kind == "timers" and name == WEB):
            why = "a release command is app.release_command" if name == RELEASE else "lowercase letters, digits and -"
            raise reader.error(name, f"{name!r} cannot be a name in {kind}", why)
    return list(found.items())


def with_web(app: App, web: dict[str, Any] | None, file: Procfile, reader: "TableReader") -> tuple[App, list[str]]:
    """The app with the command of its web process, if that is what serves it, and notes."""
    key = "wsgi" if app.wsgi else "asgi"
    command = file.commands.get(WEB, "")
    if web is None:
        if app.served and command:
            return app, [f"{PROCFILE}: its web command is not used: deploy.toml has {key}"]
        return replace(app, web="" if app.served else command), []
    if extra := sorted(web.keys() - {"command"}):
        keys_of_app = {
            "count": "app.workers", "memory_percent": "app.memory_percent", "stop_seconds": "app.timeout_seconds"
        }  # fmt: skip
        instead = keys_of_app.get(extra[0], "")
        hint = f"use {instead}" if instead else "remove it"
        raise reader.error(extra[0], f"processes.web.{extra[0]} is not possible: of web, there is only `command`", hint)
    if app.served:
        what = f"app.{key} and processes.web are both set, but a release has one web process"
        raise reader.error(WEB, what, f"remove [processes.web], or {key}")
    if app.runner or app.workers:
        name = "runner" if app.runner else "workers"
        raise reader.error(name, f"app.{name} is set, but processes.web runs a server of its own", f"remove {name}")
    found = web.get("command") or command
    if not found:
        raise reader.error(
            WEB, "processes.web.command is missing", 'for example "streamlit run app.py --server.port $PORT"'
        )
    return replace(app, web=found), []


def require_commands(timers: tuple[Timer, ...], reader: "TableReader") -> None:
    for timer in timers:
        if not timer.command.strip():
            raise reader.error("command", f"timers.{timer.name}.command is empty", 'for example "flask cleanup"')
        if re.fullmatch(r"[\d*/,-]+(\s+[\d*/,-]+){4}", timer.schedule.strip()):
            minute, hour = timer.schedule.split()[:2]
            plain = minute.isdigit() and hour.isdigit() and timer.schedule.split()[2:] == ["*", "*", "*"]
            example = f"{int(hour):02}:{int(minute):02}" if plain else "03:00, hourly or Mon *-*-* 09:30"
            what = f"timers.{timer.name}.schedule = {timer.schedule!r} is written as in cron"
            raise reader.error("schedule", what, f"write it as systemd does: {example}")


def require_memory(app: App, reader: "TableReader") -> None:
    claimed = [process.count * process.memory_percent for process in app.processes]
    claimed += [timer.memory_percent for timer in app.timers]
    total = sum(claimed)
    if total and total >= app.memory_percent:
        what = (
            f"the processes claim {total} % of the memory; of app.memory_percent = {app.memory_percent} nothing is left"
        )
        raise reader.error("memory_percent", what, "lower their memory_percent or count, or raise app.memory_percent")
