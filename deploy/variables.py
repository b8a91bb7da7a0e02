"""Values for `fab env.set`: from a file, from what is piped in, or typed unseen. Never from the command line."""

import getpass
import re
import sys
from pathlib import Path

from .errors import ConfigError
from .values import RESERVED

NAME = r"[A-Z_][A-Z0-9_]*"
NOTHING = "nothing was changed"
LINE = re.compile(rf"(?:export\s+)?({NAME})\s*=\s*(.*)")


def wanted(name: str, file: str) -> dict[str, str]:
    """Values by name: all of a file of NAME=value lines ("-" is standard input), or the one of a name."""
    if bool(file) == bool(name):
        hint = "fab env.set NAME asks for the value; fab env.set --file .env takes several"
        raise ConfigError("env.set wants a name or a file", "", NOTHING, hint)
    if file:
        return from_file(file)
    check(name)
    typed = getpass.getpass(f"{name}: ") if sys.stdin.isatty() else sys.stdin.read().removesuffix("\n")
    if not typed:
        hint = f"fab env.unset {name} takes it away; an empty one is a line {name}= in a file (--file)"
        raise ConfigError(f"the value of {name} is empty", "env.set", NOTHING, hint)
    return {name: sound(name, typed)}


def check(name: str) -> None:
    bare, equals, _ = name.partition("=")
    if equals:
        hint = f"fab env.set {bare}   asks for the value; or pipe it in: printf %s … | fab env.set {bare}"
        raise ConfigError("a value on the command line stays in your shell's history", bare, NOTHING, hint)
    if name in RESERVED:
        raise ConfigError(f"{name} is set by the kit itself", "env.set", NOTHING, "deploy.toml has settings for it")


def sound(name: str, value: str) -> str:
    if "\0" in value:
        raise ConfigError(f"the value of {name} has a NUL byte in it", "env.set", NOTHING, "encode it, as base64 say")
    return value


def from_file(path: str) -> dict[str, str]:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", path, NOTHING) from error
    found = parse(text, path)
    if not found:
        raise ConfigError(f"there is no NAME=value line in {path}", path, NOTHING)
    return found


def parse(text: str, path: str) -> dict[str, str]:
    """The variables of a .env file: NAME=value a line, # comments, quotes, `export`; a quoted value may span lines.

    In double quotes \\n, \\" and \\\\ mean what they mean elsewhere; in single quotes everything is as it stands.
    """
    found: dict[str, str] = {}
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = LINE.fullmatch(line.strip())
        if not match:
            raise ConfigError("this line is not NAME=value", f"{path}, line {number}", NOTHING)  # not quoted: a secret
        name, value = match[1], match[2]
        check(name)
        if value[:1] in ("'", '"'):
            quote = value[0]
            while not (end := re.match(rf"{quote}((?:[^{quote}\\]|\\.)*){quote}\s*(?:#.*)?$", value, re.S)):
                _, more = next(lines, (0, None))
                if more is None:
                    raise ConfigError(f"the quote of {name} is not closed", f"{path}, line {number}", NOTHING)
                value += "\n" + more
            value = end[1]
            if quote == '"':
                value = re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t", "r": "\r"}.get(m[1], m[1]), value, flags=re.S)
        else:
            value = re.sub(r"\s+#.*$", "", value)
        found[name] = sound(name, value)
    return found
