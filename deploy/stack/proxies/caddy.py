"""Caddy, as Debian and Ubuntu have it: version 2.6.

Certificates come from where they come from with every proxy, see tls/: so Caddy issues none, and a site with a name
that does not lead here yet is up, and stays so if no certificate is issued.
"""

import re

from ...agent import layout
from ...agent.constants import OWN_LINES
from ...agent.resources.config_files import ConfigFiles, Including, SiteFiles
from ...agent.resources.files import Absent, Directory, File, Link, seal
from ...agent.resources.host.machine import Port
from ...agent.resources.host.packages import SinceVersion
from ...agent.resources.removal.ours import NotNeeded
from ...agent.resources.removal.trees_gone import Gone, UneditedGone
from ...agent.resources.serving.caddy import HOME as CADDY
from ...agent.resources.serving.caddy import SITES, OwnCaddyfile, Regrouped, SiteNames
from ...agent.resources.serving.front import Front
from ...agent.resources.serving.rivals import Rival
from ...agent.resources.serving.services import Service, UnitFile
from ...agent.wire import Resource, Secret
from ...config.paths import OVERRIDES
from ...config.reader import App
from ...config.site import Site
from ...errors import NOTHING, ConfigError
from ..data import served_data
from ..networks import pattern_of
from ..render import file, render
from .base import Proxy, open_path

HOME = f"{CADDY}/ashore"
OPTIONS = f"{HOME}/options"
MOUNTED = f"{HOME}/mounted"  # apps below a path of another one's domain
OWN = f"{HOME}/own"  # the projects' own lines
LOGINS = f"{HOME}/logins"  # users and hashed passwords
SHOWN = "/run/ashore-caddy"  # certificates of apps, where Caddy can read them
DATA = "/run/ashore-data"  # data of apps, mounted without following links
DROP_IN = "/etc/systemd/system/caddy.service.d"
SCRIPT = f"{layout.KIT}/caddy.sh"
TEST = ("sh", SCRIPT, "test")
ORIGIN = f"{OVERRIDES}/{OWN_LINES['caddy']}"
WRONG = (
    r"FILE:(?P<line>\d+) - (?:Error during parsing: )?(?P<what>.*)"
    r"|unrecognized directive: (?P<word>\S+)"  # it names the site's file then
)
OWN_HEAD = f"# Written by Ashore from {ORIGIN} of the project: edit that, not this."
LOGIN = re.compile(r"([\w.@+-]+):(\$2[aby]\$[!-~]+)")
WRITTEN = "# Written by Ashore from templates/caddy/site.caddy.j2"


