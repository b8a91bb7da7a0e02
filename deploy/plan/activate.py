"""Which release serves, as plans: a new one built, an older one reactivated, traffic switched, and the way back."""

import json

from ..agent import layout
from ..agent.resources.config_files import Config
from ..agent.resources.files import Absent, Directory, File, Link
from ..agent.resources.host.machine import Platform
from ..agent.resources.host.noticed import Noticed
from ..agent.resources.release.commands import ReleaseCommand
from ..agent.resources.release.environment import Environment
from ..agent.resources.release.releases import Pruned, Source, Virtualenv
from ..agent.resources.release.static import StaticLinks
from ..agent.resources.release.uploads import Discarded, Room, Uploaded
from ..agent.resources.serving.health import Healthy, Reachable, Warmed
from ..agent.resources.serving.probe import Probed
from ..agent.resources.serving.services import Retired, Service, UnitFile
from ..agent.resources.serving.sites import ServerNames
from ..agent.resources.serving.traffic import Watched
from ..agent.resources.serving.way_back import TrafficBack, WayBack
from ..agent.resources.tls.acme import Issued, NotRenewed, TrustedAuthority
from ..agent.resources.tls.certificates import OwnCertificate, Placeholder, Presented
from ..agent.wire import Plan, Resource, Secret
from ..config.reader import App
from ..config.site import Site, is_address
from ..errors import HostError
from .provision import NGINX_READS, SYSTEMS, UV, Facts, Release
from .record import as_recorded, settings, site_text, static_links, unit_text

DRAIN_SECONDS = 10


def rollback_target(facts: Facts, wanted: str, where: str) -> str:
    """The release to go back to: `wanted`, or the newest good one older than the current.

    Where none is current, since somebody has removed the link, the newest good one.
    """
    ready = {name: record for name, record in facts.records.items() if record["state"] in ("good", "rolled back")}
    older = [name for name in facts.good if name < facts.current or not facts.current]
    there = ", ".join(sorted(ready.keys() - {facts.current})) or "none"
    if wanted and wanted not in ready and wanted != facts.current:
        what = (
            f"there is no release {wanted} to go back to" if wanted not in facts.records else f"{wanted} never served"
        )
        raise HostError(what, where, "nothing was changed", f"there: {there} (`fab releases`)")
    if not wanted and not older:
        if not facts.records:
            raise HostError("there is no release to go back to", where, "nothing was changed", "fab deploy")
        what = "there is no good release before the current one" if facts.current else "there is no good release"
        raise HostError(what, where, "nothing was changed", f"others there: {there} (`fab rollback ID`)")
    return wanted or older[-1]


def build(app: App, release: Release, facts: Facts, upload: str) -> tuple[Resource, ...]:
    """A release from uploaded source, beside those that are there. upload: what is uploaded, in words."""
    name, home = app.name, layout.home(app.name)
    directory = layout.release(name, release.id)
    layers = {"kit": {**settings(app, facts.cpus), "DOMAIN": release.site.names[0]}, "app": dict(app.env)}
    base = facts.current or max(facts.good, default="")
    before = layout.release(name, base) if base else layout.first_environment(name)
    command = ReleaseCommand(name, release.id, app.release_command, app.release_seconds)
    return (
        Room(home, layout.venv(name, release.record["venv"])),
        Uploaded(home, upload),
        Source(home, release.id, name),
        virtualenv(app, release),
        Environment(directory, before, Secret(json.dumps(layers)), None, layout.secrets(name)),
        *parts(app, release),
        *((command,) if app.release_command else ()),
    )


def copy(app: App, release: Release, base: str, change: dict[str, str | None]) -> tuple[Resource, ...]:
    """A release with the code of the release `base`, and its environment but for what is changed in it."""
    directory = layout.release(app.name, release.id)
    before, set_to = layout.release(app.name, base), Secret(json.dumps(change))
    environment = Environment(directory, before, Secret(""), set_to, layout.secrets(app.name))
    source = Source(layout.home(app.name), release.id, app.name, base)
    return (source, virtualenv(app, release), environment, *parts(app, release))


