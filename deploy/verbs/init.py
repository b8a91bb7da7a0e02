"""`fab init`: look at the project, ask what only a person knows, and write its deploy.toml. Asks no server."""

from collections.abc import Callable
from pathlib import Path

from ..agent.dataclass import dataclass
from ..config.commands import WEB, procfile
from ..config.document import brief
from ..config.paths import PACKAGE, write
from ..config.processes import target_of
from ..config.reader import FILE, load, read
from ..config.schema import DOMAIN
from ..config.values import Wrong, app_name, login, word
from ..errors import NOTHING, ConfigError, DeployError
from ..screen.screen import Screen
from ..source.callables import Served
from ..source.project import OTHER_LOCKS, Project, look_at
from ..source.tree import collect
from ..stack.frameworks import framework_of
from ..stack.frameworks.base import Reading
from .check import looked_at, show

Ask = Callable[[str], str]  # a question → what was typed


@dataclass(frozen=True)
class Given:
    """What was said on the command line; "" for what was not."""

    name: str = ""
    wsgi: str = ""
    asgi: str = ""
    requirements: str = ""
    health_path: str = ""
    host: str = ""
    domain: str = ""


def init(screen: Screen, directory: Path, given: Given, ask: Ask | None, check: bool = False) -> None:
    """ask: None where there is no terminal: then what was not said and cannot be found is an error, or left out."""
    require_place(directory)
    project = look_at(directory)
    table = with_framework(directory, app_table(directory, project, given, ask))
    host = sound_host(given.host, "--host") if given.host or not ask else asked_host(ask)
    domain = sound_domain(given.domain, "--domain") if given.domain or not (ask and host) else asked_domain(ask)
    stage = {"hosts": [host], **({"domain": domain} if domain else {})} if host else {}
    text = brief(table, stage)
    read(parsed(text), text, directory, file=procfile(directory))  # a mistake of ours must not be written
    screen.say(text)
    if check:
        screen.say(f"{FILE} would be written")
        screen.would_change = True
    else:
        write(directory / FILE, text, "x")
        screen.say(f"{FILE} is written; `fab explain` lists all keys that can be set in it")
    for note in project.notes:
        screen.say(f"note: {note}", "yellow")
    if not check:
        for finding in looked_at(load(directory)):
            if finding.level in ("warning", "error"):
                show(screen, finding)
        screen.say(next_commands(bool(host), project.in_git))


def require_place(directory: Path) -> None:
    """Nothing is replaced, and the kit's own repository is no place for an app of somebody else."""
    if (directory / FILE).exists() or (directory / FILE).is_symlink():
        hint = f"edit it: `fab explain KEY` explains a key. For a new one, move it away first: mv {FILE} {FILE}.old"
        raise ConfigError(f"there is a {FILE} here already", str(directory / FILE), NOTHING, hint)
    if directory.resolve() == PACKAGE.parent and (directory / "templates" / "systemd").is_dir():
        hint = "run it in the directory of your app: cd path/to/your/app"
        raise ConfigError("this is Ashore's own repository, not an app's", str(directory), NOTHING, hint)


def app_table(directory: Path, project: Project, given: Given, ask: Ask | None) -> dict[str, object]:
    by_command = procfile(directory).commands.get(WEB, "")
    served = None if given.wsgi or given.asgi else chosen(directory, project, by_command, ask)
    name = (
        given.name or project.name or (ask("a short name for the app (lowercase letters, digits, -): ") if ask else "")
    )
    if not name:
        raise ConfigError("no name for the app could be made of the project's", str(directory), NOTHING, "--name shop")
    target = served.target if served else given.asgi or given.wsgi
    same = next((each for each in project.every if each.target == target), None)
    is_wsgi = served.is_wsgi if served else not given.asgi
    if (same and same.is_wsgi != is_wsgi) or (given.wsgi and given.asgi):
        require_one(given, same)
    table: dict[str, object] = {"name": sound(app_name, name, "--name")}
    table |= {"wsgi" if is_wsgi else "asgi": target} if target else {}
    table["requirements"] = given.requirements or project.requirements or missing_requirements(directory)
    if same and same.static[0]:
        table["static"] = dict([same.static])
    table["health_path"] = given.health_path or (project.health_path if target else "/")
    if same and same.source_root and same.source_root not in project.roots:
        table["env"] = {"PYTHONPATH": same.source_root}
    return table