class Caddy(Proxy):
    name = "caddy"
    packages = (name, "media-types")  # it has few types of files itself
    rival = Rival(name, "Caddy", (f"{SITES}/*.caddy",), ())
    site_template = "caddy/site.caddy.j2"
    user = "caddy"
    paths = (CADDY, "/var/lib/caddy", "/var/log/caddy")
    front = Front("Caddy", "caddy.service", "", TEST, ("systemctl", "reload", "caddy"))
    # Time, status and seconds of a line of JSON; values of a visitor have \" for " in them.
    access_line = (
        r'^\{"level":"\w+","ts":"(\d{4}-\d\d-\d\dT[\d:.]+[+-]\d\d:\d\d)"'
        r'(?=.*"status":([1-5]\d\d)[,}]).*"duration":([\d.e+-]+)[,}]'
    )
    log_files = ("access.log",)
    names_placeholder = True

    def access_log(self, app: str, site: Site) -> str:
        """Of an app below a path, its lines are in the log of the domain's app."""
        return super().access_log(site.guest_of or app, site)

    def line_of(self, site: Site) -> str:
        below = f'(?=.*?"uri":"{re.escape(site.path)})' if site.path else ""
        return self.access_line.replace(r"(?=", below + r"(?=", 1)

    def free(self, app: App) -> tuple[Resource, ...]:
        ports = (Port(number, self.name, app.name, self.rivals) for number in (80, 443))
        return (*ports, OwnCaddyfile(f"{DROP_IN}/50-ashore.conf"))

    def confined(self, force: bool) -> tuple[Resource, ...]:
        drop_in = file(f"{DROP_IN}/50-ashore.conf", "systemd/caddy.conf.j2", force)
        return (
            Directory("/var/log/caddy"),  # root's, or Caddy could exchange the directories below
            Directory(DROP_IN),
            ConfigFiles("caddy.service: sandboxed, restarts automatically", (drop_in,), ("systemctl", "daemon-reload")),
        )

    def scripts(self, force: bool) -> tuple[Resource, ...]:
        """The script that does for Caddy what needs root."""
        return (file(SCRIPT, "caddy/caddy.sh.j2", force),)

    def rotated(self, force: bool) -> tuple[Resource, ...]:
        return (file("/etc/logrotate.d/ashore", "caddy/logrotate.j2", force),)

    def serving(self, app: App, force: bool) -> tuple[Resource, ...]:
        shared = (
            file(f"{HOME}/Caddyfile", "caddy/Caddyfile.j2", force),
            file(f"{HOME}/shared.caddy", "caddy/shared.caddy.j2", force, webroot=layout.WEBROOT),
            file(f"{HOME}/pages/unavailable.html", "caddy/unavailable.html.j2", force),
            file(f"{HOME}/pages/maintenance.html", "caddy/maintenance.html.j2", force),
        )
        return (
            *(Directory(path) for path in (HOME, SITES, MOUNTED, OPTIONS, OWN, LOGINS, f"{HOME}/pages")),
            ConfigFiles("Caddy shared config: no response to unknown hosts", shared, TEST, self.name),
            Regrouped(app.name, ("sh", SCRIPT, "regroup")),
            self.service(app.name, enabled=True, yields=True),
        )

    def since_http3(self, step: File) -> Resource:
        """Its HTTP/3 is off."""
        return Absent(step.path)

    def names(self, app: App, site: Site) -> tuple[Resource, ...]:
        own = f"{SITES}/{app.name}.caddy"
        if site.guest_of:
            line = f"import {_mount(site.names[0], '*')}"
            return (Including(f"{SITES}/{site.guest_of}.caddy", line, site.guest_of, site.names[0]),)
        if not site.own_port:
            return (SiteNames(tuple(dict.fromkeys((*site.names, *site.aliases))), own),)
        return (Port(site.own_port, self.name), SiteNames((*site.names, ""), own, port=site.own_port))

    def data(self, app: App, force: bool) -> tuple[Resource, ...]:
        """The unit by which Caddy sees the app's data, see caddy.sh."""
        if not served_data(app):
            return ()
        unit, where = shown_unit(app.name), f"{DATA}/{app.name}"
        path = f"/etc/systemd/system/{unit}"
        text = file(path, "systemd/shown.service.j2", force, app=app, script=SCRIPT, where=where)
        return (UnitFile(unit, text), Service(unit, enabled=True))

    def site(
        self,
        app: App,
        site: Site,
        static_before: dict[str, str],
        version: str,
        force: bool = False,
        mounted_before: str = "",
    ) -> ConfigFiles:
        own, option = f"{SITES}/{app.name}.caddy", f"{OPTIONS}/{app.name}.caddy"
        parts: tuple[File | Link | Absent, ...] = (
            Absent(own) if site.guest_of else File(own, site_text(app, site, static_before), force=force),
            # A browser that is given an address names nobody in its handshake.
            file(option, "caddy/options.caddy.j2", force, site=site) if site.addresses else Absent(option),
        )
        if site.path:
            text = site_text(app, site, static_before, "caddy/mount.caddy.j2")
            parts += (File(_mount(site.names[0], app.name), text, force=force),)
        if site.logins.value:  # else those that are there stay, if the site is closed
            parts += (File(_logins(app.name), Secret(users(site.logins.value)), 0o640, "root", self.user),)
        elif not site.closed:
            parts += (Absent(_logins(app.name)),)
        lines = _own(app.name)
        parts += (File(lines, seal(f"{OWN_HEAD}\n{site.snippet}"), force=force),) if site.snippet else (Absent(lines),)
        if mounted_before and (not site.path or mounted_before != site.names[0]):
            parts += (Absent(_mount(mounted_before, app.name)),)
        title = f"Caddy site {site.host}{site.path}: configured"
        return SiteFiles(title, parts, TEST, self.name, own=lines, origin=ORIGIN, wrong=WRONG)

    def not_needed(self, app: str) -> Resource:
        paths = (f"{layout.home(app)}/", f"{layout.data(app)}/", f"{SHOWN}/{app}/", f"{DATA}/{app}/")
        own = (f"{SITES}/{app}.caddy", f"{OPTIONS}/{app}.caddy", _mount("*", app), _own(app))
        return NotNeeded(app, CADDY, paths, own, WRITTEN)

    def removed(self, app: str, mounted: str, force: bool) -> tuple[Resource, ...]:
        """Also what shows its data to Caddy, and Caddy's copy of its certificate."""
        files: tuple[UneditedGone, ...] = (
            UneditedGone(f"{SITES}/{app}.caddy", force),
            UneditedGone(f"{OPTIONS}/{app}.caddy", force),
            UneditedGone(_own(app), force),
        )
        if mounted:
            files += (UneditedGone(_mount(mounted, app), force),)
        unit = shown_unit(app)
        gone = ConfigFiles(
            f"{unit}: removed", (UneditedGone(f"/etc/systemd/system/{unit}", force),), ("systemctl", "daemon-reload")
        )
        return (
            ConfigFiles(f"Caddy site of {app}: removed", (*files, Absent(_logins(app))), TEST, self.name),
            SinceVersion(self.name, "0", self.service(app, yields=True)),
            Service(unit, active=False, enabled=False),
            gone,
            Gone("certificate for Caddy", (f"{SHOWN}/{app}",)),
        )

    def service(self, app: str, enabled: bool | None = None, yields: bool = False) -> Service:
        return Service(self.front.unit, enabled=enabled, watches=(HOME,), app=app, rivals=self.rivals, yields=yields)

    def described(self, site: Site, version: str) -> str:
        return f"Caddy, port {site.port}{' (HTTP/2)' if site.encrypted else ''}"


