"""How a virtualenv is filled: from a requirements file, a lock, and the project itself."""

import os
import re

from ...dataclass import dataclass
from ...wire import Value
from .trees import copy_tree

UV, LISTED = "uv", "listed"
COPY = "project"  # of the source, which a build may write to
LIST = "listed.txt"
BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
# The project's version, where it would be asked of Git: no repository is uploaded.
VERSION = "SETUPTOOLS_SCM_PRETEND_VERSION=0 PDM_BUILD_SCM_VERSION=0 PBR_VERSION=0 POETRY_DYNAMIC_VERSIONING_BYPASS=0"
MADE = 'set -f\n"$UV" venv --quiet --allow-existing --no-project --python "$PYTHON" "$VENV"\n'
INTO = '"$UV" pip install --python "$VENV/bin/python" '
# What runs the app goes with a lock as well: within the versions that are there by then.
WITHIN = (
    '"$UV" pip freeze --quiet --python "$VENV/bin/python" | grep == > "$TMPDIR/there.txt" || true\n'
    f'{INTO}--constraint "$TMPDIR/there.txt" $ADDS\n'
)


@dataclass(frozen=True)
class Recipe(Value):
    """how: "" as a requirements file or pyproject.toml says it, UV by a uv.lock, LISTED by the lines of
    a lock that the kit has read. python: the version that is wanted, "" for the server's own.

    project: the project itself is installed; its code is then taken from the release, at one of `roots`. local: parts
    of the source are built, in a copy. hashed: each package has a hash. resolves: the list is no lock. named: it names
    the project, too. edited: requirements files with editable installs, which are made plain. indexes: besides the
    usual one, "name=url". directory: of the source, that all of it is relative to.
    """

    how: str = ""
    python: str = ""
    project: bool = False
    local: bool = False
    hashed: bool = False
    resolves: bool = False
    named: bool = False
    extras: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()
    directory: str = ""

    def script(self, adds: bool) -> str:
        """For /bin/sh: UV, PYTHON, VENV, DIRECTORY, FILE, ADDS, TMPDIR are in the environment, extras are arguments."""
        exact = "--no-deps " if self.how and not self.resolves else ""
        exact += "--require-hashes " if self.how == LISTED and self.hashed else ""
        apart = adds and ((self.how and not self.resolves) or self.hashed)
        steps = [MADE, *(['cd "$DIRECTORY"\n'] if self.directory else [])]
        if self.how == UV:
            export = '"$UV" export --quiet --frozen --no-dev --no-emit-project --no-editable --no-header --no-annotate'
            steps.append(f'{export} --python "$VENV/bin/python" "$@" --output-file "$TMPDIR/{LIST}" > /dev/null\n')
        listed = f'"$TMPDIR/{LIST}"' if self.how in (UV, LISTED) else '"$FILE"'
        extras = '"$@" ' if self.extras and not self.how else ""
        steps.append(f"{INTO}{exact}{extras}-r {listed}" + (" $ADDS" if adds and not apart else "") + "\n")
        if self.project and not self.named:
            steps.append(f"{VERSION} {INTO}--no-deps .\n")
        if apart:
            steps.append(WITHIN)
        steps[-1] = steps[-1].replace(INTO, f"{INTO}--compile-bytecode ")
        return "".join(steps)

    def prepare(self, scratch: str, source: str, listing: str) -> str:
        """Make in the scratch directory what the script needs; returns the directory that it runs in."""
        if self.how == LISTED:
            with open(f"{scratch}/{LIST}", "w", encoding="utf-8") as file:
                file.write(listing)
        if not self.local:
            return source
        copy = f"{scratch}/{COPY}"
        copy_tree(source, copy)
        for path in self.edited:
            with open(f"{copy}/{path}", "rb") as file:
                data = file.read()
            os.unlink(f"{copy}/{path}")
            text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace")
            with open(f"{copy}/{path}", "w", encoding="utf-8") as file:
                file.write(plain(text))
        return copy


EDITABLE = re.compile(r"^([^\S\n]*)(?:-e|--editable)[=\s]\s*(\S[^\n]*)", re.M)
FROM_URL = re.compile(r"((?:git|hg|svn|bzr)\+[^#\s]+)#(?:[^\s]*&)?egg=([\w.-]+(?:\[[^\]]*\])?)(?:&(\S+))?")


def plain(text: str) -> str:
    """A requirements file without editable installs: those would bind the virtualenv to one release."""

    def changed(found: re.Match[str]) -> str:
        url = FROM_URL.match(found[2])
        if not url:
            return found[1] + found[2]
        more = f"#{url[3]}" if url[3] else ""
        return f"{found[1]}{url[2]} @ {url[1]}{more}{found[2][url.end() :]}"

    return EDITABLE.sub(changed, text.removeprefix("\ufeff"))


def trust(*names: str) -> dict[str, str]:
    """Variables with the server's own trust, which is needed where a private CA is in the way."""
    return dict.fromkeys(names, BUNDLE) if os.path.exists(BUNDLE) else {}


def uv_environment() -> dict[str, str]:
    """For uv in the build box: with the settings of the server; a virtualenv is not named after those of the source."""
    environment = {"UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}
    environment |= trust("SSL_CERT_FILE")
    own = "/etc/uv/uv.toml"
    return environment | ({"UV_CONFIG_FILE": own} if os.path.exists(own) else {"UV_NO_CONFIG": "1"})
