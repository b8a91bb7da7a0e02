"""Values for `fab env.set`: from a file, a pipe, or typed without echo. Never from the command line."""

import re
import sys
from io import TextIOWrapper

from ..agent.wire import Secret
from ..config.paths import expanded
from ..config.values import RESERVED
from ..errors import NOTHING, ConfigError
from ..screen.prompts import unseen

NAME = r"[A-Z_][A-Z0-9_]*"
AS_TEXT = "encode it, for example as base64"
LINES = "the file needs one NAME=value per line, names in capital letters, as UTF-8 text; # starts a comment"
LINE = re.compile(rf"(?:export\s+)?({NAME})\s*=\s*(.*)")


def wanted(name: str, file: str) -> dict[str, Secret]:
    """Map name to value: all lines of a file ("-" is standard input), or the value of one name."""
    if bool(file) == bool(name):
        hint = "fab env.set NAME asks for the value; fab env.set --file .env sets several"
        raise ConfigError("env.set needs a name or a file", "", NOTHING, hint)
    if file:
        return from_file(file)
    check(name)
    unanswered = ConfigError(
        f"no value of {name} was typed", hint=f"run fab env.set {name}, type the value and press Enter"
    )
    asked = sys.stdin.isatty()
    typed = unseen(f"{name}: ", unanswered) if asked else Secret(piped().value.removesuffix("\n"))
    if not typed.value:
        hint = f"fab env.unset {name} removes it; for an empty value, write {name}= in a file and use --file"
        raise ConfigError(f"the value of {name} is empty", "env.set", NOTHING, hint)
    return {name: sound(name, typed)}


def check(name: str) -> None:
    bare, equals, _ = name.partition("=")
    if equals:
        hint = f"fab env.set {bare}   asks for the value; or pipe it in: printf %s … | fab env.set {bare}"
        raise ConfigError(
            "the value must not be on the command line: it would stay in your shell's history", bare, NOTHING, hint
        )
    if RESERVED.fullmatch(name):
        raise ConfigError(
            f"{name} is set by the kit itself", "env.set", NOTHING, "change the matching key in deploy.toml"
        )


def piped() -> Secret:
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")  # on Windows, a pipe has the old code page
    try:
        return Secret(sys.stdin.read())
    except UnicodeDecodeError:
        raise ConfigError("standard input is not UTF-8 text", "standard input", hint=AS_TEXT) from None


def sound(name: str, secret: Secret) -> Secret:
    if "\0" in secret.value:
        raise ConfigError(f"the value of {name} contains a NUL byte", "env.set", NOTHING, AS_TEXT)
    try:
        secret.value.encode()
    except UnicodeEncodeError:  # it was read in the locale "C"
        raise ConfigError(f"the value of {name} is not UTF-8 text", "env.set", NOTHING, AS_TEXT) from None
    return secret


def from_file(path: str) -> dict[str, Secret]:
    try:
        text = piped() if path == "-" else Secret(expanded(path, f"--file {path}").read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "") or "it is not UTF-8 text"
        raise ConfigError(f"{path} cannot be read: {reason}", path, NOTHING, LINES) from None
    found = parse(text, path)
    if not found:
        raise ConfigError(f"there is no NAME=value line in {path}", path, NOTHING, LINES)
    return found


def parse(text: Secret, path: str) -> dict[str, Secret]:
    """The variables of a .env file: NAME=value a line, # comments, quotes, `export`; a quoted value may span lines.

    In double quotes, \\n, \\" and \\\\ are escapes; in single quotes, everything is literal.
    """
    found: dict[str, Secret] = {}
    lines = iter(enumerate(text.value.splitlines(), 1))
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = LINE.fullmatch(line.strip())
        if not match:
            where = f"{path}, line {number}"
            raise ConfigError("this line is not NAME=value", where, NOTHING, LINES)  # not quoted: a secret
        name, value = match[1], match[2]
        check(name)
        if value[:1] in ("'", '"'):
            quote = value[0]
            while not (end := re.match(rf"{quote}((?:[^{quote}\\]|\\.)*){quote}\s*(?:#.*)?$", value, re.S)):
                _, more = next(lines, (0, None))
                if more is None:
                    hint = "add the closing quote, or write the value without quotes"
                    raise ConfigError(f"the quote of {name} is not closed", f"{path}, line {number}", NOTHING, hint)
                value += "\n" + more
            value = end[1]
            if quote == '"':
                value = re.sub(r"\\(.)", lambda m: {"n": "\n", "t": "\t", "r": "\r"}.get(m[1], m[1]), value, flags=re.S)
        else:
            value = re.sub(r"\s+#.*$", "", value)
        found[name] = sound(name, Secret(value))
    return found
