"""What a release is made of: its virtualenv's name, its environment, its unit and site, and the digest of them all."""

import hashlib
import json
import posixpath
import re
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from . import layout
from .agent.system import upstream
from .agent.wire import Entry
from .config import App
from .errors import SourceError
from .render import render
from .schema import PATH
from .site import Site

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
RECORDED = (
    "wsgi", "requirements", "static", "health_path", "health_seconds", "warm_paths", "worker_class", "workers",
    "threads", "timeout_seconds", "memory_percent", "cpu_percent", "tasks_max", "tmp_megabytes", "outbound",
    "allow_jit", "writable_paths", "devices",
)  # fmt: skip  # what belongs to the code: a release that is taken up again brings its own


def venv_key(entries: tuple[Entry, ...], read: dict[str, str], python: str, confined: bool = False) -> str:
    """Names the virtualenv: releases with the same Python and the same requirements share one.

    read: text of each requirements file by its path in the source, see `requirements`. confined: built for a CI key:
    that one is never shared with an operator's, and so is gone with the key's releases.
    """
    python_minor = ".".join(python.split(".")[:2])
    parts: list[Any] = [python_minor, layout.UV_VERSION, sorted(read.items()), "ci" if confined else "operator"]
    if not all(is_plain(path, text) for path, text in read.items()):
        parts.append(entries)  # it may be made of files of the source, so these are part of what it is
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def is_plain(path: str, text: str) -> bool:
    """Whether requirements lead to an index only: the same text, the same packages. In doubt, they do not."""
    if path.endswith(".toml"):
        return is_plain_project(text)
    lines = re.sub(r"\\\r?\n", " ", text).splitlines()
    return all(PLAIN.fullmatch(re.sub(r"(^|\s)#.*", "", line).strip()) for line in lines)


def is_plain_project(text: str) -> bool:
    """As `is_plain`, for a pyproject.toml; of it, uv installs the dependencies."""
    try:
        import tomllib  # Python 3.11; on an older server, the source counts for every CI key's virtualenv
    except ImportError:
        return False
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    project = data.get("project", {})
    if not isinstance(project, dict) or project.get("dynamic") or "uv" in data.get("tool", {}):
        return False
    wanted = project.get("dependencies", [])
    return isinstance(wanted, list) and all(
        isinstance(line, str) and not line.startswith("-") and PLAIN.fullmatch(line.strip()) for line in wanted
    )


def included(path: str, text: str) -> list[str]:
    """Paths of the files that a requirements file includes with -r or -c."""
    if not path.endswith((".txt", ".in")):
        return []
    names = [name for name in INCLUDES.findall(text) if "://" not in name]
    return [posixpath.normpath(posixpath.join(posixpath.dirname(path), name)) for name in names]


def check_requirements(entries: tuple[Entry, ...], read: dict[str, str]) -> None:
    """Refuse what cannot be installed in a virtualenv that outlives its release."""
    names = {entry.path for entry in entries}
    for path in read:
        if path not in names:
            raise SourceError(
                f"there is no requirements file {path} in what is deployed",
                where="app.requirements in deploy.toml",
                state="nothing was changed",
                hint="create it (`pip freeze > requirements.txt` is a start), `git add` it, or set app.requirements",
            )
        if re.search(r"^[^\S\n]*(-e|--editable)\b", read[path], re.M):
            raise SourceError(
                f"{path} has an editable install (-e), which would tie the virtualenv to one release's directory",
                where=path,
                state="nothing was changed",
                hint="name the package without -e",
            )


def settings(app: App, cpus: int) -> dict[str, str]:
    """What the kit sets in the environment of a release, beside RELEASE_ID."""
    gunicorn = {
        "--worker-class": app.worker_class,
        "--workers": app.workers or cpus,
        "--threads": app.threads if app.worker_class == "gthread" else 1,
        "--timeout": app.timeout_seconds,
        "--graceful-timeout": app.timeout_seconds,
    }
    return {
        "DATA_DIR": layout.data(app.name),
        "FLASK_APP": app.wsgi,  # for `fab run "flask …"` and release commands
        "WSGI_APP": app.wsgi,
        "GUNICORN_CMD_ARGS": " ".join(f"{option} {value}" for option, value in gunicorn.items()),
    }


def unit_text(app: App) -> str:
    return render("systemd/app@.service.j2", app=app, stop_seconds=app.timeout_seconds + 10, room=layout.ROOM_SCRIPT)


def site_text(app: App, site: Site, static_before: dict[str, str], nginx: str) -> str:
    """The Nginx site. static_before: `app.static` of the release before, whose files stay within reach.

    nginx: the server's version as its package has it, "1.22.1-9+deb12u3".
    """
    now = dict(app.static)
    static = [
        (
            prefix,
            re.escape(prefix),
            now.get(prefix, static_before.get(prefix)),
            static_before.get(prefix, now.get(prefix)),
        )
        for prefix in sorted({**now, **static_before})
    ]
    return render(
        "nginx/site.conf.j2",
        app=app,
        site=site,
        names=site.names,
        variable=app.name.replace("-", "_"),
        static=static,
        open_path=open_path(app.health_path),
        seconds=1 if upstream(nginx) >= (1, 19, 10) else 0,
        http2_on=upstream(nginx) >= upstream(layout.HTTP3_SINCE),
        certificates=layout.certificates(app.name),
        trusted=f"{layout.certificates(app.name)}/live/trusted",
        webroot=layout.WEBROOT,
    )


def open_path(health_path: str) -> str:
    """What maintenance leaves open: the path as Nginx compares it; "" for the front page, which it is to close."""
    path = unquote(health_path.partition("?")[0])
    path = posixpath.normpath(re.sub("/+", "/", path)) + ("/" if re.search(r"/\.{0,2}$", path) else "")
    return path if path.strip("/") and re.fullmatch(PATH, path) else ""


def digest(app: App, entries: tuple[Entry, ...], key: str, cpus: int) -> str:
    """Same digest, same release: what would be built, but for its ID and what was set on the server."""
    parts = [entries, key, settings(app, cpus), app.env, unit_text(app)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def recorded(app: App) -> dict[str, Any]:
    """Those settings of the app that go with a release, for its release.json."""
    return {name: getattr(app, name) for name in RECORDED}


def as_recorded(app: App, record: dict[str, Any]) -> App:
    """The app as it was when a release was made, by its release.json."""
    found = {name: value for name, value in record.get("app", {}).items() if name in RECORDED}
    lists = {name: tuple(value) for name, value in found.items() if isinstance(value, list)}
    if "static" in found:
        lists["static"] = tuple((prefix, directory) for prefix, directory in found["static"])
    found |= lists
    return replace(app, **found)
