"""(config, source, facts) → Plan. Pure: no effects, no clock, no network."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..agent import layout
from ..agent.resources.config_files import Config
from ..agent.resources.files import Absent, Directory, File, Link
from ..agent.resources.host.logs import LogDirectory
from ..agent.resources.host.machine import DnsElsewhere, HostNames, Platform, Port, SecretKey
from ..agent.resources.host.packages import Packages, SinceVersion, Uv
from ..agent.resources.host.swap import Swap
from ..agent.resources.host.users import Member, User
from ..agent.resources.serving.default_server import DefaultServer
from ..agent.resources.serving.nginx import WorkerConnections
from ..agent.resources.serving.services import Service
from ..agent.wire import Plan, Resource
from ..config.reader import App, Stage
from ..config.site import Site, effective
from ..errors import ConfigError, HostError
from ..stack import hardening
from ..stack.render import render

SYSTEMS = ("debian", "ubuntu")
PACKAGES = (
    "nginx", "python3", "python3-pip-whl", "logrotate", "ca-certificates", "iproute2", "tzdata", *hardening.PACKAGES,
)  # fmt: skip
NGINX = "/etc/nginx"
NGINX_READS = tuple(
    f"{NGINX}/{name}" for name in ("nginx.conf", "conf.d", "sites-enabled", "sites-available", "ashore")
)
STRANGERS = (  # who answers for names that nobody has; Debian's own is taken away
    *(f"{NGINX}/sites-available/ashore-{name}.conf" for name in ("strangers", "strangers-tls", "http3")),
    *(f"{NGINX}/{directory}/default" for directory in ("sites-available", "sites-enabled")),
)
REJECTS_SINCE = "1.19.4"  # of Nginx, which can refuse a TLS handshake since then
WORKER_CONNECTIONS = 16384  # Debian's 768 are what one visitor's machine can hold; these take 7 MB of each worker
NGINX_DIRECTORIES = ("body", "fastcgi", "proxy", "scgi", "uwsgi")  # Debian's: for what does not fit into memory
UV = f"{layout.uv()}/bin/uv"
UV_WHEELS = Path(__file__).parent / "uv-wheels.lock"  # made by `make lock`


@dataclass(frozen=True)
class Facts:
    """What a server told of itself and of one app on it.

    records: release ID → its release.json and its `state`. current, previous: release IDs, "" where there is none.
    nginx: its package's version. provisioned: layout.PROVISION, as it was then; "" before the first provision.
    ci: the version of the kit that makes plans for CI keys of the app; "" where there are none.
    data: why the app cannot write its data at the moment, in words; "" where it can.
    """

    hostname: str
    system: str
    python: str
    cpus: int
    nginx: str
    records: dict[str, dict[str, Any]]
    current: str
    previous: str
    maintenance: bool
    provisioned: str
    uv: tuple[str, ...]
    ci: str = ""
    data: str = ""

    @classmethod
    def of(cls, reply: dict[str, Any]) -> "Facts":
        known = [field.name for field in fields(cls) if field.name in reply]  # another kit's side may tell less
        values: dict[str, Any] = {name: reply[name] for name in known}
        return cls(**values | {"uv": tuple(values["uv"])})

    @property
    def good(self) -> list[str]:
        """IDs of releases that have served to the end of their watch, oldest first."""
        return sorted(name for name, record in self.records.items() if record["state"] == "good")

    @property
    def record(self) -> dict[str, Any]:
        """The current release's."""
        return self.records.get(self.current, {})


@dataclass(frozen=True)
class Release:
    """What is to serve. site: how visitors reach it. record: its release.json."""

    id: str
    site: Site
    record: dict[str, Any]


