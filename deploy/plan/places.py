"""Where visitors find the app, beside the other apps of its server: what is free, and who has the domain. Pure."""

from typing import Any

from ..agent.dataclass import replace
from ..config.reader import App
from ..config.site import Site
from ..errors import NOTHING, HostError
from .facts import Facts, Place


def placed(site: Site, facts: Facts) -> Site:
    """The site, knowing which app has the domain, if it is below a path of it."""
    if not site.path:
        return site
    having = [one.app for one in on_domain(site, facts) if not one.guest_of]
    return replace(site, guest_of=having[0] if having else "")


def on_domain(site: Site, facts: Facts) -> tuple[Place, ...]:
    """The other apps on the site's domain, at the usual ports."""
    return tuple(one for one in facts.neighbours if one.domain == site.names[0] and not one.port)


def recorded_place(site: Site) -> dict[str, Any]:
    """For release.json: what is not as usual."""
    place = {"port": site.own_port, "path": site.path, "guest_of": site.guest_of}
    found = {key: value for key, value in place.items() if value}
    return {"site": found} if found else {}


def require_place(app: App, site: Site, facts: Facts) -> None:
    """Refuse a place that another app of the server has, and to leave one that others need."""
    where, name = facts.hostname, site.names[0]
    for one in facts.neighbours:
        if site.own_port and one.port == site.own_port:
            raise HostError(f"port {site.own_port} is used by the app {one.app}", where, NOTHING, "set another `port`")
    for one in () if site.own_port else on_domain(site, facts):
        if taken := collision(site, tuple(site.below(prefix) for prefix, _ in app.static), one):
            raise HostError(taken, where, NOTHING, "set another `path`, or another `domain`")
    before = facts.place
    if facts.guests and before and (name, site.path, site.own_port) != (before.domain, before.path, before.port):
        below = ", ".join(f"{one.app} at {one.path}" for one in facts.guests)
        what = f"other apps are below {before.domain}, which {app.name} would leave: {below}"
        raise HostError(what, where, NOTHING, "first give them another `domain`, or remove them: fab remove")


def collision(site: Site, prefixes: tuple[str, ...], other: Place) -> str:
    """Why the site cannot be where it is to be, because of another app on its domain; "" if it can."""
    name = site.names[0]
    if not site.path and other.path and not other.guest_of:
        return f"{name} is used by the app {other.app}, below {other.path}"
    if site.path and site.path == other.path:
        return f"{name}{site.path} is used by the app {other.app}"
    for theirs in other.prefixes if site.path else ():
        if site.path.startswith(theirs):
            return f"{name}{site.path} is within {theirs}, static files of the app {other.app}"
        if theirs.startswith(site.path) and not other.path.startswith(site.path):
            return f"{name}{site.path} would hide {theirs}, static files of the app {other.app}"
    for own in prefixes:
        if other.path and other.path.startswith(own):
            return f"{name}{own}, static files of this app, would hide {other.path} of the app {other.app}"
    return ""


def require_unneeded(app: App, facts: Facts) -> None:
    """Refuse to remove the app that has a domain, while others are below it."""
    if facts.guests:
        below = ", ".join(f"{one.app} ({one.domain}{one.path})" for one in facts.guests)
        what = f"{app.name} is needed by other apps on this server: {below}"
        raise HostError(what, facts.hostname, NOTHING, "first remove them, or give them another `domain`")
