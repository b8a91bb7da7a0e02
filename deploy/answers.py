"""Where is it running, what is running it, how do users reach it: told at the end of what changes the release."""

import socket
import ssl
import time
from typing import Any

from . import layout
from .agent.resources.certificates import Certificate, certificate_of
from .agent.resources.health import http_status
from .agent.system import upstream
from .config import App
from .plans import Facts, Release
from .remote import Event
from .screen import Screen
from .session import Host
from .site import Site

OUTSIDE_SECONDS = 5
SETTLE_SECONDS = 2  # a worker of Nginx from before its reload may still take a connection, and know no such site


def tell(screen: Screen, host: Host, facts: Facts, release: Release, app: App) -> None:
    """Look at the site from here, and answer the three questions."""
    look_from_here(screen, host, release.site)
    python = ".".join(release.record.get("python", facts.python).split(".")[:2])
    commit = release.record.get("commit", "")
    threads = f" × {app.threads} threads" if app.worker_class == "gthread" else f", {app.worker_class}"
    answers = {
        "where": f"{facts.hostname} ({host.made.host}), {facts.system}, in {layout.current(app.name)}",
        "what": f"{layout.unit(app.name, release.id)}: Gunicorn, {app.workers or facts.cpus} workers{threads},"
        f" Python {python}" + (f", commit {commit}" if commit else ""),
        "how": f"{release.site.url} → Nginx, {door(release.site, facts.nginx)} → unix socket → Gunicorn",
    }
    if facts.maintenance:
        answers["how"] += " (in maintenance: visitors get a 503 until `fab maintenance off`)"
    lines = [
        f"where is it running?    {answers['where']}",
        f"what is running it?     {answers['what']}",
        f"how do users reach it?  {answers['how']}",
    ]
    if release.site.authority:
        lines.append(f"its CA is this machine's own; to see no warning: curl --cacert {release.site.authority},")
        lines.append("or let your browser trust that file (Settings → Certificates → Authorities → Import)")
    event = {"event": "answers", "host": host.name, "url": release.site.url, "release": release.id, **answers}
    screen.result(event, "\n" + "\n".join(lines))


def door(site: Site, nginx: str) -> str:
    if not site.encrypted:
        return "port 80"
    third = " and 3" if upstream(nginx) >= upstream(layout.HTTP3_SINCE) and not site.addresses else ""
    return f"port 443 (HTTP/2{third})"


def look_from_here(screen: Screen, host: Host, site: Site) -> None:
    """Ask for the page as a visitor would: a firewall in front of the server shows only from outside."""
    if host.made.gateway:
        return  # visitors may well reach what this machine cannot
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
        return
    found, trouble = shown(address, site) if site.encrypted else (None, "")
    good = f"; its certificate is from {found.issuer}, good until {found.day}" if found and not trouble else ""
    line = f"from here, {site.url} answers {answer} in {1000 * seconds:.0f} ms{good}"
    step: Event = {"event": "step", "step": line, "state": "ok", "seconds": 0.0, "drift": []}
    screen.event(host.name, step)
    if trouble:
        screen.say(f"note: browsers warn of its certificate: {trouble}", "yellow", host.name)
    elif found and found.late:
        screen.say(f"note: the certificate runs out on {found.day}, and was not renewed", "yellow", host.name)


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
