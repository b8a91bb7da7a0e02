"""The site's certificate: first any certificate, then one that browsers trust."""

from ..agent import layout
from ..agent.resources.files import Directory
from ..agent.resources.removal.trees_gone import Gone
from ..agent.resources.tls.acme import Issued, NotRenewed, TrustedAuthority, Untrusted
from ..agent.resources.tls.certificates import OwnCertificate, Placeholder, Presented
from ..agent.wire import Resource
from ..config.reader import App
from ..config.site import Site, is_address
from ..stack.proxies import proxy_of


def secured(app: App, site: Site) -> tuple[Resource, ...]:
    """A certificate exists before the proxy needs one; one that browsers trust comes after the switch."""
    directory = layout.certificates(app.name)
    kept = () if site.tls == "acme" and not site.guest_of else (NotRenewed(app.name),)
    if not site.certified:
        return kept
    named = tuple(name for name in (*site.names, *site.aliases) if not is_address(name))
    names = named if proxy_of(app).names_placeholder else ()
    own = OwnCertificate(directory, app.name, site.certificate, site.key, layout.CERTIFICATE_HOOK, site.ended)
    return (
        *kept,
        Directory(directory, 0o750, "root", app.name),
        own if site.certificate else Placeholder(directory, app.name, names),
    )


def authority_of(app: str) -> str:
    """What the server calls the CA of the app's private ACME server."""
    return f"ashore-acme-{app}"


def uncertified(app: str) -> tuple[Resource, ...]:
    """No certificate of the app is renewed, and none is kept. It is not revoked: that is for keys that are known."""
    kept = tuple(f"/etc/letsencrypt/{kind}/{app}" for kind in ("live", "archive"))
    return (NotRenewed(app), Gone("certificates kept by certbot", kept), Untrusted(authority_of(app)))


def certified(app: App, site: Site, address: str, anew: bool = False) -> tuple[Resource, ...]:
    """A certificate that browsers trust, from the authority. address: the server's, as the operator reaches it."""
    if site.tls != "acme" or site.guest_of:
        return ()
    directory = layout.certificates(app.name)
    names = tuple(name for name in (*site.names, *site.aliases) if not is_address(name))
    trust = TrustedAuthority(authority_of(app.name), site.acme_ca)
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
        Presented(names[0], directory, proxy_of(app).front, site.port),
    )
