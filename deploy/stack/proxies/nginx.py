"""Nginx, as Debian and Ubuntu have it."""

import re

from ...agent import layout
from ...agent.constants import OWN_LINES
from ...agent.resources.config_files import ConfigFiles, Including, SiteFiles
from ...agent.resources.files import Absent, Directory, File, Link, seal
from ...agent.resources.host.machine import Port
from ...agent.resources.host.packages import SinceVersion
from ...agent.resources.removal.ours import NotNeeded
from ...agent.resources.removal.trees_gone import UneditedGone
from ...agent.resources.serving.front import Front
from ...agent.resources.serving.nginx import WorkerConnections
from ...agent.resources.serving.nginx_default import DefaultServer
from ...agent.resources.serving.nginx_sites import ServerNames
from ...agent.resources.serving.rivals import Rival
from ...agent.resources.serving.services import Service
from ...agent.system import upstream
from ...agent.wire import Resource
from ...config.paths import OVERRIDES
from ...config.reader import App
from ...config.site import Site
from ..data import served_data
from ..render import file, render
from .base import Proxy, open_path

HOME = "/etc/nginx"
READS = tuple(f"{HOME}/{name}" for name in ("nginx.conf", "conf.d", "sites-enabled", "sites-available", "ashore"))
SITES = f"{HOME}/sites-available"
MOUNTED = f"{HOME}/ashore/mounted"  # apps below a path of another one's domain
STRANGERS = (  # the sites for unknown hosts; Debian's own is removed
    *(f"{SITES}/ashore-{name}.conf" for name in ("strangers", "strangers-tls", "http3")),
    *(f"{HOME}/{directory}/default" for directory in ("sites-available", "sites-enabled")),
)
SHARED = (*(f"ashore-{name}.conf" for name in ("strangers", "strangers-tls", "http3")), "ashore.conf", "default")
REJECTS_SINCE = "1.19.4"  # it can refuse a TLS handshake since then
KEEPS_FOR_SINCE = "1.19.10"  # keepalive_time
HTTP3_SINCE = "1.25.1"  # since then, HTTP/2 has its own directive
WORKER_CONNECTIONS = 16384  # Debian's 768 are what one visitor's machine can hold; these take 7 MB of each worker
DIRECTORIES = ("body", "fastcgi", "proxy", "scgi", "uwsgi")  # Debian's: for what does not fit into memory
DROP_IN = "/etc/systemd/system/nginx.service.d"
ORIGIN = f"{OVERRIDES}/{OWN_LINES['nginx']}"
WRONG = r"\[emerg\] (?:\d+#\d+: )?(?P<what>.*?) in FILE:(?P<line>\d+)"
OWN_HEAD = f"# Written by Ashore from {ORIGIN} of the project: edit that, not this."
TEST = ("nginx", "-t", "-q")
WRITTEN = (
    "# Written by Ashore from templates/nginx/site.conf.j2"  # how a site begins, whose file is named after its app
)


