"""(config, source, facts) → Plan. Pure: no effects, no clock, no network."""

import hashlib
import json
import posixpath
import re
from dataclasses import dataclass, fields
from typing import Any

from . import layout
from .agent.resources.files import Absent, Config, Directory, File, Link
from .agent.resources.health import Healthy, Reachable
from .agent.resources.host import HostNames, Platform, Port, SecretKey
from .agent.resources.packages import Packages, Uv
from .agent.resources.releases import Pruned, Source, Virtualenv
from .agent.resources.services import Retired, Service
from .agent.resources.uploads import Entry
from .agent.resources.users import Member, User
from .agent.wire import Plan, Resource, Secret
from .config import App
from .errors import HostError, SourceError
from .render import environment_file, render

PACKAGES = ("nginx", "python3", "python3-pip-whl", "logrotate", "ca-certificates", "iproute2", "tzdata")
NGINX = "/etc/nginx"
NGINX_READS = tuple(
    f"{NGINX}/{name}" for name in ("nginx.conf", "conf.d", "sites-enabled", "sites-available", "ashore")
)
DRAIN_SECONDS = 10
UV = f"{layout.uv()}/bin/uv"
INCLUDES = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[=\s]*(\S+)", re.M)
LOCAL = re.compile(r"^\s*(?:\.|/|-e\b|--editable\b|file:)", re.M)


@dataclass(frozen=True)
class Facts:
    """What a server told of itself and of one app on it. `digest` is the current release's; "" where there is none."""

    hostname: str
    system: str
    python: str
    cpus: int
    releases: tuple[str, ...]
    current: str
    digest: str
    provisioned: bool
    uv: tuple[str, ...]

    @classmethod
    def of(cls, reply: dict[str, Any]) -> "Facts":
        values: dict[str, Any] = {field.name: reply[field.name] for field in fields(cls)}
        lists = {key: tuple(values[key]) for key in ("releases", "uv")}
        return cls(**(values | lists))


@dataclass(frozen=True)
class Release:
    """What `deploy` is to put on a server. names: the site's server names, the one that visitors use first."""

    id: str
    entries: tuple[Entry, ...]
    venv_key: str
    digest: str
    commit: str
    by: str
    at: str
    names: tuple[str, ...]


def provision(app: App, overwrite: bool = False) -> Plan:
    """A bare server becomes one that can host the app."""

    def file(path: str, template: str, **values: Any) -> File:
        return File(path, render(template, **values), overwrite=overwrite)

    name = app.name
    steps: tuple[Resource, ...] = (
        Platform(("debian", "ubuntu")),
        Port(80, "nginx"),
        HostNames(),
        Packages(PACKAGES),
        Link("/etc/localtime", "/usr/share/zoneinfo/Etc/UTC"),
        File("/etc/timezone", "Etc/UTC\n"),
        User(layout.DEPLOY_USER, f"/home/{layout.DEPLOY_USER}", "/bin/bash", make_home=True),
        User(name, layout.data(name)),
        Member(layout.DEPLOY_USER, name),
        Member("www-data", name),
        Directory(layout.home(name), 0o750, "root", name),
        Directory(f"{layout.home(name)}/releases", 0o750, "root", name),
        Directory(f"{layout.home(name)}/venvs", 0o755, "root", "root"),
        SecretKey(layout.secrets(name)),
        Uv(layout.UV_VERSION, layout.uv()),
        Directory("/etc/systemd/journald.conf.d"),
        file("/etc/systemd/journald.conf.d/50-ashore.conf", "systemd/journald.conf.j2"),
        Service("systemd-journald.service", watches=("/etc/systemd/journald.conf.d",), refresh="restart"),
        Directory("/etc/systemd/system/nginx.service.d"),
        Config(
            "Nginx comes back by itself",
            (file("/etc/systemd/system/nginx.service.d/50-ashore.conf", "systemd/nginx.conf.j2"),),
            ("systemctl", "daemon-reload"),
        ),
        Directory(layout.nginx_logs(name), 0o750, "www-data", "adm"),
        file("/etc/logrotate.d/ashore", "nginx/logrotate.j2"),
        Directory(f"{NGINX}/ashore"),
        Config(
            "Nginx serves known sites and gives strangers nothing",
            (
                file(f"{NGINX}/conf.d/ashore.conf", "nginx/http.conf.j2"),
                file(f"{NGINX}/ashore/server.conf", "nginx/server.conf.j2"),
                file(f"{NGINX}/ashore/unavailable.html", "nginx/unavailable.html.j2"),
                file(f"{NGINX}/sites-available/ashore-strangers.conf", "nginx/strangers.conf.j2"),
                Link(f"{NGINX}/sites-enabled/ashore-strangers.conf", "../sites-available/ashore-strangers.conf"),
                Absent(f"{NGINX}/sites-enabled/default"),
            ),
            ("nginx", "-t", "-q"),
        ),
        Service("nginx.service", enabled=True, watches=NGINX_READS),
        Service("logrotate.timer", enabled=True),
    )
    return Plan("provision", steps)


def require_provisioned(app: App, facts: Facts, where: str) -> None:
    if not facts.provisioned or layout.UV_VERSION not in facts.uv:
        what = "is not provisioned yet" if not facts.provisioned else "was provisioned by another version of the kit"
        raise HostError(
            f"the server {what} for {app.name}", where, "nothing was changed", "fab provision, then deploy again"
        )


