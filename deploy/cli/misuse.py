"""Wrong command lines: what Invoke and Fabric refuse, shown like all other errors."""

import os
import re
import shlex
import sys
from collections.abc import Callable
from functools import partial
from io import TextIOWrapper
from typing import Any

from invoke.exceptions import Exit, ParseError, UnknownFileType
from invoke.tasks import Task
from invoke.util import yaml  # type: ignore[attr-defined]
from paramiko import SSHException

from ..config.values import Wrong, login
from ..errors import ConfigError, DeployError, SandboxError, SourceError
from ..screen.command import command_name
from ..screen.screen import Screen, unwritten
from ..screen.streams import silence
from .variables import NAME

UNSEEN = ("env.set", "run", "--")  # a secret may be typed behind them
PROMPTS = ("prompt-for-sudo-password", "prompt-for-login-password", "prompt-for-passphrase")
LIST_FORMATS = ("flat", "nested", "json")
ALL_COMMANDS = "fab --list shows all commands"


def typed(words: list[str]) -> str:
    """The command line as it was typed, with "…" for what may be a secret: env.set's value, the command of run."""
    for place, word in enumerate(words, 1):
        if word in UNSEEN:
            told, rest = words[:place], words[place:]
            if word == "env.set" and rest and re.fullmatch(NAME, rest[0]):
                told.append(rest.pop(0))
            return shlex.join([command_name(), *told]) + (" …" if rest else "")
    return shlex.join([command_name(), *words])


def tell(screen: Screen, error: DeployError) -> None:
    """Show an error. An error without `where` that does not come from a server gets the command line as `where`."""
    if isinstance(error, (ConfigError, SourceError, SandboxError)):
        error.where = error.where or typed(sys.argv[1:])
    screen.error(error)


def explain_misuse(program: Any, about: str | None) -> None:
    """Show errors around the tasks like errors in them. program: Fabric's, see its `run`.

    about: the text above the list of commands.
    """
    program.parse_tasks = told(partial(parse, program, program.parse_tasks))
    program.parse_cleanup = told(partial(list_or_help, program, about, program.parse_cleanup))
    program.update_config = told(partial(read_settings, program, program.update_config))
    program.execute = told(program.execute)  # the hosts of -H


def core_told(step: Callable[[], None]) -> None:
    """Run what comes before the commands, its errors shown like theirs: the options in front, Fabric's config files."""

    def run() -> None:
        try:
            step()
        except (ParseError, ValueError) as error:
            raise misuse(error, []) from None
        except BrokenPipeError:  # `ashore --version | true`
            silence(sys.stdout)
            raise Exit(code=0) from None
        except (UnknownFileType, yaml.YAMLError, OSError) as error:
            if isinstance(error, OSError) and not error.filename:
                silence(sys.stdout)
                raise unwritten(error) from None
            what = "a config file of Fabric cannot be read"
            raise ConfigError(what, hint="the default is ~/.fabric.yaml", detail=str(error)) from None

    told(run)()


