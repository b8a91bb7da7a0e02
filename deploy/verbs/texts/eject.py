"""`fab eject TEMPLATE`: a copy of one of the kit's templates in the project, to be edited there. Asks no server."""

import difflib
from pathlib import Path

from ...config.paths import OVERRIDES, TEMPLATES, write
from ...config.reader import FILE
from ...errors import NOTHING, ConfigError
from ...screen.screen import Screen
from ...stack import overrides


def list_templates(screen: Screen) -> None:
    for name in overrides.names(TEMPLATES):
        mine = overrides.own(name).is_file()
        text = overrides.stem(name) + (f"  → {overrides.own(name).as_posix()}" if mine else "")
        screen.say(text)


def eject(screen: Screen, wanted: str, accept: bool = False) -> None:
    """Write the copy. One that is there already is never replaced: what the kit's has changed since is shown.

    accept: the changes have been taken over, so the kit's template of today is what the copy counts as made from.
    """
    if not Path(FILE).is_file():
        hint = "run it in the directory with deploy.toml; `fab init` writes one"
        raise ConfigError(f"there is no {FILE} here", str(Path.cwd()), NOTHING, hint)
    name = known(wanted)
    path, kit = overrides.own(name), (TEMPLATES / name).read_text("utf-8")
    if accept:
        require_copy(name)
        write(overrides.original(name), kit)
        screen.say(f"{path.as_posix()} counts as made from the template of this version of Ashore")
    elif not path.is_file():
        write(overrides.original(name), kit)
        write(path, kit)
        screen.say(f"{path.as_posix()} is written: edit it; --check with provision and deploy shows what that changes")
        screen.say(f"commit {OVERRIDES}/ with it: in {OVERRIDES}/{overrides.ORIGINALS} is what it was made from")
    elif lines := overrides.changes(name):
        screen.say("\n".join(lines))
        screen.say(f"make these changes in {path.as_posix()}, then: fab eject {overrides.stem(name)} --accept")
    else:
        screen.say(f"{path.as_posix()} is there already; nothing was written")


def known(wanted: str) -> str:
    """The template's name, of what was typed: with or without .j2, templates/ or ashore/ before it."""
    every = overrides.names(TEMPLATES)
    bare = wanted.replace("\\", "/").removeprefix("templates/").removeprefix(f"{OVERRIDES}/").removesuffix(".j2")
    if f"{bare}.j2" in every:
        return f"{bare}.j2"
    near = difflib.get_close_matches(f"{bare}.j2", every, 1, 0.4)
    guess = f"did you mean {overrides.stem(near[0])}? " if near else ""
    raise ConfigError(f"there is no template {wanted}", "", NOTHING, f"{guess}`fab eject` lists the templates")


def require_copy(name: str) -> None:
    if not overrides.own(name).is_file():
        hint = f"fab eject {overrides.stem(name)} writes it"
        raise ConfigError(f"there is no {overrides.own(name).as_posix()} yet", "", NOTHING, hint)