def shown_unit(app: str) -> str:
    return f"ashore-shown-{app}.service"


def _own(app: str) -> str:
    return f"{OWN}/{app}.caddy"


def _logins(app: str) -> str:
    return f"{LOGINS}/{app}"


def users(lines: str) -> str:
    """Users and hashed passwords as Caddy has them, of "user:hash" lines; it knows bcrypt only."""
    found = [LOGIN.fullmatch(line) for line in lines.splitlines()]
    if None in found:
        what = f"Caddy cannot read entry {found.index(None) + 1} of basic_auth: it knows passwords by bcrypt only"
        hint = "htpasswd -nB ada >>FILE (of apache2-utils); a user's name may have letters, digits and .@+-_"
        raise ConfigError(what, "basic_auth", NOTHING, hint)
    return "".join(f"{match[1]} {match[2]}\n" for match in found if match)


def _mount(domain: str, app: str) -> str:
    """The file of an app below a path of a domain; the domain's site imports it."""
    return f"{MOUNTED}/{domain}:{app}.caddy"


def site_text(app: App, site: Site, static_before: dict[str, str], template: str = Caddy.site_template) -> str:
    """It contains the prefixes of `static`; each release links its directories, so a change needs no reload.

    template: another part of the site than that for its own file.
    """
    data = served_data(app)
    prefixes = sorted({**dict(app.static), **static_before}.keys() - dict(data).keys())
    opened = open_path(app.health_path)
    return render(
        template,
        app=app,
        site=site,
        names=[bracketed(name) for name in site.names],
        at=f":{site.own_port}" if site.own_port else "",
        variable=app.name.replace("-", "_"),
        static=[(site.below(each), re.escape(site.below(each)), layout.static_name(each)) for each in prefixes],
        data=[(site.below(each), re.escape(site.below(each)), path) for each, path in sorted(data)],
        redirects=[moved(site, *pair) for pair in app.redirects],
        mounted=_mount(site.names[0], "*"),
        path_pattern=re.escape(site.path),
        data_directory=f"{DATA}/{app.name}",
        open_path=f"`^{re.escape(site.below(opened))}$`" if opened else "",
        logins=_logins(app.name),
        own=_own(app.name),
        certificates=layout.certificates(app.name),
        shown=f"{SHOWN}/{app.name}",
        trusted_pattern=pattern_of(site.trusted_proxies),
    )


def moved(site: Site, path: str, target: str) -> tuple[str, str, bool, str]:
    """Of a redirect: the path, and as a regular expression; whether it is just that path; the URL to go to."""
    here = "" if "://" in target else f"{{ashore_scheme}}://{{ashore_host}}{site.below('')}"
    at, exact = site.below(path), not path.endswith("/")
    return at, f"`^{re.escape(at)}{'$' if exact else ''}`", exact, f"{here}{target}"


def bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name


PROXY = Caddy()
