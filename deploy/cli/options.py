"""What all tasks share: their options, screen and verb, and how a command line ends."""

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from fabric import task
from fabric.executor import Executor
from invoke.exceptions import Exit

from ..agent.dataclass import dataclass
from ..errors import NOTHING, WOULD_CHANGE, ConfigError, DeployError, Interrupted, Unread
from ..screen.command import as_typed
from ..screen.screen import Screen
from ..session import interrupts
from ..session.session import Call, Options, Session
from ..stack import overrides
from .misuse import host_of, tell

CHECK = "show what would change, as diffs, and change nothing; exit status 2 if something would change"
FORCE = "replace files that were edited by hand on the server; a copy of each is kept next to it"
WAIT = "if another run holds the lock, wait until it ends; end it if it has lost contact with its operator"
BREAK_LOCK = "if another run holds the lock, make it stop and undo, as its own Ctrl-C would, then continue"
JSON = "print events as JSON, one per line"
JSON_FOR_ALL = "ashore_json"  # key of Invoke's config: a task of the command line has --json, so all of them have it
VERBOSE = "also show the output of the commands that run on the server"
CHANGING = {"check": CHECK, "force": FORCE, "wait": WAIT, "break_lock": BREAK_LOCK, "json": JSON, "verbose": VERBOSE}
SWITCHING = {key: value for key, value in CHANGING.items() if key != "check"}
WAITING = {key: CHANGING[key] for key in ("wait", "break_lock", "json")}
READING = {"json": JSON}
SMALL = ("provision",)  # verbs of which a look is uploaded first, and often nothing else
RENDERING = ("provision", "deploy")  # verbs that tell of templates whose originals have changed
SWITCHES = ("check", "force", "wait", "break_lock")  # what `Options` holds


@contextmanager
def telling(
    context: Any,
    as_json: bool = False,
    verbose: bool = False,
    session: Session | None = None,
    reading: bool = False,
) -> Iterator[Screen]:
    """A screen for one task. Failures are shown on it and set a non-zero exit status.

    session: is told whether a dry run found something. reading: see `Screen`.
    """
    as_json = as_json or context.config.get(JSON_FOR_ALL, False)
    screen = Screen(as_json=as_json, verbose=verbose, reading=reading)
    try:
        with interrupts.raised():
            require_no_dry_run(context)
            yield screen
    except DeployError as error:
        tell(screen, error)
        raise Exit(code=error.status) from None
    except KeyboardInterrupt:
        screen.error(Interrupted("interrupted", state="no change is in progress on a server"))
        raise Exit(code=Interrupted.status) from None
    except Unread:  # `fab logs | head`
        pass  # other commands of the line may change something, so they are still run
    if session is not None:
        session.would_change = session.would_change or screen.would_change


def ending(session: Session) -> type[Executor]:
    """Runs all tasks of a command line, then exits with the status of its dry runs."""

    class Ending(Executor):  # type: ignore[misc]  # Fabric has no types
        def execute(self, *tasks: Any) -> Any:
            self.config[JSON_FOR_ALL] = any("json" in task.args and task.args.json.value for task in tasks)
            try:
                results = super().execute(*tasks)
            finally:
                interrupts.ignore()
            if session.would_change:
                raise Exit(code=WOULD_CHANGE)
            session.succeeded = True
            return results

        def normalize_hosts(self, hosts: Any) -> list[dict[str, Any]]:
            return [host_of(host) if isinstance(host, str) else host for host in hosts or ()]

    return Ending


def require_no_dry_run(context: Any) -> None:
    """Refuse Fabric's -R: it disables only `Connection.run`, which the kit does not use, so changes would be made."""
    if context.config.run.dry:
        what = "-R (--dry), Fabric's dry run, does not work with these commands: they would make their changes"
        hint = "use --check after the command: fab deploy --check; provision, deploy, rollback and ci.key support it"
        raise ConfigError(what, hint=hint)


@dataclass(frozen=True)
class Typed:
    """One command as it was typed: its screen and options."""

    session: Session
    context: Any
    screen: Screen
    options: Options

    @contextmanager
    def verb(self, name: str, *, first: bool = False, may_install: bool = False) -> Iterator[tuple[Any, Call]]:
        """The module of a verb, loaded while the hosts are being connected to, and its call.

        first: only on the stage's first host. may_install: may install Python on a server that has none.
        """
        config = self.session.config()
        overrides.require_known()
        if name in RENDERING:
            for note in overrides.notes():
                self.screen.say(f"note: {note}", "yellow")
        hosts = self.session.hosts(self.context, config)
        if first and len(hosts) > 1:
            sys.stderr.write(f"note: running on {hosts[0].name} only, the first of {len(hosts)} hosts\n")
            hosts = hosts[:1]
        self.screen.several = len(hosts) > 1
        with self.session.reaching(hosts, self.screen, may_install=may_install, large=name not in SMALL) as run:
            module = import_module(f"..verbs.{name}", __package__)
            yield module, Call(self.session, config, hosts, self.screen, self.options, run)


def command(session: Session, words: dict[str, str], *, reading: bool = False, **settings: Any) -> Any:
    """Makes a task from a function that takes a `Typed` and its own options.

    words: the options that it shares with other tasks, and their help. reading: see `Screen`. settings: Fabric's, such
    as `help` for the function's own options.
    """

    def made(function: Callable[..., None]) -> Any:
        def body(c: Any, **given: Any) -> None:
            switches = {key: given.pop(key) for key in SWITCHES if key in given}
            shown = {key: given.pop(key, False) for key in ("json", "verbose")}
            with telling(c, shown["json"], shown["verbose"], session, reading) as screen:
                function(Typed(session, c, screen, Options(**switches)), **given)

        own = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD][1:]
        context = inspect.Parameter("c", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        more = [inspect.Parameter(key, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=False) for key in words]
        body.__signature__ = inspect.Signature([context, *own, *more])  # type: ignore[attr-defined]  # Invoke reads it
        body.__name__, body.__doc__ = function.__name__, as_typed(function.__doc__ or "")
        about = {key: as_typed(text) for key, text in {**settings.get("help", {}), **words}.items()}
        return task(**{**settings, "help": about})(body)

    return made


def question(where: str) -> Callable[[str], str] | None:
    """Asks the person at the terminal; None where there is none."""
    from ..screen.prompts import asked

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    command = where.partition(" ")[2]
    none = ConfigError("nothing was typed", where, NOTHING, f"fab --help {command} shows the options that answer it")
    return lambda text: asked(text, none)


def stage_names() -> list[str]:
    """The names of the stages in deploy.toml. A broken file is reported by the task that reads it, not by --list."""
    try:
        text = Path("deploy.toml").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    return sorted(set(re.findall(r"^\s*\[stages\.([a-z][a-z0-9_-]*)", text, re.M)))


def left_out(command: str, shape: str, words: list[str]) -> bool:
    """Whether a command line omits the optional argument of a command.

    Invoke's positional arguments are all required, so this one is made positional only if it is given: if a word that
    matches `shape` (a regular expression) follows the command.
    """
    return command not in words or not any(re.fullmatch(shape, word) for word in words[words.index(command) + 1 :])
