"""Django: its settings decide what is built, what is served and what is data. They are read, and not run."""

import posixpath
import re
import shlex
from pathlib import PurePosixPath
from typing import Any

from ...agent.dataclass import dataclass, replace
from ...config.reader import App
from ..finding import Finding
from .base import Framework, Reading
from .settings import TOP, UNKNOWN, Settings

MODULE = re.compile(r"""["']DJANGO_SETTINGS_MODULE["']\s*,\s*["']([\w.]+)["']""")
MIGRATION = re.compile(r"(?:^|/)([\w-]+)/migrations/(\d{4}_\w+)\.py$")
ADVICE = r"\?: \(security\.\w+\) [^.]*\."  # the first sentence of a warning
COLLECT = "collectstatic --noinput"
WITH_MANIFEST = re.compile(r"Manifest\w*Storage")
SERVED_PATH = re.compile(r"[\w./+@-]+")
SECRET = "$SECRET_KEY"
KIT_S = ("SECRET_KEY", "DATA_DIR", "DOMAIN")  # variables that the kit sets
# What settings should be on a server, and the values of the variables that make them so.
SERVER_S = {
    "DEBUG": ("False", "0", "off"),
    "SECRET_KEY": (SECRET,),
    "ALLOWED_HOSTS": ("$DOMAIN", '["$DOMAIN"]'),
    "CSRF_TRUSTED_ORIGINS": ("https://$DOMAIN",),
}
OWN_NAMES = ("localhost", "127.0.0.1", "[::1]", "0.0.0.0", "testserver")


@dataclass(frozen=True)
class Layout:
    """Where a Django project has its parts, in the source. root: of manage.py, "" for the top. module: of settings."""

    root: str
    module: str
    by_manage: str
    settings: Settings

    def get(self, name: str, default: Any = None) -> Any:
        return self.settings.values.get(name, default)

    def path(self, name: str, start: str = "") -> str:
        """A directory that a setting names, in the source; "" where it is not there, or not known.

        start: where a relative path begins; the app itself runs at the top.
        """
        found = self.get(name, "")
        if not isinstance(found, (str, PurePosixPath)) or not str(found):
            return ""
        return inside(posixpath.join(TOP, start, str(found)))

    @property
    def static_root(self) -> str:
        return self.path("STATIC_ROOT", self.root)

    @property
    def manage(self) -> str:
        return "python manage.py" if not self.root else f"cd {shlex.quote(self.root)} && python manage.py"


def inside(path: str) -> str:
    """A path below TOP, from there on; "" for one that is not below it."""
    path = posixpath.normpath(path)
    return path.removeprefix(f"{TOP}/") if path.startswith(f"{TOP}/") else ""


