"""Switch to a release: start it next to the current one, switch traffic once it answers, watch it, or go back.

The phases of a plan, in order: begin, build, start, gate, switch, watch; then finish. A failure before the end of the
watch is undone.
"""

from ..agent import layout
from ..agent.dataclass import dataclass, replace
from ..agent.resources.files import Absent, Directory, File, Link
from ..agent.resources.host.build_packages import BuildPackagesRemoved
from ..agent.resources.host.machine import Platform
from ..agent.resources.host.noticed import Noticed
from ..agent.resources.processes.running import OnlyProcessesOf, Running, Together
from ..agent.resources.processes.timers import Schedules, TimersRunning
from ..agent.resources.release.packed import Packed
from ..agent.resources.release.releases import Pruned
from ..agent.resources.release.static import StaticLinks
from ..agent.resources.release.uploads import Discarded
from ..agent.resources.serving.health import Healthy, Reachable, Warmed
from ..agent.resources.serving.probe import Probed
from ..agent.resources.serving.retired import Retired
from ..agent.resources.serving.services import Service
from ..agent.resources.serving.traffic import Watched
from ..agent.resources.serving.way_back import TrafficBack, WayBack
from ..agent.resources.tls.certificates import Presented
from ..agent.wire import Plan, Resource
from ..config.reader import App
from ..config.site import Site
from ..stack.data import served_data
from ..stack.processes import timers, unit_texts, workers
from ..stack.proxies import proxy_of
from ..stack.proxies.base import Proxy
from ..stack.runners import runner_of
from .build import beside, data, unit_as_it_was, virtualenv, with_tools
from .certificates import secured
from .facts import SYSTEMS, Facts, Release
from .places import require_place
from .record import as_recorded, static_links

DRAIN_SECONDS = 10
REACH_SECONDS = 10
Steps = tuple[Resource, ...]


@dataclass(frozen=True)
class Switch:
    """The two releases of a switch, and what all phases need. old: the serving release if it is another one, or ""."""

    app: App
    release: Release
    facts: Facts
    force: bool
    old: str

    @property
    def name(self) -> str:
        return self.app.name

    @property
    def site(self) -> Site:
        return self.release.site

    @property
    def proxy(self) -> Proxy:
        return proxy_of(self.app)

    @property
    def host(self) -> str:
        return self.site.names[0]

    @property
    def unit(self) -> str:
        return layout.unit(self.name, self.release.id)

    @property
    def socket(self) -> str:
        return layout.socket(self.name, self.release.id)

    @property
    def current(self) -> str:
        """The link to the release that gets traffic."""
        return layout.current(self.name)

    @property
    def before(self) -> str:
        """The release whose static files are still served; "" if there is none."""
        return self.old or self.facts.previous

    def recorded(self, release_id: str) -> App:
        """The app with the settings of an existing release."""
        return as_recorded(self.app, self.facts.records.get(release_id, {}))

    @property
    def mounted_before(self) -> str:
        """The domain of which the app was below a path, "" if it was not."""
        place = self.facts.place
        return place.domain if place and place.path else ""

    @property
    def links_before(self) -> tuple[tuple[str, str], ...]:
        """As `static_links`, for the release whose static files are still served."""
        return static_links(self.recorded(self.before)) if self.before in self.facts.records else ()

    @property
    def static_before(self) -> dict[str, str]:
        return dict(self.recorded(self.before).static) if self.before in self.facts.records else {}


def activate(
    verb: str,
    app: App,
    release: Release,
    facts: Facts,
    built: Steps = (),
    leave: dict[str, str] | None = None,
    force: bool = False,
    last: Steps = (),
) -> Plan:
    """Start a release next to the current one, switch traffic once it answers, watch it; on failure go back.

    built: the steps that create it, if it is new; they are undone, too. leave: release ID → the state to record after
    success. last: steps at the very end.
    For the current release, the same plan finds nothing to do, or repairs it.
    """
    switch = Switch(app, release, facts, force, facts.current if facts.current != release.id else "")
    steps = (
        *begin(switch),
        *(built or whole(switch)),
        *start(switch),
        *gate(switch),
        *reach(switch),
        *processes(switch),
        *turn(switch),
        *watch(switch),
    )
    finish = (*ended(switch, leave or {}), *timed(switch), *last, noticed(switch))
    undo = (*back(switch), *removed(switch, bool(built))) if switch.old or built else ()
    return Plan(verb, steps, undo, finish, restore=True, current=switch.current)


def begin(switch: Switch) -> Steps:
    """Refuse what must be refused before anything is created."""
    as_it_was = (unit_as_it_was(switch.app, switch.old, switch.facts, switch.force),) if switch.old else ()
    require_place(switch.app, switch.site, switch.facts)
    schedules = tuple((timer.name, timer.schedule) for timer in switch.app.timers)
    valid = (Schedules(schedules),) if schedules else ()
    return (Platform(SYSTEMS), *valid, *switch.proxy.names(switch.app, switch.site), *as_it_was)