def provision(app: App, stage: Stage, force: bool = False) -> Plan:
    """A bare server becomes one that can host the app."""

    def file(path: str, template: str, **values: Any) -> File:
        return File(path, render(template, **values), force=force)

    def site(version: str, what: str, name: str, template: str) -> SinceVersion:
        """One that all apps share, where Nginx is recent enough for it."""
        path, link = f"{NGINX}/sites-available/{name}", f"{NGINX}/sites-enabled/{name}"
        parts = (file(path, template), Link(link, f"../sites-available/{name}"))
        return SinceVersion("nginx", version, Config(what, parts, ("nginx", "-t", "-q")))

    name = app.name
    acme = effective(stage) == "acme"
    parts = [part for part, there in (("acme", acme), ("link-local", app.allow_link_local)) if there]
    steps: tuple[Resource, ...] = (
        Platform(SYSTEMS),
        Port(80, "nginx"),
        Port(443, "nginx"),
        DefaultServer(("*:80", "[::]:80"), STRANGERS),
        SinceVersion("nginx", REJECTS_SINCE, DefaultServer(("*:443", "[::]:443"), STRANGERS)),
        HostNames(),
        *hardening.keys_only(force),
        # Before the package: it starts Nginx, which is to be in its box from the first, and there may not make these.
        *(Directory(f"/var/lib/nginx/{kind}", 0o700, "www-data") for kind in NGINX_DIRECTORIES),
        Directory("/etc/systemd/system/nginx.service.d"),
        Config(
            "Nginx is confined, and comes back by itself",
            (file("/etc/systemd/system/nginx.service.d/50-ashore.conf", "systemd/nginx.conf.j2"),),
            ("systemctl", "daemon-reload"),
        ),
        Packages((*PACKAGES, "certbot") if acme else PACKAGES),
        Link("/etc/localtime", "/usr/share/zoneinfo/Etc/UTC"),
        File("/etc/timezone", "Etc/UTC\n"),
        app_user(name),
        Member("www-data", name),
        *hardening.network(app, stage, force),
        Directory(layout.home(name), 0o750, "root", name),
        Directory(f"{layout.home(name)}/releases", 0o750, "root", name),
        Directory(f"{layout.home(name)}/venvs", 0o755, "root", "root"),
        SecretKey(layout.secrets(name)),
        Directory("/var/lib/ashore", 0o700),
        Uv(layout.UV_VERSION, layout.uv(), UV_WHEELS.read_text("ascii")),
        Directory("/etc/systemd/journald.conf.d"),
        file("/etc/systemd/journald.conf.d/50-ashore.conf", "systemd/journald.conf.j2"),
        file(layout.journal(name), "systemd/journald@app.conf.j2", app=app),
        Directory(layout.journal_socket(name).rpartition("/")[0]),
        Config(
            "the app's journal takes lines of the app only",
            (file(layout.journal_socket(name), "systemd/journal-socket.conf.j2", app=app),),
            ("systemctl", "daemon-reload"),
        ),
        Service("systemd-journald.service", watches=("/etc/systemd/journald.conf.d",), refresh="restart"),
        LogDirectory(layout.nginx_logs(name)),
        file("/etc/logrotate.d/ashore", "nginx/logrotate.j2"),
        Directory(layout.WEBROOT),
        file(layout.CERTIFICATE_HOOK, "certbot/hook.sh.j2"),
        file(layout.DRAIN_SCRIPT, "nginx/drain.sh.j2"),
        file(layout.ROOM_SCRIPT, "systemd/room.sh.j2"),
        Directory(f"{NGINX}/ashore"),
        Config(
            "Nginx serves known sites and gives strangers nothing",
            (
                file(f"{NGINX}/conf.d/ashore.conf", "nginx/http.conf.j2"),
                file(f"{NGINX}/ashore/server.conf", "nginx/server.conf.j2"),
                file(f"{NGINX}/ashore/drain.conf", "nginx/drain.conf.j2"),
                file(f"{NGINX}/ashore/proxy.conf", "nginx/proxy.conf.j2"),
                file(f"{NGINX}/ashore/headers.conf", "nginx/headers.conf.j2"),
                file(f"{NGINX}/ashore/unavailable.html", "nginx/unavailable.html.j2"),
                file(f"{NGINX}/ashore/maintenance.html", "nginx/maintenance.html.j2"),
                file(f"{NGINX}/sites-available/ashore-strangers.conf", "nginx/strangers.conf.j2"),
                Link(f"{NGINX}/sites-enabled/ashore-strangers.conf", "../sites-available/ashore-strangers.conf"),
                file(f"{NGINX}/sites-available/ashore-strangers-tls.conf", "nginx/strangers-tls.conf.j2"),
                Link(
                    f"{NGINX}/sites-enabled/ashore-strangers-tls.conf", "../sites-available/ashore-strangers-tls.conf"
                ),
                Absent(f"{NGINX}/sites-enabled/default"),
            ),
            ("nginx", "-t", "-q"),
        ),
        WorkerConnections(WORKER_CONNECTIONS),
        site(
            REJECTS_SINCE, "strangers get no TLS handshake", "ashore-strangers-tls.conf", "nginx/strangers-tls.conf.j2"
        ),
        site(layout.HTTP3_SINCE, "HTTP/3, where Nginx has it", "ashore-http3.conf", "nginx/http3.conf.j2"),
        Service("nginx.service", enabled=True, watches=NGINX_READS),
        Service("logrotate.timer", enabled=True),
        *((Service("certbot.timer", enabled=True),) if acme else ()),
        *link_local(app, force),
        *hardening.bounded(app, force),
        Swap(),
        *hardening.updates(force),
        File(layout.provisioned(name), " ".join((layout.PROVISION, *parts)) + "\n"),
    )
    return Plan("provision", steps)


