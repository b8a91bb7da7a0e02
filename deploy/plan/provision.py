"""Prepare a bare server for the app: a plan in named phases. Pure: no effects, no clock, no network."""

from pathlib import Path

from ..agent import layout
from ..agent.dataclass import replace
from ..agent.resources.config_files import ConfigFiles
from ..agent.resources.files import Absent, Directory, File, Link
from ..agent.resources.host.build_packages import AppPackages
from ..agent.resources.host.logs import LogDirectory
from ..agent.resources.host.machine import DnsElsewhere, HostNames, KitVersion, Platform, Port, SecretKey
from ..agent.resources.host.packages import Packages, Uv
from ..agent.resources.host.swap import Swap
from ..agent.resources.host.users import Member, User
from ..agent.resources.host.versions import NAME, UPGRADE, is_newer, made_by
from ..agent.resources.serving.services import Service
from ..agent.wire import Plan, Resource
from ..config.reader import App, Stage
from ..config.site import Site, effective
from ..errors import NOTHING, HostError
from ..stack import hardening
from ..stack.proxies import proxy_of
from ..stack.proxies.base import Proxy
from ..stack.render import file, render
from ..version import VERSION
from .facts import SYSTEMS, Facts

PACKAGES = (
    "python3", "python3-pip-whl", "logrotate", "ca-certificates", "iproute2", "tzdata",
    *hardening.PACKAGES,
)  # fmt: skip
JOURNALD = "/etc/systemd/journald.conf.d"
RELOAD_UNITS = ("systemctl", "daemon-reload")
UV_WHEELS = Path(__file__).parent / "uv-wheels.lock"  # made by `make lock`
Steps = tuple[Resource, ...]


def provisioning(app: App, stage: Stage, force: bool = False) -> Plan:
    acme = effective(stage) == "acme"
    proxy = proxy_of(app)
    steps: Steps = (
        *looked_at(app, stage.port),
        *hardening.keys_only(force),
        *proxy.confined(force),
        *installed(app, acme),
        *known(app),
        *hardening.network(app, stage, force),
        *owned(app),
        *logged(app, force),
        *scripted(proxy, force),
        *proxy.serving(app, force),
        *timed(acme),
        *link_local(app, force),
        *hardening.bounded(app, force),
        Swap(),
        *hardening.updates(force),
        marked(app, acme, stage.port),
    )
    return Plan("provision", steps)


def looked_at(app: App, port: int = 0) -> Steps:
    """The server runs a supported system, and the ports of the proxy are available. port: the site's own, or 0."""
    proxy = proxy_of(app)
    own = (Port(port, proxy.name),) if port else ()
    return (Platform(SYSTEMS), *proxy.free(app), *own, HostNames())


def installed(app: App, acme: bool) -> Steps:
    return (
        Packages((*proxy_of(app).packages, *PACKAGES, *(("certbot",) if acme else ()))),
        *((AppPackages(app.apt),) if app.apt else ()),
        Link("/etc/localtime", "/usr/share/zoneinfo/Etc/UTC"),
        File("/etc/timezone", "Etc/UTC\n"),
    )


def known(app: App) -> Steps:
    """The app's user, whose files the proxy may read."""
    return (app_user(app), Member(proxy_of(app).user, app.name))


def owned(app: App) -> Steps:
    """The app's user and directories, its secret, and uv for its virtualenvs."""
    name, home = app.name, layout.home(app.name)
    return (
        Directory(home, 0o750, "root", name),
        Directory(f"{home}/releases", 0o750, "root", name),
        Directory(f"{home}/venvs", 0o755, "root", "root"),
        SecretKey(layout.secrets(name)),
        Directory("/var/lib/ashore", 0o700),
        Uv(layout.UV_VERSION, layout.uv(), UV_WHEELS.read_text("ascii")),
    )


def logged(app: App, force: bool) -> Steps:
    """The app has its own journal, and log files of the proxy; all are limited in size."""
    socket, proxy = layout.journal_socket(app.name), proxy_of(app)
    own = file(socket, "systemd/journal-socket.conf.j2", force, app=app)
    return (
        Directory(JOURNALD),
        file(f"{JOURNALD}/50-ashore.conf", "systemd/journald.conf.j2", force),
        file(layout.journal(app.name), "systemd/journald@app.conf.j2", force, app=app),
        Directory(socket.rpartition("/")[0]),
        ConfigFiles("journal of the app: log lines of the app only", (own,), RELOAD_UNITS),
        Service("systemd-journald.service", watches=(JOURNALD,), refresh="restart"),
        LogDirectory(proxy.logs(app.name), files=proxy.log_files, writer=proxy.user),
        *proxy.rotated(force),
    )


