"""Where is it running, what is running it, how do users reach it, and is all well: told at the end of each change."""

import socket
import ssl
import time
from datetime import datetime, timezone
from typing import Any

from ..agent import layout
from ..agent.resources.serving.http import http_status
from ..agent.resources.tls.certificates import Certificate, certificate_of
from ..config.reader import App
from ..config.site import Site
from ..connection.agent import Event
from ..errors import VisitorsFail
from ..plan.facts import Facts, Release
from ..screen import noticed
from ..screen.columns import columns, labelled
from ..screen.console import Screen
from ..stack.proxies import proxy
from ..stack.runners import runner
from .dns import Lookup, notes
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
    lookup: Lookup,
    app: App | None = None,
) -> str:
    """Look at the site from here, answer the three questions for the app, and warn of what was seen beside.

    Returns what the front page answered; "" where it was not asked from here.
    """
    certificate = of_certificate(release.site, count)
    answer = look_from_here(screen, host, release.site, lookup, bool(certificate))
    if app is not None:
        three_answers(screen, host, facts, release, app)
    warn(screen, host, count, certificate)
    return answer


def of_certificate(site: Site, count: Count) -> list[str]:
    return noticed.of_certificate(count.noticed, site, datetime.now(timezone.utc))


def warn(screen: Screen, host: Host, count: Count, certificate: list[str]) -> None:
    for line in (*noticed.of_server(count.noticed), *certificate):
        screen.say(f"warning: {line}", "yellow", host.name)


def require_well(host: Host, facts: Facts, release: Release, count: Count, answer: str) -> None:
    """A change after which visitors get errors, or in which they got some, is no success. answer: see `conclude`."""
    found = []
    if answer.startswith("5") and not facts.maintenance:
        found.append(f"{release.site.url} answers {answer}")
    probe = count.end.get("probe") or {"failed": 0}
    if probe["failed"]:
        first = f"the first: {probe['first_failure']}"
        found.append(f"{probe['failed']} of {probe['requests']} requests failed during the change ({first})")
    if found:
        back = f"; back to {facts.current}: fab rollback" if facts.current not in ("", release.id) else ""
        hint = f"fab logs --{proxy().name} shows what visitors got, and what the app wrote{back}"
        raise VisitorsFail("; ".join(found), host.name, f"{release.id} serves", hint)


def three_answers(screen: Screen, host: Host, facts: Facts, release: Release, app: App) -> None:
    python = ".".join(release.record.get("python", facts.python).split(".")[:2])
    runs = runner()
    commit = release.record.get("commit", "")
    answers = {
        "where": f"{facts.hostname} ({host.made.host}), {facts.system}, in {layout.current(app.name)}",
        "what": f"{layout.unit(app.name, release.id)}: {runs.title}, {runs.processes(app, facts.cpus)},"
        f" Python {python}" + (f", commit {commit}" if commit else ""),
        "how": f"{release.site.url} → {proxy().described(release.site, facts.proxy)} → unix socket → {runs.title}",
    }
    if facts.maintenance:
        answers["how"] += " (in maintenance: visitors get a 503 until `fab maintenance off`)"
    questions = {"where": "where is it running?", "what": "what is running it?", "how": "how do users reach it?"}
    lines = [labelled(f"{question:<24}", answers[key], columns()) for key, question in questions.items()]
    if release.site.authority:
        lines += ["its certificate is from a CA of this machine's own; to see no warning:"]
        lines += [f"curl --cacert {release.site.authority} {release.site.url}"]
        lines += ["or have your browser trust that file (Settings → Certificates → Import)"]
    event = {"event": "answers", "host": host.name, "url": release.site.url, "release": release.id, **answers}
    screen.result(event, "\n" + "\n".join(lines))


def look_from_here(screen: Screen, host: Host, site: Site, lookup: Lookup, certificate_told: bool = False) -> str:
    """Ask for the page as a visitor would: a firewall in front of the server shows only from outside.

    By the server's address, so before that it is said where DNS would not lead visitors there. Returns the answer.
    """
    missing = notes(lookup.found(DNS_SECONDS), host.reached_at, bool(site.trusted_proxies))
    for line in missing:
        screen.say(f"note: {line}", "yellow", host.name)
    if host.made.gateway:
        return ""  # visitors may well reach what this machine cannot
    address, port = host.made.host, site.port
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        began = time.monotonic()
        answer = http_status((address, port), site.names[0], "/", OUTSIDE_SECONDS)
        seconds = time.monotonic() - began
        if answer.isdigit() or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    if not answer.isdigit():
        why = f"{address} does not answer on port {port} from here ({answer}): is it open in the provider's firewall?"
        screen.say(f"note: {why}", "yellow", host.name)
        return ""
    found, trouble = shown(address, site) if site.encrypted else (None, "")
    good = f"; its certificate is from {found.issuer}, good until {found.day}" if found and not trouble else ""
    asked = f"asked by its address {address}" if missing else "from here"
    line = f"{asked}, {site.url} answers {answer} in {1000 * seconds:.0f} ms{good}"
    state = "failed" if answer.startswith("5") else "ok"
    step: Event = {"event": "step", "step": line, "state": state, "seconds": 0.0, "drift": []}
    screen.event(host.name, step)
    if trouble and not certificate_told:
        screen.say(f"note: browsers warn of its certificate: {trouble}", "yellow", host.name)
    return answer


def shown(address: str, site: Site) -> tuple[Certificate | None, str]:
    """The certificate that visitors are shown, and what browsers would say against it."""
    context = ssl.create_default_context(cafile=site.authority or None)
    name: Any = site.names[0]
    try:
        plain = socket.create_connection((address, 443), OUTSIDE_SECONDS)
        with plain, context.wrap_socket(plain, server_hostname=name) as connection:
            return certificate_of(connection.getpeercert() or {}), ""
    except ssl.SSLCertVerificationError as error:
        return None, error.verify_message
    except OSError as error:
        return None, str(error)