def venv_key(app: App, entries: tuple[Entry, ...], read: dict[str, str], python: str) -> str:
    """Names the virtualenv: releases with the same Python and the same requirements share one.

    read: text of each requirements file by its path in the source, see `requirements`.
    """
    python_minor = ".".join(python.split(".")[:2])
    parts: list[Any] = [python_minor, layout.UV_VERSION, sorted(read.items())]
    if any(LOCAL.search(text) for text in read.values()):
        parts.append(entries)  # built from the source itself, so the source is part of what it is
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def included(path: str, text: str) -> list[str]:
    """Paths of the files that a requirements file includes with -r or -c."""
    if not path.endswith((".txt", ".in")):
        return []
    names = [name for name in INCLUDES.findall(text) if "://" not in name]
    return [posixpath.normpath(posixpath.join(posixpath.dirname(path), name)) for name in names]


def check_requirements(app: App, entries: tuple[Entry, ...], read: dict[str, str]) -> None:
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
        if re.search(r"^\s*(-e|--editable)\b", read[path], re.M):
            raise SourceError(
                f"{path} has an editable install (-e), which would tie the virtualenv to one release's directory",
                where=path,
                state="nothing was changed",
                hint="name the package without -e",
            )


def settings(app: App, cpus: int, release_id: str) -> dict[str, str]:
    """The environment of a release: what the kit sets, then the app's own."""
    gunicorn = {
        "--workers": app.workers or cpus,
        "--threads": app.threads,
        "--timeout": app.timeout_seconds,
        "--graceful-timeout": app.timeout_seconds,
    }
    return {
        "RELEASE_ID": release_id,
        "DATA_DIR": layout.data(app.name),
        "WSGI_APP": app.wsgi,
        "GUNICORN_CMD_ARGS": " ".join(f"{option} {value}" for option, value in gunicorn.items()),
        **dict(app.env),
    }


def unit_text(app: App) -> str:
    return render("systemd/app@.service.j2", app=app, stop_seconds=app.timeout_seconds + 10)


def site_text(app: App, names: tuple[str, ...]) -> str:
    return render("nginx/site.conf.j2", app=app, names=names)


def digest(app: App, entries: tuple[Entry, ...], key: str, cpus: int) -> str:
    """Same digest, same release: what would be built, but for its ID."""
    parts = [entries, key, settings(app, cpus, ""), unit_text(app)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def deploy(app: App, release: Release, facts: Facts, overwrite: bool = False) -> Plan:
    """Build the release beside the current one, switch traffic once it answers; on failure stop it and remove it.

    For the release that is current already, the same plan finds nothing to do, or mends what broke.
    """
    name, new = app.name, release.id != facts.current
    home, unit = layout.home(name), layout.unit(name, release.id)
    directory, key = layout.release(name, release.id), release.venv_key
    record = {
        "id": release.id,
        "digest": release.digest,
        "commit": release.commit,
        "by": release.by,
        "at": release.at,
        "python": facts.python,
        "venv": key,
    }
    build: tuple[Resource, ...] = (
        Source(home, release.id, name),
        Virtualenv(layout.venv(name, key), f"{directory}/source", app.requirements, UV, layout.DEPLOY_USER),
        Link(f"{directory}/venv", f"../../venvs/{key}", "link to the virtualenv"),
        Link(f"{directory}/http.sock", layout.socket(name, release.id), "link to the socket"),
        File(f"{directory}/env", Secret(environment_file(settings(app, facts.cpus, release.id))), 0o600),
        File(f"{directory}/release.json", json.dumps(record, indent=1) + "\n", 0o640, "root", name),
    )
    steps: tuple[Resource, ...] = (
        Platform(("debian", "ubuntu")),
        *(build if new else ()),
        Config(
            f"unit {name}@.service",
            (File(layout.unit_file(name), unit_text(app), overwrite=overwrite),),
            ("systemctl", "daemon-reload"),
        ),
        Config(
            f"Nginx site {release.names[0]}",
            (
                File(layout.site(name), site_text(app, release.names), overwrite=overwrite),
                Link(layout.site_link(name), f"../sites-available/{name}.conf"),
            ),
            ("nginx", "-t", "-q"),
        ),
        Service(unit, active=True),
        Healthy(unit, layout.socket(name, release.id), app.health_path, release.names[0], app.health_seconds),
        Service(unit, active=True, enabled=True),  # before the switch: a power cut must find it starting at boot
        Service("nginx.service", enabled=True, watches=NGINX_READS),
        Link(layout.current(name), f"releases/{release.id}", f"traffic goes to {release.id}"),
        Reachable(release.names[0], app.health_path, 10),
    )
    current = layout.current(name)
    back: Resource = Absent(current)
    if facts.current:
        back = Link(current, f"releases/{facts.current}", f"traffic goes to {facts.current}")
    undo: tuple[Resource, ...] = (back, Service(unit, active=False, enabled=False), Absent(directory)) if new else ()
    finish = (Retired(name, release.id, DRAIN_SECONDS), Pruned(home, app.keep_releases))
    return Plan("deploy", steps, undo, finish, restore=True)
