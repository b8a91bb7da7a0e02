"""`fab explain`: what the keys of deploy.toml mean, and what they are here. Needs no server and no deploy.toml."""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...agent.dataclass import dataclass
from ...config.document import by_topic, default, literal
from ...config.keys import ConfigKey, keys, texts
from ...config.reader import FILE, Config, load
from ...config.schema import TABLES
from ...config.values import env
from ...errors import ConfigError
from ...plan.record import RECORDED, RECORDED_IF_SET
from ...screen.columns import columns, labelled, wrapped
from ...screen.events import KeyMeaning
from ...screen.screen import Screen

WORD = re.compile(
    r"(?:(app)\.|(stages|processes|timers)\.(?:[\w-]+\.)?)?(\w+)"
)  # "tls", "stages.tls", "stages.production.tls"
PART_OF_RELEASES = ("include", "include_anyway", "env")  # what they make, files and environment, is in the release
ALL = "`fab explain` lists all keys; `fab --help COMMAND` explains a command"


@dataclass(frozen=True)
class Found:
    """A key in its table. now: its value by the name of a table of deploy.toml, of `env` names only."""

    table: str
    key: ConfigKey
    about: tuple[str, ...]
    now: dict[str, Any]

    @property
    def rolls_back(self) -> bool:
        return self.key.name in (*RECORDED, *RECORDED_IF_SET, *PART_OF_RELEASES)


def explain(screen: Screen, directory: Path, word: str) -> None:
    """word: the key as it was typed; "" for all of them."""
    wanted = named(word) if word else [(table, name) for table in TABLES for name in keys(TABLES[table])]
    config, why = current(directory)
    about = {table: texts(TABLES[table]) for table in TABLES}
    for number, (table, name) in enumerate(wanted):
        found = Found(table, keys(TABLES[table])[name], about[table][name], values(config, table, name))
        if word or screen.as_json:
            screen.result(as_event(found), ("\n" if number else "") + "\n".join(lines(found, columns())))
    if not word and not screen.as_json:
        for table in TABLES:
            screen.say("\n".join([*listed(table, about[table], columns()), ""]))
        screen.say("`fab explain KEY` says more about a key.")
    if why:
        screen.say(f"note: current values are not shown, because {FILE} has an error: {why}", "yellow")


def named(word: str) -> list[tuple[str, str]]:
    """The tables that have a key of this name, each with the name."""
    parts = WORD.fullmatch(word)
    table, name = (parts[1] or parts[2] or "", parts[3]) if parts else ("", word.rpartition(".")[2])
    having = [known for known in TABLES if name in keys(TABLES[known])]
    if parts and (found := [known for known in having if known.startswith(table)]):
        return [(known, name) for known in found]
    what = f"there is no key {word} in {FILE}"
    if having:
        raise ConfigError(what, hint=f"{name} is a key of [{having[0]}]: fab explain {name}")
    names = sorted({name for known in TABLES.values() for name in keys(known)})
    near = difflib.get_close_matches(name.lower().replace(" ", "_"), names, 1, 0.5)
    raise ConfigError(what, hint=(f"did you mean {near[0]}? " if near else "") + ALL)


def current(directory: Path) -> tuple[Config | None, str]:
    """The config in a directory, if there is one, or what is wrong with it."""
    if not (directory / FILE).exists():
        return None, ""
    try:
        return load(directory), ""
    except ConfigError as error:
        return None, error.what


def values(config: Config | None, table: str, name: str) -> dict[str, Any]:
    if config is None:
        return {}
    if table == "app":
        return {"app": value(TABLES[table], name, getattr(config.app, name))}
    kind = table.partition(".")[0]
    made: Any = config.stages if kind == "stages" else getattr(config.app, kind)
    return {f"{kind}.{each.name}": value(TABLES[table], name, getattr(each, name)) for each in made}


def value(table: type, name: str, held: Any) -> Any:
    """A value as deploy.toml has it; of a table of variables their names, as a value may be a secret by mistake."""
    key = keys(table)[name]
    if key.kind is env:
        return [variable for variable, _ in held]
    return dict(held) if isinstance(key.example, dict) else list(held) if isinstance(held, tuple) else held


def as_event(found: Found) -> KeyMeaning:
    key = found.key
    return {
        "event": "key",
        "host": "",
        "key": key.name,
        "table": found.table,
        "topic": key.topic,
        "meaning": "\n".join(found.about),
        "takes": key.kind.takes,
        "required": key.required,
        "default": None if key.required else {} if isinstance(key.example, dict) else key.default,
        "example": key.example,
        "rolls_back": found.rolls_back,
        "applied_by": key.applied_by,
        "now": found.now,
    }


def lines(found: Found, width: int) -> Iterator[str]:
    """The description of a key, as text."""
    key = found.key
    yield f"{key.name}, in [{found.table}]"
    for paragraph in found.about:
        yield from ["", *wrapped(paragraph, width, "  ")]
    yield ""
    example = f"{key.name} = {literal(key.example)}"
    applied = ", then ".join(f"fab {command}" for command in key.applied_by) or "none; the next command uses it"
    rollback = (
        "yes, each release keeps its own" if found.rolls_back else "no, the current deploy.toml applies to all releases"
    )
    about = {"value": key.kind.takes, "default": default(key), "example": example, "apply": applied}
    for label, text in {**about, "rollback": rollback}.items():
        yield labelled(f"  {label}:".ljust(13), text, width)
    for number, (table, held) in enumerate(found.now.items()):
        label = "  now:" if not number else ""
        yield labelled(label.ljust(13), f"[{table}] {shown(key, held)}", width)


def shown(key: ConfigKey, held: Any) -> str:
    if key.is_empty and not held:
        return "not set" + (f": {key.unset}" if key.unset != "none" else "")
    return ", ".join(held) if key.kind is env else literal(held)


def listed(table: str, about: dict[str, tuple[str, ...]], width: int) -> Iterator[str]:
    """The keys of a table, each with the first sentence about it."""
    yield f"[{table}]"
    longest = max(len(name) for known in TABLES.values() for name in keys(known))
    for topic, found in by_topic(TABLES[table]).items():
        yield f"\n  {topic}"
        for key in found:
            sentence = re.split(r"(?<=\.)\s", about[key.name][0])[0]
            yield labelled(f"    {key.name}".ljust(longest + 6), sentence, width)
