"""Remove an app from its server: a plan in named phases, the visitors' side first. Pure.

Each step finds what is left of the app, so the same plan finishes one that was interrupted. What apps share stays:
packages, the proxy's own config, uv, the firewall.
"""

from ..agent import layout
from ..agent.history import home
from ..agent.resources.access.firewall_left import LoadedIfUsed, OthersLimit
from ..agent.resources.files import Absent
from ..agent.resources.host.build_packages import BuildPackagesRemoved
from ..agent.resources.removal.ours import OwnApp
from ..agent.resources.removal.trees_gone import Gone, OwnerGone, UnusedPythons
from ..agent.resources.removal.units_gone import JournalGone, UnitsGone
from ..agent.wire import Plan, Resource
from ..config.reader import App
from ..stack import hardening
from ..stack.proxies import proxy_of
from ..stack.proxies.base import Proxy
from .certificates import uncertified

DRAIN_SECONDS = 10
Steps = tuple[Resource, ...]


def removing(wanted: App, keys: Steps, purge: bool, force: bool, mounted: str = "") -> Plan:
    """keys: the steps that end the app's CI keys. purge: its data goes, too. mounted: see `Proxy.removed`."""
    app, proxy = wanted.name, proxy_of(wanted)
    steps = (
        *allowed(app, proxy),
        *proxy.removed(app, mounted, force),
        *keys,
        UnitsGone(app, DRAIN_SECONDS),
        *unfiltered(app, force),
        *uncertified(app),
        JournalGone(app, journal_settings(app)),
        BuildPackagesRemoved(app),
        *files(app, proxy),
        *((Gone(f"data in {layout.data(app)}", (layout.data(app),)),) if purge else ()),
        *users(app, purge),
    )
    return Plan("remove", steps)


def allowed(app: str, proxy: Proxy) -> Steps:
    """It is the kit's, and nothing else needs it."""
    proofs = (layout.provisioned(app), f"{layout.home(app)}/releases")
    directories = (layout.home(app), layout.data(app), proxy.logs(app))
    return (OwnApp(app, proofs, directories), proxy.not_needed(app))


def unfiltered(app: str, force: bool) -> Steps:
    """The firewall without the app's ports and limits; that of the other apps stays as it is."""
    rules, of_apps = hardening.FIREWALL, hardening.FIREWALL_APPS
    steps: Steps = (
        Absent(f"{rules}/app-{app}.nft"),
        Absent(f"{of_apps}/{app}.nft"),
        OthersLimit(f"{rules}/connections.nft", hardening.LIMIT_RULES, app, force=force),
        LoadedIfUsed(),
    )
    return (hardening.guarded_firewall(f"firewall: nothing of {app}", steps),)


def journal_settings(app: str) -> tuple[str, ...]:
    settings = layout.journal(app)
    return (settings, f"{settings}.d", layout.journal_socket(app).rpartition("/")[0])


def files(app: str, proxy: Proxy) -> Steps:
    """All but its data and its history. /srv/APP comes last: it proves that the app is the kit's."""
    names = (f"data-{app}", f"data-{app}.waited", f"starts-{app}", f"starts-{app}.*", f"starting/{app}@*")
    notes = tuple(f"/run/ashore/{name}" for name in names)
    return (
        Gone("files until the next boot", (f"/run/{app}", layout.ci_socket(app), *notes)),
        Gone(f"logs of {proxy.title}", (proxy.logs(app),)),
        Gone("CI keys", (layout.ci_home(app), layout.ci_record(app))),
        Gone("notes of timers", (f"{home(app)}/timers",)),
        Gone(f"releases and certificate in {layout.home(app)}", (layout.home(app),)),
        Gone("scratch files", (f"/var/cache/ashore-check-{app}",)),
        UnusedPythons(),
    )


def users(app: str, purge: bool) -> Steps:
    return (OwnerGone(layout.ci_user(app)), OwnerGone(app, "" if purge else layout.data(app)))