class Django(Framework):
    title = "Django"
    migrates = "migrate"

    def recognises(self, app: App, reading: Reading) -> bool:
        return bool(manage_of(reading))

    def completed(self, app: App, reading: Reading) -> App:
        layout = layout_of(app, reading)
        app = replace(app, **self._static(app, layout))
        app = replace(app, **self._data(app, layout))
        # manage.py has other settings in mind, or the app is not at the top: the same for all that runs.
        needed = {"DJANGO_SETTINGS_MODULE": layout.module} if layout.module != layout.by_manage else {}
        served = app.target.partition(":")[0].replace(".", "/")
        if layout.root and not any(path in reading.names for path in below("", served)):
            needed["PYTHONPATH"] = layout.root
        return replace(app, env=tuple(sorted({**needed, **dict(app.env)}.items())))

    def _static(self, app: App, layout: Layout) -> dict[str, Any]:
        root, url = layout.static_root, url_of(layout, "STATIC_URL")
        if not root or not SERVED_PATH.fullmatch(root):
            return {}
        found: dict[str, Any] = {"build_command": app.build_command or f"{layout.manage} {COLLECT}"}
        if url and url not in dict(app.static):
            found["static"] = (*app.static, (url, root))
        return found

    def _data(self, app: App, layout: Layout) -> dict[str, Any]:
        """Uploads, and a SQLite database in the source."""
        if app.writable:
            return {}
        media, url = layout.path("MEDIA_ROOT"), url_of(layout, "MEDIA_URL")
        media = media if SERVED_PATH.fullmatch(media) and media != layout.static_root else ""
        data = [path for path in (media, *databases(layout)) if path]
        found: dict[str, Any] = {"writable": tuple(each for each in data if not below_another(each, data))}
        if media and url and url not in dict(app.static):
            found["static"] = (*app.static, (url, media))
        return found

    def suggested(self, app: App, reading: Reading) -> dict[str, Any]:
        layout = layout_of(app, reading)
        found: dict[str, Any] = {"release_command": f"{layout.manage} migrate --noinput"}
        inside_root = layout.root.replace("/", ".") + "."
        if layout.root and app.served.startswith(inside_root):
            found["asgi" if app.asgi else "wsgi"] = app.served.removeprefix(inside_root)
        variables = variables_of(app, reading)
        return found | ({"env": variables} if variables else {})

    def findings(self, app: App, reading: Reading) -> list[Finding]:
        layout = layout_of(app, reading)
        return [*decided(app, layout), *of_static(app, layout), *of_hosts(app, layout), *of_migrations(app, layout)]

    def advice(self, app: App, reading: Reading) -> tuple[str, ...]:
        return f"{layout_of(app, reading).manage} check --deploy", ADVICE

    def products(self, app: App, reading: Reading) -> tuple[str, ...]:
        layout = layout_of(app, reading)
        own = app.build_command == f"{layout.manage} {COLLECT}" and layout.static_root
        return (layout.static_root,) if own else ()

    def migrations(self, added: list[str]) -> list[str]:
        return [".".join(found.groups()) for path in sorted(added) if (found := MIGRATION.search(path))]


def manage_of(reading: Reading) -> str:
    """The path of manage.py; "" where the source has none."""
    found = [name for name in reading.names if posixpath.basename(name) == "manage.py" and name.count("/") < 3]
    ours = [name for name in found if "DJANGO_SETTINGS_MODULE" in reading.text(name)]
    return min(ours, key=lambda name: (name.count("/"), name), default="")


def layout_of(app: App, reading: Reading) -> Layout:
    manage = manage_of(reading)
    root = posixpath.dirname(manage)
    by_manage = named_in(reading.text(manage))
    served = app.target.partition(":")[0].replace(".", "/")
    by_server = next((found for path in below(root, served) if (found := named_in(reading.text(path)))), "")
    module = dict(app.env).get("DJANGO_SETTINGS_MODULE", "") or by_server or by_manage
    return Layout(root, module, by_manage, settings_of(module, root, app, reading))


def settings_of(module: str, root: str, app: App, reading: Reading) -> Settings:
    kit_s = {"SECRET_KEY": SECRET, "DATA_DIR": f"/var/lib/{app.name}", "DOMAIN": "$DOMAIN"}
    found = Settings({**kit_s, **dict(app.env)}, reading.text)
    for path in below(root, module.replace(".", "/")):
        if path in reading.names:
            found.read(path)
    return found


def below(root: str, module: str) -> list[str]:
    """Where a module may be."""
    return [posixpath.join(root, f"{module}.py"), posixpath.join(root, module, "__init__.py")]


def named_in(text: str) -> str:
    found = MODULE.search(text)
    return found[1] if found else ""


def url_of(layout: Layout, name: str) -> str:
    """The prefix by which the proxy serves a setting's URL: "/static/"; "" for another server's."""
    url = layout.get(name, "")
    if not isinstance(url, str) or "//" in url or not re.fullmatch(r"/?([\w.-]+/)+", url):
        return ""
    return f"/{url.lstrip('/')}"


def databases(layout: Layout) -> list[str]:
    """SQLite databases in the source."""
    known = layout.get("DATABASES", {})
    found = []
    for database in known.values() if isinstance(known, dict) else ():
        if isinstance(database, dict) and str(database.get("ENGINE", "")).endswith(("sqlite3", "spatialite")):
            name = database.get("NAME", "")
            if isinstance(name, (str, PurePosixPath)) and str(name) not in ("", ":memory:"):
                found.append(inside(posixpath.join(TOP, str(name))))
    return list(dict.fromkeys(found))


def below_another(path: str, paths: list[str]) -> bool:
    return any(path.startswith(f"{other}/") for other in paths)


