"""Whom to believe about the client: the proxy on our own unix socket, and nobody else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class BehindProxy:
    """Take client, scheme and host from X-Forwarded-*, but only of requests that came over a unix socket.

    REMOTE_ADDR is empty there, and only Nginx may open the socket. Over TCP anybody could forge these headers.
    """

    def __init__(self, app: WSGIApplication) -> None:
        self.direct = app
        self.proxied = ProxyFix(app, x_for=1, x_proto=1, x_host=1)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        app = self.direct if environ.get("REMOTE_ADDR") else self.proxied
        return app(environ, start_response)


def proxied(environ: WSGIEnvironment) -> bool:
    return "werkzeug.proxy_fix.orig" in environ
