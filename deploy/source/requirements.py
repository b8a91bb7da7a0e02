"""Read requirements files before anything is uploaded: what they include, and what they can install."""

import errno
import posixpath
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from ..agent.resources.release.package import Package
from ..agent.wire import Entry
from ..errors import SourceError
from .pins import project_dependencies

MOST_CACHED = 16  # files, each of which is looked at for several reasons
INCLUDES = re.compile(r"^[^\S\n]*(?:-r|-c|--requirement|--constraint)[=\s]*(\S+)", re.M)
# Of a requirements file, the lines that say all there is to know of what they install: a package of an index by name
# and version, another file that is read as well, a hash, or where the index is.
PLAIN = re.compile(
    r"""(?:(?!\S*\.(?:whl|zip|egg|t?gz|bz2|xz|tar|tbz|tlz|txz|zst|lz|lzma)\b)
        [A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?\s*(?:\[[\w\s.,-]*\])?\s*
        \(?(?:(?:[=~!<>]=|===|<|>)\s*[\w.*+!-]+\s*,?\s*)*\)?\s*(?:;[^@/\\]*)?
    |(?:-r|-c|--requirement|--constraint)(?:[=\s]\s*)(?!\S*:)\S+
    |(?:-i|--index-url|--extra-index-url)(?:[=\s]\s*)https?://\S+
    |--(?:pre|require-hashes|prefer-binary)|--(?:only|no)-binary(?:[=\s]\s*)[\w.:,-]+)?
    (?:\s+--hash[=\s]\w+:[0-9a-f]+)*""",
    re.X,
)


@lru_cache(MOST_CACHED)
def is_plain(path: str, text: str) -> bool:
    """Whether requirements install only from an index, so that the same text means the same packages. In doubt: no."""
    if path.endswith("pyproject.toml"):
        return is_plain_project(text)
    lines = re.sub(r"\\\r?\n", " ", bare(text)).splitlines()
    return all(PLAIN.fullmatch(line.strip()) for line in lines)


def is_plain_project(text: str) -> bool:
    """Like `is_plain`, for a pyproject.toml, of which uv installs the dependencies."""
    try:
        import tomllib  # Python 3.11; on an older server, the source counts for every CI key's virtualenv
    except ImportError:
        return False
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    project = data.get("project", {})
    if not isinstance(project, dict) or "uv" in data.get("tool", {}):
        return False
    dynamic = project.get("dynamic", [])
    if not isinstance(dynamic, list) or any(str(name).endswith("dependencies") for name in dynamic):
        return False
    wanted = project.get("dependencies", [])
    return isinstance(wanted, list) and all(
        isinstance(line, str) and not line.startswith("-") and PLAIN.fullmatch(line.strip()) for line in wanted
    )


@lru_cache(MOST_CACHED)
def bare(text: str) -> str:
    """A requirements file without comments, and without the byte order mark that PowerShell writes."""
    return re.sub(r"(^|\s)#.*", r"\1", text.removeprefix("\ufeff"), flags=re.M)


def included(path: str, text: str) -> list[str]:
    """Paths of the files that a requirements file includes with -r or -c."""
    if not path.endswith((".txt", ".in")):
        return []
    names = [name for name in INCLUDES.findall(bare(text)) if "://" not in name]
    return [posixpath.normpath(posixpath.join(posixpath.dirname(path), name)) for name in names]


def check(entries: tuple[Entry, ...], read: Mapping[str, str], texts: Mapping[str, str], package: Package) -> None:
    """Refuse, before anything is uploaded, what cannot be installed or could not run the app.

    read: the files that count. texts: the requirements in them. package: what runs the app.
    """
    names = {entry.path for entry in entries}
    for path in read:
        if path not in names:
            raise refused(
                f"the deployed files have no requirements file {path}",
                "app.requirements in deploy.toml",
                "create it (for example `pip freeze > requirements.txt`), `git add` it, or set app.requirements",
            )
    for path, text in texts.items():
        if old := bounded(bare(text), package.name, package.since):
            what = f"{old} is too old: Ashore needs {package.title} {package.least} or later"
            raise refused(what, path, f"require {package.name}>={package.least} in {path}")


