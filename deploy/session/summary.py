"""The end of each change: where is it running, what is running it, how do users reach it, and are there problems?"""

import socket
import ssl
import time
from typing import Any

from ..agent.resources.serving.http import http_status
from ..agent.resources.tls.certificates import Certificate, certificate_of
from ..config.reader import App
from ..config.site import Site
from ..errors import VisitorsFail
from ..plan.facts import Facts, Release
from ..screen import summary
from ..screen.columns import columns
from ..screen.screen import Screen
from .dns import NameLookup, notes
from .execute import Count
from .session import Host

OUTSIDE_SECONDS = 5
DNS_SECONDS = 1  # more, after it was asked at the beginning
SETTLE_SECONDS = 2  # a worker of the proxy from before its reload may still take a connection, and know no such site


def conclude(
    screen: Screen,
    host: Host,
    facts: Facts,
    release: Release,
    count: Count,
    lookup: NameLookup,
    app: App | None = None,
) -> str:
    """Check the site from this machine, print the three answers and the warnings.

    Returns the status of the front page; "" if it was not asked from here.
    """
    certificate = doubts_of_certificate(release.site, count)
    answer = look_from_here(screen, host, release.site, lookup, bool(certificate))
    if app is not None:
        answers = summary.answers(host.name, host.made.host, facts, release, app)
        screen.result(answers, summary.answers_text(answers, release.site.authority, columns()))
    warn(screen, host, count, certificate)
    return answer


def doubts_of_certificate(site: Site, count: Count) -> list[str]:
    return summary.certificate_warnings(count.noticed, site)


def warn(screen: Screen, host: Host, count: Count, certificate: list[str]) -> None:
    for line in summary.warnings(count.noticed, certificate):
        screen.say(line, "yellow", host.name)


def require_well(host: Host, facts: Facts, release: Release, count: Count, answer: str, proxy: str) -> None:
    """Raise VisitorsFail if visitors get errors, or got some during the change.

    answer: see `conclude`. proxy: its name.
    """
    found = []
    if answer.startswith("5") and not facts.maintenance:
        found.append(f"{release.site.url} answers {answer}")
    probe = count.end.get("probe")
    if probe and probe["failed"]:
        first = f"the first: {probe['first_failure']}"
        found.append(f"{probe['failed']} of {probe['requests']} requests failed during the change ({first})")
    if found:
        back = f"; to go back to {facts.current}: fab rollback" if facts.current not in ("", release.id) else ""
        hint = f"fab logs --{proxy} shows the responses and the app's logs{back}"
        raise VisitorsFail("; ".join(found), host.name, f"{release.id} serves", hint)


def look_from_here(screen: Screen, host: Host, site: Site, lookup: NameLookup, certificate_told: bool = False) -> str:
    """Request the page like a visitor, because a firewall in front of the server is visible only from outside.

    The request goes to the server's address, so DNS problems are reported first. Returns the status.
    """
    elsewhere = notes(lookup.found(DNS_SECONDS), host.reached_at, bool(site.trusted_proxies))
    for line in elsewhere:
        screen.say(f"note: {line}", "yellow", host.name)
    if host.made.gateway:
        return ""  # visitors may well reach what this machine cannot
    look = looked_at(site, host.made.host, bool(elsewhere))
    if look.answered:
        screen.event(host.name, summary.as_step(look))
    for line in summary.doubts(look, certificate_told):
        screen.say(line, "yellow", host.name)
    return look.answer if look.answered else ""


def looked_at(site: Site, address: str, by_address: bool) -> summary.Visit:
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        began = time.monotonic()
        answer = http_status((address, site.port), site.host, site.below("/"), OUTSIDE_SECONDS, site.encrypted)
        seconds = time.monotonic() - began
        if answer.isdigit() or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    if not answer.isdigit() or not site.encrypted:
        return summary.Visit(site, address, answer, seconds, by_address)
    found, distrust = shown(address, site)
    issuer, until = (found.issuer, found.day) if found and not distrust else ("", "")
    return summary.Visit(site, address, answer, seconds, by_address, issuer, until, distrust)


def shown(address: str, site: Site) -> tuple[Certificate | None, str]:
    """The certificate that the site serves, and why browsers would not trust it."""
    context = ssl.create_default_context(cafile=site.authority or None)
    name: Any = site.names[0]
    try:
        plain = socket.create_connection((address, site.port), OUTSIDE_SECONDS)
        with plain, context.wrap_socket(plain, server_hostname=name) as connection:
            return certificate_of(connection.getpeercert() or {}), ""
    except ssl.SSLCertVerificationError as error:
        return None, error.verify_message
    except OSError as error:
        return None, str(error)
