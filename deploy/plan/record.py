"""What a release is made of: its virtualenv's name, its environment, its unit and site, and the digest of them all."""

import hashlib
import json
import posixpath
import re
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from ..agent import layout
from ..agent.system import upstream
from ..agent.wire import Entry
from ..config.reader import App
from ..config.schema import PATH
from ..config.site import Site, is_address
from ..source.requirements import is_plain
from ..stack.render import render

RECORDED = (
    "wsgi", "requirements", "static", "health_path", "health_seconds", "warm_paths", "worker_class", "workers",
    "threads", "timeout_seconds", "memory_percent", "cpu_percent", "tasks_max", "tmp_megabytes", "outbound",
    "allow_jit", "writable_paths", "devices",
)  # fmt: skip  # what belongs to the code: a release that is reactivated brings its own


UNIT, SITE = "systemd/app@.service.j2", "nginx/site.conf.j2"


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
    return render(UNIT, app=app, stop_seconds=app.timeout_seconds + 10, room=layout.ROOM_SCRIPT)


def site_text(app: App, site: Site, static_before: dict[str, str], nginx: str) -> str:
    """The Nginx site. static_before: `app.static` of the release before, whose files stay within reach.

    Of `static` it has the prefixes; each release has links to its directories, so that another one needs no reload.

    nginx: the server's version as its package has it, "1.22.1-9+deb12u3".
    """
    prefixes = sorted({**dict(app.static), **static_before})
    static = [(prefix, re.escape(prefix), static_name(prefix)) for prefix in prefixes]
    return render(
        SITE,
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


def static_name(prefix: str) -> str:
    """What a release calls its link to the directory of a URL prefix: "/a/b/" is ",a,b,"."""
    return prefix.replace("/", ",")


def static_links(static: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The links of a release for its static files: (name, directory of its source)."""
    return tuple((static_name(prefix), directory) for prefix, directory in static)


def open_path(health_path: str) -> str:
    """What maintenance leaves open: the path as Nginx compares it; "" for the front page, which it is to close."""
    path = unquote(health_path.partition("?")[0])
    path = posixpath.normpath(re.sub("/+", "/", path)) + ("/" if re.search(r"/\.{0,2}$", path) else "")
    return path if path.strip("/") and re.fullmatch(PATH, path) else ""


def digest(app: App, site: Site, entries: tuple[Entry, ...], key: str, cpus: int) -> str:
    """Same digest, same release: what would be built, but for its ID and what was set on the server."""
    parts: list[Any] = [entries, key, settings(app, cpus), app.env, unit_text(app)]
    name = site.names[0]  # the app's DOMAIN
    if not is_address(name):  # which is each host's own, and all hosts of a stage share their releases
        parts.append(name)
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