def link_local(app: App, force: bool) -> tuple[Resource, ...]:
    """No release of the app reaches link-local addresses, unless it may, or the server has its DNS there."""
    path = layout.link_local(app.name)
    reread = ("systemctl", "daemon-reload")
    file = File(path, render("systemd/link-local.conf.j2", app=app), force=force)
    allowed = Config("the app may connect to link-local addresses", (Absent(path),), reread)
    denied = Config("the app connects to no link-local address", (file,), reread)
    return (Directory(path.rpartition("/")[0]), allowed if app.allow_link_local else DnsElsewhere(denied, allowed))


def app_user(name: str) -> User:
    proofs = (layout.provisioned(name), f"{layout.home(name)}/releases")
    directories = (layout.home(name), layout.data(name), f"/run/{name}", layout.nginx_logs(name))
    return User(name, layout.data(name), proofs=proofs, directories=directories)


def require_provisioned(app: App, site: Site, facts: Facts, where: str) -> None:
    version, *parts = facts.provisioned.split() or [""]
    current = version == layout.PROVISION and layout.UV_VERSION in facts.uv
    lacking = {"acme": site.tls == "acme", "link-local": app.allow_link_local}
    missing = [part for part, wanted in lacking.items() if wanted and part not in parts]
    if not current or missing:
        what = "is not provisioned yet" if not version else "was provisioned by another version of the kit"
        if current:
            without = {"acme": "what gets certificates", "link-local": "allow_link_local"}
            what = f"was provisioned without {without[missing[0]]}, and so not"
        raise HostError(
            f"the server {what} for {app.name}", where, "nothing was changed", "fab provision, then deploy again"
        )


def addresses(written: list[str]) -> tuple[str, ...]:
    """IP addresses as Nginx writes them, each once; ConfigError for what is none."""
    import ipaddress

    found = []
    for text in filter(None, written):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            hint = "an IPv4 or IPv6 address, as in the access log (`fab logs --nginx`)"
            raise ConfigError(f"{text!r} is not an IP address", "--allow", "nothing was changed", hint) from None
        mapped = getattr(address, "ipv4_mapped", None)
        found.append(str(mapped or address))
    return tuple(dict.fromkeys(found))


def maintenance(app: App, allow: tuple[str, ...], on: bool) -> Plan:
    """Close the site to visitors, or open it again. allow: addresses that still get through."""
    directory = layout.maintenance(app.name)
    if not on:
        # First the file that closes the site: without `let`, those who get through would be visitors like others.
        return Plan("maintenance off", (Absent(f"{directory}/on"), Absent(directory)))
    let = tuple(File(f"{directory}/let/{address}", "") for address in allow)
    return Plan(
        "maintenance on",
        (
            Directory(directory, 0o750, "root", app.name),
            Directory(f"{directory}/let", 0o750, "root", app.name),
            *let,
            File(f"{directory}/on", ""),
        ),
    )