def scripted(proxy: Proxy, force: bool) -> Steps:
    """Scripts that the server runs: for a new certificate, before a reload, at the start of a release."""
    return (
        Directory(layout.WEBROOT),
        file(layout.CERTIFICATE_HOOK, "certbot/hook.sh.j2", force, proxy=proxy),
        *proxy.scripts(force),
        file(layout.ROOM_SCRIPT, "systemd/room.sh.j2", force),
        file(layout.PROCESS_SCRIPT, "systemd/process.sh.j2", force),
        file(layout.PORT_SCRIPT, "systemd/port.sh.j2", force),
    )


def timed(acme: bool) -> Steps:
    renewed = (Service("certbot.timer", enabled=True),) if acme else ()
    return (Service("logrotate.timer", enabled=True), *renewed)


def link_local(app: App, force: bool) -> Steps:
    """Block link-local addresses for the app, unless they are allowed, or the server's DNS is at one."""
    path = layout.link_local_file(app.name)
    text = File(path, render("systemd/link-local.conf.j2", app=app), force=force)
    allowed = ConfigFiles("link-local addresses: allowed for the app", (Absent(path),), RELOAD_UNITS)
    denied = ConfigFiles("link-local addresses: blocked for the app", (text,), RELOAD_UNITS)
    return (Directory(path.rpartition("/")[0]), allowed if app.allow_link_local else DnsElsewhere(denied, allowed))


def marked(app: App, acme: bool, port: int) -> File:
    """Record what the server was provisioned for, see `require_provisioned`."""
    wanted = (("acme", acme), ("link-local", app.allow_link_local), (f"port-{port}", port))
    parts = [part for part, there in wanted if there]
    return File(layout.provisioned(app.name), " ".join((layout.PROVISION, *parts, f"{NAME}{VERSION}")) + "\n")


def by_this_version(plan: Plan, force: bool) -> Plan:
    """The plan, refused where a newer version of the kit has provisioned the server. A look needs no such step."""
    return plan if force else replace(plan, steps=(KitVersion(VERSION, layout.provisioned("*")), *plan.steps))


def app_user(app: App) -> User:
    name = app.name
    proofs = (layout.provisioned(name), f"{layout.home(name)}/releases")
    directories = (layout.home(name), layout.data(name), f"/run/{name}", proxy_of(app).logs(name))
    return User(name, layout.data(name), proofs=proofs, directories=directories)


def require_provisioned(app: App, site: Site, facts: Facts, where: str) -> None:
    version, *parts = facts.provisioned.split() or [""]
    current = version == layout.PROVISION and layout.UV_VERSION in facts.uv
    port = f"port-{site.own_port}"
    lacking = {"acme": site.tls == "acme", "link-local": app.allow_link_local, port: bool(site.own_port)}
    missing = [part for part, wanted in lacking.items() if wanted and part not in parts]
    if not current or missing:
        what = "is not provisioned yet" if not version else "was provisioned by another version of Ashore"
        if is_newer(made_by(facts.provisioned), VERSION):
            other = made_by(facts.provisioned)
            hint = f"upgrade to Ashore {other} or later: {UPGRADE}"
            raise HostError(
                f"the server was provisioned by Ashore {other}, and this is {VERSION}", where, NOTHING, hint
            )
        if current:
            without = {"acme": "certbot", "link-local": "allow_link_local", port: f"port {site.own_port}"}
            what = f"was provisioned without {without[missing[0]]}, and is not ready"
        raise HostError(f"the server {what} for {app.name}", where, NOTHING, "fab provision, then deploy again")


def other_version(facts: Facts) -> str:
    """A note where the server was provisioned by another version of the kit than this one; "" where it was not."""
    other = made_by(facts.provisioned)
    if other in ("", VERSION):
        return ""
    newer = f"upgrade when you can: {UPGRADE}"
    what_to_do = newer if is_newer(other, VERSION) else "`fab provision --check` shows what is new"
    return f"the server was provisioned by Ashore {other}, and this is {VERSION}: {what_to_do}"