def whole(switch: Switch) -> Steps:
    """An existing release keeps its virtualenv, its data and its unit."""
    own = layout.release(switch.name, switch.release.id)
    made = virtualenv(switch.app, switch.release, own) if "venv" in switch.release.record else ()
    return (
        *with_tools(switch.app, made),
        *data(switch.app, switch.release),
        unit_as_it_was(switch.app, switch.release.id, switch.facts, switch.force),
    )


def start(switch: Switch) -> Steps:
    """Its web server; the units of all that runs beside it are written first, so that one set of files is complete."""
    return (
        *beside(switch.app, switch.release.id, switch.facts, switch.force),
        Service(switch.unit, active=True),
    )


def gate(switch: Switch) -> Steps:
    """It answers on its own socket, and each of its processes is warmed up."""
    app, unit = switch.app, switch.unit
    burst = runner_of(app).burst(app, switch.facts.cpus)
    warm = tuple(below(app, path) for path in app.warm_paths)
    warmed = Warmed(unit, switch.socket, warm, switch.host, burst, switch.current, switch.proxy.user)
    return (
        Healthy(unit, switch.socket, health(app), switch.host, app.health_seconds, switch.proxy.user),
        *((warmed,) if app.warm_paths else ()),
        Service(unit, active=True, enabled=True),  # before the switch: a power cut must find it starting at boot
    )


def reach(switch: Switch) -> Steps:
    """The proxy is ready for its visitors: static files, a certificate, the site."""
    app, old, proxy = switch.app, switch.old, switch.proxy
    kept = Link(layout.previous(app.name), f"releases/{old}", f"static files of {old}: still served")
    certificate = layout.certificates(app.name)
    return (
        *((kept,) if old else ()),
        *static_files(switch),
        *secured(app, switch.site),
        *proxy.data(app, switch.force),
        proxy.site(app, switch.site, switch.static_before, switch.facts.proxy, switch.force, switch.mounted_before),
        proxy.service(app.name, enabled=True),
        *((Presented(switch.host, certificate, proxy.front, switch.site.port),) if switch.site.certified else ()),
    )


def processes(switch: Switch) -> Steps:
    """Its processes run beside those of the release before, which stop after the switch; a singleton's stop first."""
    units = workers.units(switch.app, switch.release.id, switch.facts.scale)
    timed = timers.units(switch.app, switch.release.id)
    before = switch.recorded(switch.old) if switch.old else replace(switch.app, processes=(), timers=())
    if not units and not timed and not before.processes and not before.timers:
        return ()
    return (Running(switch.name, switch.release.id, units, singletons_of(switch, switch.old, switch.app), timed),)


def singletons_of(switch: Switch, release_id: str, wanted: App) -> tuple[tuple[str, int], ...]:
    """The units of a release that must not run while those of another one do, and how long each may take to stop."""
    single = {process.name for process in wanted.processes if process.singleton}
    made = switch.recorded(release_id) if release_id else replace(switch.app, processes=())
    return tuple(
        (layout.process_unit(switch.name, release_id, each.name, number), each.stop_seconds)
        for each, number in workers.numbered(made, switch.facts.scale)
        if each.name in single or each.singleton
    )


def static_files(switch: Switch) -> Steps:
    name, packed = switch.name, switch.app.precompressed
    every = ((switch.before, switch.links_before), (switch.release.id, static_links(switch.app)))
    steps: list[Resource] = []
    last = ""
    for made, links in every:
        directory = layout.release(name, made)
        if links:
            steps += [Packed(directory, name, links, last)] if packed else []
            steps.append(StaticLinks(directory, name, links, switch.proxy.title, packed))
            last = directory
    return tuple(steps)


def turn(switch: Switch) -> Steps:
    """The rename that switches traffic. The switch back is prepared before it, and the probe runs from here on."""
    target = switch.release.id
    to = Link(switch.current, f"releases/{target}", f"traffic: switched to {target}")
    return (*(asked_about(switch) if switch.old else ()), to)


def asked_about(switch: Switch) -> Steps:
    """The old release is asked for its own health path, the site for the new one's, which may differ."""
    old, path, own = switch.old, health(switch.app), health(switch.recorded(switch.old))
    unaware = old if own != path else ""
    return (
        WayBack(switch.current, old, layout.socket(switch.name, old), own, switch.host, switch.proxy.user),
        Probed(
            switch.host,
            path,
            switch.site.port,
            switch.current,
            unaware,
            switch.proxy.title,
            switch.site.encrypted,
        ),
    )