def virtualenv(app: App, release: Release) -> Virtualenv:
    """The release's own, which is built anew if it has lost what it needs to run."""
    source = f"{layout.release(app.name, release.id)}/source"
    return Virtualenv(layout.venv(app.name, release.record["venv"]), source, app.requirements, UV, app.name)


def parts(app: App, release: Release) -> tuple[Resource, ...]:
    directory = layout.release(app.name, release.id)
    record = json.dumps(release.record, indent=1, ensure_ascii=False) + "\n"
    unit = layout.unit_file(app.name, release.id)
    was = f"{layout.current(app.name)}/unit"
    return (
        Link(f"{directory}/venv", f"../../venvs/{release.record['venv']}", "link to the virtualenv"),
        Link(f"{directory}/http.sock", layout.socket(app.name, release.id), "link to the socket"),
        File(f"{directory}/release.json", record, 0o640, "root", app.name),
        Link(f"{directory}/unit", unit, "link to the unit"),
        UnitFile(layout.unit(app.name, release.id), File(unit, unit_text(app), was=was)),
    )


def activate(
    verb: str,
    app: App,
    release: Release,
    facts: Facts,
    built: tuple[Resource, ...] = (),
    leave: dict[str, str] | None = None,
    force: bool = False,
    last: tuple[Resource, ...] = (),
) -> Plan:
    """Start a release beside the current one, switch traffic once it answers, watch it; on failure go back.

    built: the steps that make it, if it is new; they are undone, too. leave: release ID → the state that it gets, once
    all went well. last: what comes after all else.
    For the release that is current already, the same plan finds nothing to do, or fixes what broke.
    """
    name, home = app.name, layout.home(app.name)
    unit, unit_file = layout.unit(name, release.id), layout.unit_file(name, release.id)
    directory, current = layout.release(name, release.id), layout.current(name)
    old = facts.current if facts.current != release.id else ""
    before = old or facts.previous
    static_before = as_recorded(app, facts.records.get(before, {"app": {"static": ()}})).static
    files = tuple(
        StaticLinks(layout.release(name, made), name, static_links(static))
        for made, static in ((before, static_before), (release.id, app.static))
        if static
    )
    site = site_text(app, release.site, dict(static_before), facts.nginx)
    host, port = release.site.names[0], release.site.port
    socket = layout.socket(name, release.id)
    burst = 2 * (app.workers or facts.cpus)
    drain_seconds = max(DRAIN_SECONDS, app.timeout_seconds)
    steps: tuple[Resource, ...] = (
        Platform(SYSTEMS),
        names_of(app, release.site),
        *((unit_as_it_was(app, old, facts, force),) if old else ()),
        *built,
        *((virtualenv(app, release),) if not built and "venv" in release.record else ()),
        *(() if built else (unit_as_it_was(app, release.id, facts, force),)),
        Service(unit, active=True),
        Healthy(unit, socket, app.health_path, host, app.health_seconds),
        *((Warmed(unit, socket, app.warm_paths, host, burst, current),) if app.warm_paths else ()),
        Service(unit, active=True, enabled=True),  # before the switch: a power cut must find it starting at boot
        *((Link(layout.previous(name), f"releases/{old}", f"static files of {old} stay within reach"),) if old else ()),
        *files,
        *secured(app, release.site),
        Config(
            f"Nginx site {host}",
            (
                File(layout.site(name), site, force=force),
                Link(layout.site_link(name), f"../sites-available/{name}.conf"),
            ),
            ("nginx", "-t", "-q"),
        ),
        Service("nginx.service", enabled=True, watches=NGINX_READS),
        *((Presented(host, layout.certificates(name)),) if release.site.encrypted else ()),
        *(asked_about(app, old, facts, host, port) if old else ()),
        Link(current, f"releases/{release.id}", f"traffic goes to {release.id}"),
        Reachable(host, app.health_path, 10, port),
        *((watch(app, unit, layout.unit(name, old)),) if old and app.watch_seconds else ()),
        File(f"{directory}/state", "good\n"),
    )
    finish = (
        *(File(f"{layout.release(name, left)}/state", f"{state}\n") for left, state in (leave or {}).items()),
        Retired(name, release.id, drain_seconds),
        Pruned(name, home, app.keep_releases),
        *last,
        Noticed(name, layout.certificates(name) if release.site.encrypted else ""),
    )
    remove: tuple[Resource, ...] = ()
    if built:
        remove = (Absent(directory), Absent(unit_file), Discarded(home))
    if old:
        back: tuple[Resource, ...] = (
            TrafficBack(current, old, layout.unit(name, old)),
            Service("nginx.service", watches=NGINX_READS),
            Retired(name, old, drain_seconds),
            Link(layout.previous(name), f"releases/{facts.previous}")
            if facts.previous
            else Absent(layout.previous(name)),
        )
    else:
        back = (Absent(current), Service(unit, active=False, enabled=False))
    return Plan(verb, steps, (*back, *remove) if old or built else (), finish, restore=True, current=current)


