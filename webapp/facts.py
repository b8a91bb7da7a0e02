"""What the page says about its own running, read anew for each request.

Each answer maps label to text. What cannot be found out is "unknown": a missing fact never costs the page.
"""

import os
import platform
import re
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import version

from flask import Request

from webapp.proxy import proxied

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Hop:
    """One program on the way of a request; `wire` is what leads to it from the hop before."""

    name: str
    detail: str
    wire: str = ""


def where() -> dict[str, str]:
    return {
        "Host": host_name(),
        "System": known(system),
        "Up for": duration(uptime_seconds()),
        "Clock": f"{datetime.now(timezone.utc):%H:%M:%S} UTC",
        "Address": known(address),
    }


def what(request: Request, release: str) -> dict[str, str]:
    name, number = server(request)
    return {
        "Release": release,
        name: number,
        "Worker": f"process {os.getpid()}, {threads()}",
        "This thread": threading.current_thread().name,
        "Python": platform.python_version(),
        "Flask": flask_version(),
    }


def how(request: Request) -> dict[str, str]:
    return {
        "Scheme": request.scheme,
        "Host asked for": request.host or UNKNOWN,
        "Your address": request.remote_addr or UNKNOWN,
        "Nginx": via(request) or "none: direct",
        "Listening on": known(lambda: listener(request)),
        "Request ID": request.headers.get("X-Request-ID", "none") if proxied(request.environ) else "none",
    }


def path(request: Request, release: str) -> tuple[Hop, tuple[Hop, ...]]:
    """The way of this request: the browser, and the hops on the server, first to last."""
    name, number = server(request)
    nginx = re.search(r"\((?:nginx/)?(.+?)\)", via(request))
    proxies = (Hop("Nginx", nginx[1] if nginx else via(request), request.scheme),) if via(request) else ()
    wire = "unix socket" if proxied(request.environ) else request.scheme
    browser = Hop("Browser", request.remote_addr or UNKNOWN)
    return browser, (*proxies, Hop(name, number, wire), Hop("Flask", release, "WSGI"))


def known(ask: Callable[[], str]) -> str:
    try:
        return ask() or UNKNOWN
    except (OSError, AttributeError, LookupError):
        return UNKNOWN


def host_name() -> str:
    return known(socket.gethostname)


def system() -> str:
    """The distribution's own name for itself; elsewhere the kernel's."""
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return f"{platform.system()} {platform.release()}".strip()


def uptime_seconds() -> float:
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)  # /proc/uptime is hidden from a sandboxed unit
    return time.monotonic()


def duration(seconds: float) -> str:
    """The greatest unit and the one below it: `3 days 4 hours`, `1 minute 5 seconds`, `2 hours`."""
    parts: list[str] = []
    rest = int(seconds)
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, rest = divmod(rest, size)
        if count or parts or size == 1:
            parts.append("" if parts and not count else f"{count} {name}{'' if count == 1 else 's'}")
    return " ".join(filter(None, parts[:2]))


def address() -> str:
    """The machine's own address on its way out. Connecting a UDP socket chooses a route and sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # RFC 5737: nobody's address
        return str(probe.getsockname()[0])


def listener(request: Request) -> str:
    """The unix socket, or address and port, that took the request."""
    connection = request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")
    if connection is None:
        return UNKNOWN
    name = connection.getsockname()
    return name if isinstance(name, str) else f"{name[0]} port {name[1]}"


def server(request: Request) -> tuple[str, str]:
    """Name and version of the program that called the app, such as Gunicorn."""
    name, _, number = request.environ.get("SERVER_SOFTWARE", UNKNOWN).partition("/")
    return name.capitalize(), number or UNKNOWN


def via(request: Request) -> str:
    """How Nginx calls itself; empty if it took no part. Over TCP anybody could send the header."""
    return request.headers.get("Via", "") if proxied(request.environ) else ""


def threads() -> str:
    count = threading.active_count()
    return "1 thread" if count == 1 else f"{count} threads"


@cache
def flask_version() -> str:
    return version("flask")