def decided(app: App, layout: Layout) -> list[Finding]:
    """What `completed` has added, and where it comes from."""
    told = []
    if app.build_command == f"{layout.manage} {COLLECT}":
        url = url_of(layout, "STATIC_URL") or "STATIC_ROOT"
        told.append(f"Django: collectstatic runs as the build command; {url} is served from STATIC_ROOT")
    if app.writable:
        told.append(f"Django: data in /var/lib/{app.name}: {', '.join(app.writable)}")
    return [Finding("note", what) for what in told]


def of_static(app: App, layout: Layout) -> list[Finding]:
    apps, root = layout.get("INSTALLED_APPS"), layout.get("STATIC_ROOT")
    if (isinstance(apps, list) and "django.contrib.staticfiles" not in apps) or "collectstatic" in app.build_command:
        return []
    build = f'build_command = "{layout.manage} {COLLECT}"'
    set_root = 'set it in the settings, as BASE_DIR / "staticfiles"'
    if WITH_MANIFEST.search(f"{layout.get('STORAGES', '')}{layout.get('STATICFILES_STORAGE', '')}"):
        what = "Django: every page with a static file answers 500, as collectstatic makes the list of these files"
        return [Finding("error", what, f"{build}, and STATIC_ROOT in the settings")]
    if root is None:
        return [Finding("warning", "Django: STATIC_ROOT is not set, so no static files are served", set_root)]
    if not layout.static_root:
        return [Finding("warning", "Django: STATIC_ROOT is not a directory of the project", set_root)]
    return []


def of_hosts(app: App, layout: Layout) -> list[Finding]:
    told = []
    if layout.get("DEBUG") is True:
        how = variable_for(layout, "DEBUG", "False") or "DEBUG = False in the settings"
        what = "Django: DEBUG is on, which shows visitors the code and settings of a page that fails"
        told.append(Finding("warning", what, how))
    hosts = layout.get("ALLOWED_HOSTS", [])
    if isinstance(hosts, list) and not {"*", "$DOMAIN"} & set(map(str, hosts)):
        other = [str(host) for host in hosts if host not in OWN_NAMES and host is not UNKNOWN]
        if not other and UNKNOWN not in hosts:
            how = variable_for(layout, "ALLOWED_HOSTS", "$DOMAIN") or "add your domain to it in the settings"
            what = "Django: ALLOWED_HOSTS does not have your domain, so every page answers 400"
            told.append(Finding("error", what, how))
    for name in dict.fromkeys(layout.settings.missing):
        if name not in dict(app.env):
            how = f"set it in [app.env], or on the server: fab env.set {name}"
            told.append(Finding("warning", f"Django: the settings need the variable {name}", how))
    return told


def of_migrations(app: App, layout: Layout) -> list[Finding]:
    if "migrate" in app.release_command or "migrate" in app.build_command:
        return []
    command = f'release_command = "{layout.manage} migrate --noinput"'
    return [Finding("note", "Django: no deploy runs migrations", command)]


def variables_of(app: App, reading: Reading) -> dict[str, str]:
    """The variables that the settings read, with the values that a server needs."""
    chosen: dict[str, str] = {}
    for setting, values in SERVER_S.items():
        layout = layout_of(app, reading)
        names = [name for name in layout.settings.asked.get(setting, []) if name not in (*chosen, *KIT_S)]
        if not names or is_well(setting, layout):
            continue
        for value in values:
            there = replace(app, env=(*app.env, (names[0], value)))
            if is_well(setting, layout_of(there, reading)):
                chosen[names[0]] = value
                app = there
                break
    return chosen


def is_well(setting: str, layout: Layout) -> bool:
    """Whether a setting is as a server needs it."""
    value = layout.get(setting)
    if setting == "DEBUG":
        return value is False
    if setting == "SECRET_KEY":
        return bool(value == SECRET)
    return isinstance(value, list) and any("$DOMAIN" in str(each) or each == "*" for each in value)


def variable_for(layout: Layout, setting: str, value: str) -> str:
    """The line of [app.env] that gives a setting its value, if a variable decides it."""
    names = layout.settings.asked.get(setting, [])
    return f'{names[0]} = "{value}" in [app.env]' if names else ""


FRAMEWORK = Django()