def asked_about(app: App, old: str, facts: Facts, host: str, port: int) -> tuple[WayBack, Probed]:
    """The release before is asked by its own health check, and the site by the new one's, which may be another."""
    current = layout.current(app.name)
    path = as_recorded(app, facts.records.get(old, {})).health_path
    way_back = WayBack(current, old, layout.socket(app.name, old), path, host)
    return way_back, Probed(host, app.health_path, port, current, old if path != app.health_path else "")


def names_of(app: App, site: Site) -> ServerNames:
    """The names that the site needs for itself. Where visitors come by a bare address, Nginx tells sites by that."""
    names = tuple(dict.fromkeys((*site.names, *site.aliases)))
    alone = tuple(f"{address}:443" for address in site.addresses)
    return ServerNames(names, (80, 443) if site.encrypted else (80,), alone, layout.site(app.name))


def secured(app: App, site: Site) -> tuple[Resource, ...]:
    """A certificate is there before Nginx is to show one; which one browsers trust comes after the switch."""
    directory = layout.certificates(app.name)
    kept = () if site.tls == "acme" else (NotRenewed(app.name),)
    if not site.encrypted:
        return kept
    own = OwnCertificate(directory, app.name, site.certificate, site.key, layout.CERTIFICATE_HOOK, site.ended)
    return (
        *kept,
        Directory(directory, 0o750, "root", app.name),
        own if site.certificate else Placeholder(directory, app.name),
    )


def certified(app: App, site: Site, address: str, anew: bool = False) -> tuple[Resource, ...]:
    """A certificate that browsers trust, from the authority. address: the server's, as its operator reaches it."""
    if site.tls != "acme":
        return ()
    directory = layout.certificates(app.name)
    names = tuple(name for name in (*site.names, *site.aliases) if not is_address(name))
    trust = TrustedAuthority(f"ashore-acme-{app.name}", site.acme_ca)
    return (
        *((trust,) if site.acme_ca else ()),
        Issued(
            app.name,
            names,
            directory,
            layout.WEBROOT,
            layout.CERTIFICATE_HOOK,
            site.acme_directory,
            site.acme_email,
            address,
            anew,
        ),
        Presented(names[0], directory),
    )


def watch(app: App, unit: str, previous: str) -> Watched:
    log, current = f"{layout.nginx_logs(app.name)}/access.log", layout.current(app.name)
    return Watched(unit, previous, log, app.watch_seconds, current)


def unit_as_it_was(app: App, release_id: str, facts: Facts, force: bool) -> UnitFile:
    """The unit of a release that stands: as the kit wrote it then, or it is an edit by hand."""
    text = unit_text(as_recorded(app, facts.records.get(release_id, {})))
    file = File(layout.unit_file(app.name, release_id), text, force=force, keep=True)
    return UnitFile(layout.unit(app.name, release_id), file)
