"""`fab tls`: show the certificate in use, and renew it early."""

from ..agent import layout
from ..agent.resources.host.machine import Platform
from ..agent.resources.tls.acme import Revoked
from ..agent.resources.tls.certificates import listing
from ..agent.wire import Plan
from ..errors import NOTHING, HostError
from ..plan.certificates import certified
from ..plan.facts import SYSTEMS
from ..plan.places import placed
from ..screen import tables
from ..session.execute import Count, carry_out
from ..session.operation import Operation, change_each, nothing
from ..session.session import Call, Host, agent_of
from ..session.summary import look_from_here


def tls(call: Call) -> None:
    app = call.app.name

    def show(host: Host) -> None:
        found = agent_of(host).ask(listing, app=app, directory=layout.certificates(app))
        call.screen.table(host.name, tables.certificate_rows(found), f"{app} has no certificate on {host.name}")

    call.run(show)


def renew(call: Call, compromised: bool) -> None:
    """compromised: also revoke the old certificate, because its key is no longer secret."""
    change_each(call, "tls.renew", lambda change, _: renew_on(change, compromised), nothing)


def renew_on(change: Operation, compromised: bool) -> None:
    """A new certificate with a new key, now."""
    facts, _ = change.survey(activates=False)
    change.require_release(facts)
    site, app = placed(change.site, facts), change.app.name
    if site.guest_of:
        what = f"{app} is below a path of {site.names[0]}: the certificate is that of the app {site.guest_of}"
        raise HostError(what, agent_of(change.host).where, NOTHING, f"run it in the project of {site.guest_of}")
    if site.tls != "acme":
        what = f'the stage {change.host.stage.name} has tls = "{site.tls}": Ashore does not renew its certificate'
        hint = "replace the certificate files, then: fab deploy" if site.encrypted else ""
        raise HostError(what, agent_of(change.host).where, NOTHING, hint)
    old = agent_of(change.host).ask(listing, app=app, directory=layout.certificates(app))
    steps = certified(change.app, site, change.host.reached_at, anew=True)
    if compromised and old and old["state"] != "self-signed":
        steps += (Revoked(app, old["serial"], site.acme_directory),)
    plan = Plan("tls.renew", (Platform(SYSTEMS), *steps))
    carry_out(plan, change.host, change.screen, change.options, "renewed", {"app": app}, Count())
    look_from_here(change.screen, change.host, site, change.lookup)