class Nginx(Proxy):
    name = "nginx"
    rival = Rival(name, "Nginx", (f"{HOME}/sites-enabled/*", f"{HOME}/conf.d/*"), SHARED)
    packages = (name,)
    site_template = "nginx/site.conf.j2"
    user = "www-data"
    paths = (HOME, "/var/lib/nginx", "/var/log/nginx")
    front = Front("Nginx", "nginx.service", "/var/log/nginx/error.log", TEST, ("systemctl", "reload", "nginx"))
    # templates/nginx/http.conf.j2: log_format
    access_line = r'^(\d{4}-\d\d-\d\dT\S{14}) \S+ "[^"]*" ([1-5]\d\d) \d+ ([\d.]+) s,'

    def free(self, app: App) -> tuple[Resource, ...]:
        return (
            Port(80, self.name, app.name, self.rivals),
            Port(443, self.name, app.name, self.rivals),
            DefaultServer(("*:80", "[::]:80"), STRANGERS),
            SinceVersion(self.name, REJECTS_SINCE, DefaultServer(("*:443", "[::]:443"), STRANGERS)),
        )

    def confined(self, force: bool) -> tuple[Resource, ...]:
        drop_in = file(f"{DROP_IN}/50-ashore.conf", "systemd/nginx.conf.j2", force)
        return (  # in its sandbox, it cannot create these
            *(Directory(f"/var/lib/nginx/{kind}", 0o700, self.user) for kind in DIRECTORIES),
            Directory(DROP_IN),
            ConfigFiles("nginx.service: sandboxed, restarts automatically", (drop_in,), ("systemctl", "daemon-reload")),
        )

    def scripts(self, force: bool) -> tuple[Resource, ...]:
        """The script that closes kept connections before a reload."""
        return (file(f"{layout.KIT}/drain.sh", "nginx/drain.sh.j2", force),)

    def rotated(self, force: bool) -> tuple[Resource, ...]:
        return (file("/etc/logrotate.d/ashore", "nginx/logrotate.j2", force),)

    def serving(self, app: App, force: bool) -> tuple[Resource, ...]:
        return (
            Directory(f"{HOME}/ashore"),
            Directory(MOUNTED),
            Directory(f"{HOME}/ashore/own"),
            self._common(force),
            WorkerConnections(WORKER_CONNECTIONS),
            _shared(REJECTS_SINCE, "Nginx: no TLS handshake for unknown hosts", "strangers-tls", force),
            _shared(HTTP3_SINCE, "Nginx: HTTP/3 if supported", "http3", force),
            self.service(app.name, enabled=True, yields=True),
        )

    def _common(self, force: bool) -> ConfigFiles:
        parts: tuple[File | Link | Absent, ...] = (
            file(f"{HOME}/conf.d/ashore.conf", "nginx/http.conf.j2", force),
            file(f"{HOME}/ashore/server.conf", "nginx/server.conf.j2", force),
            file(f"{HOME}/ashore/drain.conf", "nginx/drain.conf.j2", force),
            file(f"{HOME}/ashore/proxy.conf", "nginx/proxy.conf.j2", force),
            file(f"{HOME}/ashore/headers.conf", "nginx/headers.conf.j2", force),
            file(f"{HOME}/ashore/unavailable.html", "nginx/unavailable.html.j2", force),
            file(f"{HOME}/ashore/maintenance.html", "nginx/maintenance.html.j2", force),
            *_site_of("strangers", force),
            *_site_of("strangers-tls", force),
            Absent(f"{HOME}/sites-enabled/default"),
        )
        return ConfigFiles("Nginx shared config: no response to unknown hosts", parts, TEST)

    def since_http3(self, step: File) -> Resource:
        return SinceVersion(self.name, HTTP3_SINCE, step)

    def names(self, app: App, site: Site) -> tuple[Resource, ...]:
        """For a site with a bare address, Nginx selects the site by that address."""
        if site.guest_of:
            return (Including(f"{SITES}/{site.guest_of}.conf", _includes(site), site.guest_of, site.names[0]),)
        names, own = tuple(dict.fromkeys((*site.names, *site.aliases))), f"{SITES}/{app.name}.conf"
        alone = tuple(f"{address}:443" for address in site.addresses)
        if not site.own_port:
            return (ServerNames(names, (80, 443) if site.encrypted else (80,), alone, own),)
        ports = (site.own_port, 80) if site.tls == "acme" else (site.own_port,)
        alone = (f"*:{site.own_port}", f"[::]:{site.own_port}")
        return (Port(site.own_port, self.name), ServerNames(names, ports, alone, own))

    def site(
        self,
        app: App,
        site: Site,
        static_before: dict[str, str],
        version: str,
        force: bool = False,
        mounted_before: str = "",
    ) -> ConfigFiles:
        name = f"{app.name}.conf"
        text = site_text(app, site, static_before, version)
        parts: tuple[File | Link | Absent, ...] = (
            File(f"{SITES}/{name}", text, force=force),
            Link(f"{HOME}/sites-enabled/{name}", f"../sites-available/{name}"),
        )
        if site.path:
            mount = site_text(app, site, static_before, version, "nginx/mount.conf.j2")
            parts += (File(_mount(site.names[0], app.name), mount, force=force),)
        if site.logins.value:  # else those that are there stay, if the site is closed
            parts += (File(layout.logins(app.name), site.logins, 0o640, "root", app.name),)
        elif not site.closed:
            parts += (Absent(layout.logins(app.name)),)
        own = _own(app.name)
        lines = f"{OWN_HEAD}\n{site.snippet}" if site.snippet else ""
        parts += (File(own, seal(lines), force=force),) if lines else (Absent(own),)
        if mounted_before and (not site.path or mounted_before != site.names[0]):
            parts += (Absent(_mount(mounted_before, app.name)),)
        return SiteFiles(
            f"Nginx site {site.host}{site.path}: configured", parts, TEST, own=own, origin=ORIGIN, wrong=WRONG
        )

    def not_needed(self, app: str) -> Resource:
        paths = (f"{layout.home(app)}/", f"{layout.data(app)}/", f"/etc/letsencrypt/live/{app}/")
        return NotNeeded(app, HOME, paths, (f"{SITES}/{app}.conf", _mount("*", app), _own(app)), WRITTEN)

    def removed(self, app: str, mounted: str, force: bool) -> tuple[Resource, ...]:
        name = f"{app}.conf"
        parts: tuple[File | Link | Absent, ...] = (
            Absent(f"{HOME}/sites-enabled/{name}"),
            UneditedGone(f"{SITES}/{name}", force),
            UneditedGone(_own(app), force),
        )
        if mounted:
            parts += (UneditedGone(_mount(mounted, app), force),)
        return (
            ConfigFiles(f"Nginx site of {app}: removed", parts, TEST),
            SinceVersion(self.name, "0", self.service(app, yields=True)),
        )

    def service(self, app: str, enabled: bool | None = None, yields: bool = False) -> Service:
        return Service(self.front.unit, enabled=enabled, watches=READS, app=app, rivals=self.rivals, yields=yields)

    def described(self, site: Site, version: str) -> str:
        if not site.encrypted:
            return f"Nginx, port {site.port}"
        alone = site.addresses or site.own_port
        third = " and 3" if upstream(version) >= upstream(HTTP3_SINCE) and not alone else ""
        return f"Nginx, port {site.port} (HTTP/2{third})"


