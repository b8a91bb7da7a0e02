"""What the app owes its visitors' browsers: safe cookies, strict headers, forms that nobody else can send."""

import hashlib
import hmac
import secrets
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Flask, Response, request, session
from flask.sessions import SecureCookieSessionInterface

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-cache",  # static files bring their own
}


class Sessions(SecureCookieSessionInterface):
    """Cookies that are Secure whenever the visitor came by https, and still work on http://localhost."""

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure


def protect(app: Flask) -> None:
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
    app.session_interface = Sessions()

    @app.after_request
    def add_headers(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.url_defaults
    def add_version(endpoint: str, values: dict[str, Any]) -> None:
        """Name the content in the address of a static file, so that browsers may keep it for a year."""
        if endpoint == "static":
            file = Path(app.root_path, "static", values["filename"])
            values["v"] = fingerprint(file, file.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def fingerprint(file: Path, mtime_ns: int) -> str:
    """Short hash of the file's content; read again when `mtime_ns` is new."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def form_token() -> str:
    """The token that proves a form is ours: kept in the signed session, repeated in the form."""
    if "form_token" not in session:
        session["form_token"] = secrets.token_urlsafe(24)
    return str(session["form_token"])


def form_is_ours() -> bool:
    expected = str(session.get("form_token", ""))
    sent = request.form.get("form_token", "")
    return bool(expected) and hmac.compare_digest(expected.encode(), sent.encode())