def with_framework(directory: Path, table: dict[str, object]) -> dict[str, object]:
    """The table with what the framework needs; as it is where the files cannot be listed, which a deploy will say."""
    try:
        names = frozenset(entry.path for entry in collect(directory, ()).entries)
    except DeployError:
        return table
    text = brief(table, {})
    app = read(parsed(text), text, directory, file=procfile(directory)).app
    reading = Reading(directory, names)
    found = framework_of(app, reading).suggested(app, reading)
    env = {**dict(table.get("env", {})), **found.pop("env", {})}  # type: ignore[call-overload]
    return {**table, **found, **({"env": env} if env else {})}


def require_one(given: Given, same: Served | None) -> None:
    """--wsgi or --asgi, and the one that the app speaks."""
    if given.wsgi and given.asgi:
        raise ConfigError("--wsgi and --asgi are both given", "", NOTHING, "one app is served: give one of them")
    if same:
        speaks = "WSGI" if same.is_wsgi else "ASGI"
        what, hint = (
            f"{same.target} is a {same.framework} app: it speaks {speaks}",
            f'--{speaks.lower()} "{same.target}"',
        )
        raise ConfigError(what, same.path, NOTHING, hint)


def chosen(directory: Path, project: Project, web: str, ask: Ask | None) -> Served | None:
    """The callable to be served; None if the app is a server of its own. web: the command of the Procfile's web."""
    choices = project.choices
    if web:
        return next((each for each in project.every if each.target == target_of(web)), None)
    if not choices:
        hint = (
            "run it in the directory that has your app's code; for an app that is made in another way, name it:\n"
            'fab init --wsgi "module:callable", or "module:factory()"; --asgi for one that speaks ASGI'
        )
        hint += "\nfor a server of its own, write a Procfile: web: streamlit run app.py --server.port $PORT"
        what = "no app was found: no Python file here makes one with Flask, Django, FastAPI or another known framework"
        raise ConfigError(what, str(directory), NOTHING, hint)
    if len(choices) > 1 and ask:
        listed = "\n".join(f"  {number}  {each.target} ({each.path})" for number, each in enumerate(choices, 1))
        answer = ask(f"several apps were found:\n{listed}\nwhich one is to be served? [1] ") or "1"
        if answer.isdigit() and 1 <= int(answer) <= len(choices):
            choices = (choices[int(answer) - 1],)
        else:
            choices = tuple(each for each in choices if each.target == answer)
    if len(choices) != 1:
        each_one = ", ".join(f"{each.target} ({each.path})" for each in project.choices)
        first = project.choices[0]
        hint = f'fab init --{"wsgi" if first.is_wsgi else "asgi"} "{first.target}"'
        raise ConfigError(f"which app is to be served? Found: {each_one}", str(directory), NOTHING, hint)
    return choices[0]


def missing_requirements(directory: Path) -> str:
    made = next((how for lock, how in OTHER_LOCKS.items() if (directory / lock).is_file()), "")
    hint = f"{made or 'pip freeze > requirements.txt'}; or name another file: --requirements FILE"
    raise ConfigError(
        "no lock, no requirements.txt and no pyproject.toml with dependencies was found", str(directory), NOTHING, hint
    )


def sound(kind: Callable[[str], str], value: str, option: str) -> str:
    try:
        return kind(value)
    except Wrong as wrong:
        raise ConfigError(f"{option} {wrong}", "", NOTHING, "fab --help init shows the options") from None


def sound_host(value: str, option: str) -> str:
    if not value:
        return ""
    try:
        login(value)
    except Wrong as wrong:
        hint = "root@ and the server's address, as in root@203.0.113.10"
        raise ConfigError(f"{option} {wrong}", "", NOTHING, hint) from None
    return value


def sound_domain(value: str, option: str) -> str:
    return sound(word(DOMAIN, "a domain in small letters, like shop.example.com"), value, option) if value else ""


def asked_host(ask: Ask) -> str:
    return sound_host(ask("your server, as for ssh (root@203.0.113.10); Enter if you have none yet: "), "the server")


def asked_domain(ask: Ask) -> str:
    return sound_domain(
        ask("the domain that visitors will type (shop.example.com); Enter for none yet: "), "the domain"
    )


def parsed(text: str) -> dict[str, object]:
    import tomllib

    return tomllib.loads(text)


def next_commands(has_host: bool, in_git: bool) -> str:
    """What to type now."""
    lines = [f"  git add {FILE}"] if in_git else []
    lines.append("  fab sandbox provision deploy   on a throwaway server on this machine (Linux, root)")
    server = "  fab provision deploy           on your server"
    lines.append(server if has_host else f"{server}, once it is in {FILE}")
    return "\n".join(["next:", *lines])