def open_streams() -> None:
    """Replace standard streams that are closed, as by `fab deploy <&-`, with empty ones.

    A character that the output's encoding lacks is escaped: on Windows, a pipe has the old code page.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does by itself


def told(step: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        try:
            step()
        except DeployError as error:
            tell(Screen(as_json=not {"--json", "-j"}.isdisjoint(sys.argv)), error)
            raise Exit(code=error.status) from None

    return run


def parse(program: Any, parse_tasks: Callable[[], None]) -> None:
    mine = left_aside(program)
    for name in mine & set(program.collection.task_names) & set(sys.argv[1:]):
        what = f"fabfile.py has a task {name} of its own, and so has Ashore: it is not clear which is meant"
        raise ConfigError(what, hint=f"give yours another name and add it: ns.add_task(…); `ashore {name}` is Ashore's")
    try:
        parse_tasks()
    except (ParseError, ValueError) as error:
        made = misuse(error, sorted(program.collection.task_names))
        for name in mine & set(sys.argv[1:]):
            made.hint = f"fabfile.py has a task {name}, which is not in its ns: ns.add_task({name})"
        raise made from None
    if program.core.remainder and not program.args.complete.value:
        hint = 'fab run "COMMAND" runs a command as the app'
        raise ConfigError('arguments after "--" are not supported', hint=hint)  # Fabric checks no host keys


def left_aside(program: Any) -> set[str]:
    """Names of the tasks that a fabfile has beside its `ns`. Invoke takes what is in `ns`, and nothing else."""
    fabfile = vars(sys.modules.get("fabfile", object))
    taken = [*program.collection.tasks.values()]
    return {made.name for made in fabfile.values() if isinstance(made, Task) and made not in taken}


def list_or_help(program: Any, about: str | None, parse_cleanup: Callable[[], None]) -> None:
    shape = program.args["list-format"].value
    if program.args.list.value and shape not in LIST_FORMATS:
        raise ConfigError(
            f"--list-format takes flat, nested or json, not {shape}", hint="fab --list --list-format nested"
        )
    try:
        print_help(about if program.args.list.value is True and shape == "flat" else "", parse_cleanup)
    except ParseError as error:
        raise misuse(error, sorted(program.collection.task_names)) from None
    except Exit as end:
        if not end.message:  # it is done
            raise
        name, groups = program.args.list.value, sorted(program.collection.collections)
        hint = f"{guess(name, groups)}--list shows all commands, or takes a group: {', '.join(groups)}"
        raise ConfigError(f"there is no group of commands {name}", hint=hint) from None


def print_help(about: str | None, parse_cleanup: Callable[[], None]) -> None:
    try:
        try:
            if about:
                print(about)
            parse_cleanup()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # `fab --list | head`
        silence(sys.stdout)
        raise Exit(code=0) from None
    except OSError as error:
        silence(sys.stdout)
        raise unwritten(error) from None


def read_settings(program: Any, update_config: Callable[[], None]) -> None:
    """Read what Fabric needs before the first task: its own config, SSH's, and passwords."""
    hint = "-S is the SSH config file, -f the Fabric config file; the defaults are ~/.ssh/config and ~/.fabric.yaml"
    try:
        update_config()
    except EOFError:
        sys.stderr.write("\n")  # the cursor is still behind the question
        asked = " and ".join(f"--{name}" for name in PROMPTS if program.args[name].value)
        hint = "run it at a terminal; without one, use an SSH key and a user that can use sudo without a password"
        raise ConfigError(f"{asked}: nothing was typed", hint=hint) from None
    except OSError as error:
        what = f"{error.filename or 'a config file'} cannot be read: {error.strerror}"
        raise ConfigError(what, hint=hint) from None
    except (SSHException, UnknownFileType, ValueError, yaml.YAMLError) as error:
        what = "a config file of SSH or Fabric cannot be read"
        raise ConfigError(what, hint=hint, detail=str(error)) from None


def host_of(written: str) -> dict[str, Any]:
    """A host of -H, as Fabric's Connection takes it."""
    try:
        user, name, port = login(written)
    except Wrong as wrong:
        hint = "fab -H root@203.0.113.10 deploy; separate several hosts with commas"
        raise ConfigError(f"-H {wrong}", hint=hint) from None
    return {"host": name, "user": user or None, "port": port or None}


def guess(word: str, known: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(word, known, 1, 0.5)
    return f"did you mean {near[0]}? " if near else ""


def misuse(error: ParseError | ValueError, names: list[str]) -> ConfigError:
    """The error for a wrong command line. names: of all commands."""
    context = getattr(error, "context", None)
    command = context.name if context is not None and context.name else ""
    text, hint = str(error), f"fab --help {command} shows its options" if command else ALL_COMMANDS
    if found := re.fullmatch(r"No idea what '(.*)' is!", text, re.S):
        return unknown_word(found[1], command, [*context.flags] if context is not None else [], names, hint)
    if found := re.search(r"did not receive required positional arguments: (.*)", text):
        text = f"{command} needs {found[1]}"
    elif found := re.search(r"Flag '?<Argument: ([\w-]+).*needed value", text):
        text = f"the option {'-' if len(found[1]) == 1 else '--'}{found[1]} needs a value"
    elif found := re.search(r"invalid literal for int\(\) with base 10: (.*)", text):
        text = f"{found[1]} is not a whole number"
    return ConfigError(text, hint=hint)


def unknown_word(word: str, command: str, flags: list[str], names: list[str], hint: str) -> ConfigError:
    if word.startswith("-"):
        what = f"{command or command_name()} has no option {word}"
        return ConfigError(what, hint=guess(word, flags) + hint)
    if command == "env.set" and not guess(word, names):  # not quoted: it may be the value
        hint = f"fab env.set NAME asks for the value; {hint}"
        return ConfigError("env.set takes one name, in capital letters, and no value on the command line", hint=hint)
    if command == "explain":
        return ConfigError(f"explain takes one key, and {word} is not a command", hint=guess(word, names) + hint)
    return ConfigError(f"there is no command {word}", hint=guess(word, names) + hint)