def added(read: Mapping[str, str], package: Package) -> str:
    """The requirement that the kit adds to an app's own, for what runs it; "" where the app names that itself."""
    texts = [named_in(path, text) for path, text in read.items()]
    if not any(is_named(package.name, text) for text in texts):
        return package.usual
    version, more = package.older
    old = any(bounded(text, package.name, version) for text in texts)
    return more if old and not any(is_named(re.split(r"\W", more)[0], text) for text in texts) else ""


def is_named(package: str, text: str) -> bool:
    return bool(re.search(rf"\b{package}\b", text, re.I))


def named_in(path: str, text: str) -> str:
    """What a requirements file names; of a pyproject.toml the dependencies, as no other part of it is installed."""
    if path.endswith("pyproject.toml"):
        with suppress(ImportError):  # Python 3.10, on a server: all of the text counts
            return "\n".join(project_dependencies(text))
    return bare(text)


CREDENTIALS = re.compile(r"\b[a-z+]+://[^/@\s$]*:?[^/@\s$]*@(?=[^\s/])")


def require_no_credentials(text: str, path: str) -> None:
    """Refuse a password in a URL: the file is uploaded, and is in Git. `${NAME}` in it is no password."""
    for found in CREDENTIALS.findall(text):
        if found.startswith(("git+ssh:", "ssh:")) or found.endswith("//git@"):  # a user of Git, who has a key
            continue
        what = f"{path} has a user name or password in a URL ({found.partition('//')[0]}//[hidden]@…)"
        hint = (
            "write ${INDEX_USER}:${INDEX_PASSWORD}@ there and set both on the server: fab env.set INDEX_PASSWORD;\n"
            "or name the index in pyproject.toml, and: fab env.set UV_INDEX_NAME_USERNAME UV_INDEX_NAME_PASSWORD"
        )
        raise refused(what, path, hint)


def refused(what: str, where: str, hint: str) -> SourceError:
    return SourceError(what, where=where, state="nothing was changed", hint=hint)


BOUND = r"(?:\[[^\]]*\])?\s*\(?\s*(?:[^#;\n]*?,\s*)?(==|<=|<|~=)\s*([\d.]*\d)(\.\*)?)(?![^#\n]*;)"  # behind a name


def bounded(text: str, name: str, limit: tuple[int, ...]) -> str:
    """The requirement that lets only versions before the limit be installed, as written; "" if there is none."""
    for line, operator, version, star in re.findall(rf"^[^\S\n]*({name}{BOUND}", text, re.M | re.I):
        parts = tuple(int(part) for part in version.split("."))
        if star:  # ==20.1.* is before 20.2
            operator, parts = "<", (*parts[:-1], parts[-1] + 1)
        elif operator == "~=" and len(parts) > 1:  # ~=20.1 is before 21
            operator, parts = "<", (*parts[:-2], parts[-2] + 1)
        if parts < limit or (operator == "<" and parts == limit):
            return str(line).strip()
    return ""


def text_of(directory: Path, path: str) -> str:
    """The text of a requirements file; "" if it does not exist, which `check` reports."""
    file = directory / path
    try:
        return decoded(path, file.read_bytes()) if file.is_file() else ""
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return ""
        raise refused(f"{path} cannot be read: {error.strerror}", str(file), "make it readable for your user") from None


def decoded(path: str, data: bytes) -> str:
    """The text of a requirements file, unchanged: UTF-8, or UTF-16 as PowerShell writes it with >.

    SourceError if it is neither. uv reads both.
    """
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
    except UnicodeDecodeError:
        hint = f"save it as UTF-8; in PowerShell: pip freeze | Out-File -Encoding utf8 {path}"
        raise refused(f"{path} is not UTF-8; it should be", path, hint) from None


def encoded(text: str) -> tuple[bytes, ...]:
    """The contents that a file may have whose text this is."""
    marked = (
        (mark, text.encode(name, "replace")) for mark, name in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
    )
    return (text.encode("utf-8", "replace"), *(mark + data for mark, data in marked))