def watch(switch: Switch) -> Steps:
    """Visitors get answers, and for some seconds no more errors than before; then it is a good release."""
    app, proxy, directory = switch.app, switch.proxy, layout.release(switch.name, switch.release.id)
    watched: Steps = ()
    if switch.old and app.watch_seconds:
        old, log = layout.unit(switch.name, switch.old), proxy.access_log(switch.name, switch.site)
        told, front = runner_of(switch.recorded(switch.old)).restarts, proxy.front
        line = proxy.line_of(switch.site)
        alone = runner_of(app).is_alone(app, switch.facts.cpus)
        units = workers.units(app, switch.release.id, switch.facts.scale)
        others = (Together(units),) if units else ()
        watched = (Watched(switch.unit, old, log, app.watch_seconds, switch.current, line, told, front, alone, others),)
    return (
        Reachable(
            switch.host,
            health(app),
            REACH_SECONDS,
            switch.site.port,
            proxy.front,
            switch.site.encrypted,
        ),
        *watched,
        File(f"{directory}/state", "good\n"),
    )


def ended(switch: Switch, leave: dict[str, str]) -> Steps:
    """Record the states of older releases, stop them and remove old ones."""
    name = switch.name
    return (
        *(File(f"{layout.release(name, left)}/state", f"{state}\n") for left, state in leave.items()),
        Retired(name, switch.release.id, drain_seconds(switch), stream_seconds(switch)),
        *others_stopped(switch),
        *reopened(switch.app),
        Pruned(name, layout.home(name), switch.app.keep_releases),
    )


def others_stopped(switch: Switch) -> Steps:
    """No processes of other releases, of which any may have some."""
    made = [switch.app, *(switch.recorded(release_id) for release_id in switch.facts.records)]
    if not any(app.processes or app.timers for app in made):
        return ()
    return (OnlyProcessesOf(switch.name, switch.release.id),)


def timed(switch: Switch) -> Steps:
    units = timers.units(switch.app, switch.release.id)
    return (TimersRunning(switch.name, switch.release.id, units),) if units else ()


def reopened(app: App) -> Steps:
    """The stop of an older release may have closed the app's data to the proxy: systemd sets its mode for each
    process that it starts for a unit.
    """
    return (Directory(layout.data(app.name), 0o710, app.name, app.name),) if served_data(app) else ()


def noticed(switch: Switch) -> Noticed:
    return Noticed(switch.name, layout.certificates(switch.name) if switch.site.certified else "")


def back(switch: Switch) -> Steps:
    """Traffic goes back, and the new release is stopped."""
    name, old, before = switch.name, switch.old, switch.facts.previous
    if not old:
        return (Absent(switch.current), *others_back(switch), Service(switch.unit, active=False, enabled=False))
    previous = layout.previous(name)
    return (
        TrafficBack(switch.current, old, layout.unit(name, old)),
        *others_back(switch),
        switch.proxy.service(switch.name, yields=True),
        Retired(name, old, drain_seconds(switch)),
        Link(previous, f"releases/{before}") if before else Absent(previous),
    )


def others_back(switch: Switch) -> Steps:
    """The processes of the old release run, and those of the new one do not; its timers have not been stopped."""
    old, before = switch.old, switch.recorded(switch.old) if switch.old else None
    new, was = switch.app, before or replace(switch.app, processes=(), timers=())
    if not (new.processes or new.timers or was.processes or was.timers):
        return ()
    waits = tuple((each.name, each.stop_seconds) for each in new.processes if each.singleton)
    stopped = OnlyProcessesOf(switch.name, old, waits=waits)
    units = workers.units(before, old, switch.facts.scale) if before else ()
    return (stopped, Running(switch.name, old, units)) if units else (stopped,)


def removed(switch: Switch, new: bool) -> Steps:
    """new: the release was created by the failed steps."""
    name, release_id = switch.name, switch.release.id
    units = (layout.unit(name, release_id), *unit_texts(switch.app, release_id, switch.facts.scale))
    made = (Absent(layout.release(name, release_id)), *(Absent(f"{layout.UNITS}/{unit}") for unit in units))
    tools = (BuildPackagesRemoved(name),) if switch.app.build_apt else ()
    return (*made, Discarded(layout.home(name)), *tools) if new else tools


def below(app: App, path: str) -> str:
    """A path of the app, as visitors ask for it."""
    return f"{app.mount}{path}"


def health(app: App) -> str:
    return below(app, app.health_path)


def drain_seconds(switch: Switch) -> int:
    return max(DRAIN_SECONDS, switch.app.timeout_seconds)


def stream_seconds(switch: Switch) -> int:
    """How long connections may stay open on the old release. A runner that cuts requests at its stop needs the time."""
    old = switch.recorded(switch.old)
    least = 0 if runner_of(old).graceful else old.timeout_seconds
    return max(switch.app.stream_drain_seconds, least)
