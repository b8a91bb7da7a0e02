"""docs/config.md and the comments of deploy.toml, written from the schema: python -m deploy.config.document"""

import json
import re
import textwrap
from pathlib import Path
from typing import Any

from .keys import ConfigKey, keys, texts
from .processes import Process, Timer
from .reader import FILE
from .schema import TABLES, App, Stage
from .values import env

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "config.md"
WIDTH = 120
HEAD = """\
What Ashore puts live, and where. Every key is here; a key in a comment has its default, or an example if it has none.
`fab explain KEY` and docs/config.md say more about a key. `make config-docs` writes the comments, from the schema."""
STAGES = """\
Where the app runs: `fab deploy` works on the stage production, `fab staging deploy` on the stage staging. The stage
sandbox is always there: a throwaway server on this machine."""
STAGING = """\
# [stages.staging]
# hosts = ["root@staging.example.com"]
# domain = "staging.example.com"
"""
BRIEF_HEAD = """\
What Ashore puts live, and where. `ashore explain` lists all keys, `ashore explain KEY` explains one."""
BRIEF_WHERE = """\
# Where the app runs: `ashore provision deploy`. The stage sandbox is always there, a throwaway server on this machine:
# `ashore sandbox provision deploy`.
"""
BRIEF_STAGE = f"""\
{BRIEF_WHERE}# With a server, remove the # of these lines. The user is root, or may use sudo.
# [stages.production]
# hosts = ["root@203.0.113.10"]
# domain = "shop.example.com"
"""
BESIDE: dict[str, tuple[type, str, str]] = {
    "processes": (
        Process,
        "worker",
        "What runs besides the web server, such as a worker of a queue: a table for each. A Procfile is read, too.",
    ),
    "timers": (Timer, "cleanup", "What runs at certain times: a table for each."),
}
PART = re.compile(r"(<!-- generated: (.*?) -->\n).*?(<!-- end -->\n)", re.S)


def literal(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, dict):
        return f"{{ {', '.join(settings(value))} }}" if value else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(literal(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)


def settings(table: dict[str, Any]) -> list[str]:
    """The lines of a table as TOML."""
    bare = re.compile(r"[\w-]+", re.ASCII)
    return [f"{name if bare.fullmatch(name) else literal(name)} = {literal(table[name])}" for name in table]


def default(key: ConfigKey) -> str:
    """What holds if nobody sets the key, in words where that is not a value."""
    return "required" if key.required else key.unset if key.is_empty else literal(key.default)


def by_topic(table: type) -> dict[str, list[ConfigKey]]:
    found: dict[str, list[ConfigKey]] = {}
    for key in keys(table).values():
        found.setdefault(key.topic, []).append(key)
    return found


def commented(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False) + "\n"


def sample(data: dict[str, Any]) -> str:
    """deploy.toml with these values, and with all other keys as comments."""
    parts = [textwrap.indent(HEAD, "# "), *written("app", App, data["app"])]
    for kind, (table, name, about) in BESIDE.items():
        tables = data.get(kind, {})
        of_kind = [part for given in tables for part in written(f"{kind}.{given}", table, tables[given])]
        if not tables:
            head, *topics = written(f"{kind}.{name}", table, {})
            of_kind = [f"# {head}", *topics]
        parts += [f"{commented(about)}{of_kind[0]}", *of_kind[1:]]
    for name, values in data["stages"].items():
        stage = written(f"stages.{name}", Stage, values)
        parts += [f"{textwrap.indent(STAGES, '# ')}\n{stage[0]}", *stage[1:]]
    return "\n\n".join([*parts, STAGING])


def brief(app: dict[str, Any], stage: dict[str, Any]) -> str:
    """A first deploy.toml: only these keys, each with what it means. stage: of production; {} writes an example."""
    parts = [textwrap.indent(BRIEF_HEAD, "# "), "[app]\n" + "\n".join(explained(App, app))]
    if not stage:
        return "\n\n".join([*parts, BRIEF_STAGE])
    return "\n\n".join([*parts, f"{BRIEF_WHERE}[stages.production]\n" + "\n".join(explained(Stage, stage))]) + "\n"


def explained(table: type, values: dict[str, Any]) -> list[str]:
    about = {name: paragraphs[0] for name, paragraphs in texts(table).items()}
    return [f"{commented(about[name])}{name} = {literal(value)}" for name, value in values.items()]


def written(name: str, table: type, values: dict[str, Any]) -> list[str]:
    """The parts of a table: its head, its topics, and the tables in it, which TOML wants behind its keys."""
    about = {key: commented(paragraphs[0]) for key, paragraphs in texts(table).items()}
    topics: list[str] = []
    tables: list[str] = []
    for topic, found in by_topic(table).items():
        lines = [about[key.name] + line(key, values) for key in found if key.kind is not env]
        within = [about[key.name] + inner(name, key, values.get(key.name)) for key in found if key.kind is env]
        for there, parts in ((topics, lines), (tables, within)):
            if parts:
                there.append("\n\n".join([f"## {topic}", *parts]))
    return [f"[{name}]", *topics, *tables]


def line(key: ConfigKey, values: dict[str, Any]) -> str:
    if key.name in values:
        return f"{key.name} = {literal(values[key.name])}"
    if key.required:
        return f"# {key.name} = {literal(key.example)}"
    if key.is_empty:
        return f"# {key.name} = {literal(key.example)}  # example; default: {key.unset}"
    return f"# {key.name} = {literal(key.default)}"


def inner(name: str, key: ConfigKey, found: dict[str, Any] | None) -> str:
    """A table in another one, with the examples that are not set in it."""
    head = f"[{name}.{key.name}]" if found is not None else f"# [{name}.{key.name}]"
    more = settings({variable: key.example[variable] for variable in key.example if variable not in (found or {})})
    return "\n".join([head, *settings(found or {}), *(f"# {setting}" for setting in more)])


def reference(text: str) -> str:
    """docs/config.md, with the parts between its marks written anew."""
    return PART.sub(lambda part: part[1] + described(part[2]) + part[3], text)


def described(name: str) -> str:
    """The keys of a table, in one of Markdown for each topic."""
    lines, about = [], texts(TABLES[name])
    for topic, found in by_topic(TABLES[name]).items():
        lines += ["", f"### {topic}", "", row("key", "value", "default", "meaning"), "|---|---|---|---|"]
        for key in found:
            shown = default(key) if key.required or key.is_empty else f"`{default(key)}`"
            lines.append(row(f"`{key.name}`", key.kind.takes, shown, " ".join(about[key.name])))
    return "\n".join([*lines, "", ""])


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def files() -> dict[Path, str]:
    """What is generated, as it is to be: deploy.toml keeps its values, docs/config.md what is between the tables."""
    import tomllib

    toml = ROOT / FILE
    return {
        toml: sample(tomllib.loads(toml.read_text("utf-8"))),
        REFERENCE: reference(REFERENCE.read_text("utf-8")),
    }


def main() -> None:
    for path, text in files().items():
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