def _site_of(name: str, force: bool) -> tuple[File, Link]:
    """A site that all apps share, by its template."""
    written = f"ashore-{name}.conf"
    text = file(f"{SITES}/{written}", f"nginx/{name}.conf.j2", force)
    return text, Link(f"{HOME}/sites-enabled/{written}", f"../sites-available/{written}")


def _shared(version: str, what: str, name: str, force: bool) -> SinceVersion:
    """Such a site, if Nginx is recent enough for it."""
    return SinceVersion("nginx", version, ConfigFiles(what, _site_of(name, force), TEST))


def _mount(domain: str, app: str) -> str:
    """The file of an app below a path of a domain; the domain's site includes it."""
    return f"{MOUNTED}/{domain}:{app}.conf"


def _own(app: str) -> str:
    """The project's own lines for the site."""
    return f"{HOME}/ashore/own/{app}.conf"


def _includes(site: Site) -> str:
    """The line of a site that includes those files."""
    return f"include ashore/mounted/{site.names[0]}:*.conf;"


def site_text(app: App, site: Site, static_before: dict[str, str], version: str, template: str = "") -> str:
    """It contains the prefixes of `static`; each release links its directories, so a change needs no reload.

    template: another part of the site than that for its own file.
    """
    data = served_data(app)
    prefixes = sorted({**dict(app.static), **static_before}.keys() - dict(data).keys())
    static = [(site.below(prefix), re.escape(site.below(prefix)), layout.static_name(prefix)) for prefix in prefixes]
    opened = open_path(app.health_path)
    places = [(f"^~ {site.path}", False), (f"= {site.below(opened)}", False)][: 2 if opened else 1]
    variable = app.name.replace("-", "_")
    return render(
        template or ("nginx/mounted.conf.j2" if site.guest_of else Nginx.site_template),
        app=app,
        site=site,
        names=site.names,
        variable=variable,
        places=[*places, (f"@{variable}_stream", True), (f"@{variable}_let", False)],
        static=static,
        data=[(site.below(prefix), re.escape(site.below(prefix)), path) for prefix, path in sorted(data)],
        data_directory=layout.data(app.name),
        open_path=opened,
        open_place=f"= {site.below(opened)}" if opened else "",
        logins=layout.logins(app.name),
        redirects=[moved(site, *pair) for pair in app.redirects],
        seconds=1 if upstream(version) >= upstream(KEEPS_FOR_SINCE) else 0,
        http2_on=upstream(version) >= upstream(HTTP3_SINCE),
        certificates=layout.certificates(app.name),
        trusted=f"{layout.certificates(app.name)}/live/trusted",
        webroot=layout.WEBROOT,
    )


def moved(site: Site, path: str, target: str) -> tuple[str, str, str]:
    """Of a redirect: the path; as a regular expression, where it stands for all below it, else ""; the URL to go to."""
    here = "" if "://" in target else f"$ashore_scheme://$ashore_host{site.below('')}"
    pattern = re.escape(site.below(path)) if path.endswith("/") else ""
    return site.below(path), pattern, f"{here}{target}"


PROXY = Nginx()
