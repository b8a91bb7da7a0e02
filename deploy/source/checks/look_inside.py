"""Runs in the app's own Python: imports what is served, asks it for the health path, and says what it saw, as JSON.

A program of its own, without the kit; Python 3.8 is enough. Reads one JSON object: target, asgi, path, host, directory.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import os
import sys
import traceback
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR
OURS = ("__pycache__", ".git", ".venv", "venv", "env", "site-packages", ".pytest_cache")


class Seen:
    """Paths below a directory that were opened for writing, or made."""

    def __init__(self, directory: str) -> None:
        self.directory, self.active = os.path.realpath(directory), True
        self.paths: Any = []

    def __call__(self, event: str, given: Any) -> None:
        if not self.active:
            return
        opened = event == "open" and isinstance(given[2], int) and given[2] & WRITING
        if opened or event in ("os.mkdir", "sqlite3.connect", "os.rename", "os.remove"):
            self.add(given[0])

    def add(self, path: Any) -> None:
        if not isinstance(path, (str, bytes)):
            return
        path = os.fsdecode(path)
        if path.startswith("file:"):
            path = path[5:].partition("?")[0]
        if path in ("", ":memory:"):
            return
        whole = os.path.normpath(os.path.join(os.getcwd(), path))
        if whole.startswith(self.directory + os.sep):
            inside = whole[len(self.directory) + 1 :].replace(os.sep, "/")
            if not set(inside.split("/")) & set(OURS) and inside not in self.paths:
                self.paths.append(inside)


def kind_of(app: Any) -> str:
    """ "asgi", "wsgi", or "" for what is neither."""
    called = type(app).__dict__.get("__call__") or getattr(type(app), "__call__", None)  # noqa: B004
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(called):
        return "asgi"
    if not callable(app):
        return ""
    try:
        given = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return "wsgi"
    names = [each.name for each in given if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    if names[:3] == ["scope", "receive", "send"] or names[:1] == ["scope"]:
        return "asgi"
    return "wsgi" if len(names) >= 2 or any(each.kind == each.VAR_POSITIONAL for each in given) else ""


def by_wsgi(app: Any, path: str, host: str) -> dict[str, Any]:
    from wsgiref.util import setup_testing_defaults

    path, _, query = path.partition("?")
    environ: dict[str, Any] = {
        "PATH_INFO": path, "QUERY_STRING": query, "HTTP_HOST": host, "SERVER_NAME": host, "wsgi.url_scheme": "https",
        "HTTP_X_FORWARDED_PROTO": "https", "SERVER_PORT": "443", "wsgi.input": io.BytesIO(), "REMOTE_ADDR": "127.0.0.1",
        "HTTPS": "on", "wsgi.errors": sys.stderr,
    }  # fmt: skip
    setup_testing_defaults(environ)
    found: dict[str, Any] = {}

    def start(status: str, headers: Any, error: Any = None) -> Any:
        found.update(status=int(status.split()[0]), location=dict(headers).get("Location", ""))
        return lambda data: None

    answer = app(environ, start)
    try:
        for _ in answer:
            break
    finally:
        getattr(answer, "close", lambda: None)()
    return found


def by_asgi(app: Any, path: str, host: str) -> dict[str, Any]:
    path, _, query = path.partition("?")
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "scheme": "https", "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": "",
        "headers": [(b"host", host.encode()), (b"x-forwarded-proto", b"https")], "client": ("127.0.0.1", 1),
        "server": (host, 443), "state": {},
    }  # fmt: skip
    found: dict[str, Any] = {}

    async def ask() -> None:
        begun: Any = asyncio.Queue()
        ended: Any = asyncio.Queue()
        await begun.put({"type": "lifespan.startup"})
        life = {"type": "lifespan", "asgi": scope["asgi"], "state": scope["state"]}
        living = asyncio.ensure_future(app(life, begun.get, ended.put))
        first = asyncio.ensure_future(ended.get())
        await asyncio.wait([living, first], return_when=asyncio.FIRST_COMPLETED)
        if first.done() and first.result().get("type") == "lifespan.startup.failed":
            raise RuntimeError(first.result().get("message") or "the app's startup failed")
        first.cancel()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = {bytes(key).lower(): bytes(value) for key, value in message.get("headers", [])}
                found.update(status=message["status"], location=headers.get(b"location", b"").decode())

        await app(scope, receive, send)
        living.cancel()

    asyncio.run(ask())
    return found


def main() -> None:
    asked = json.loads(sys.stdin.read())
    saying = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the app prints is no answer
    os.chdir(asked["directory"])
    sys.path.insert(0, asked["directory"])
    seen = Seen(asked["directory"])
    getattr(sys, "addaudithook", lambda hook: None)(seen)  # Python 3.8
    found: dict[str, Any] = {"step": "import"}
    try:
        module, _, name = asked["target"].partition(":")
        __import__(module)
        app = getattr(sys.modules[module], name[:-2] if name.endswith("()") else name)
        if name.endswith("()"):
            found["step"] = "call"
            app = app()
        found["kind"] = kind_of(app)
        found["made_by"] = type(app).__module__.partition(".")[0]
        if found["kind"] == asked["kind"]:
            found["step"] = "request"
            found.update((by_asgi if found["kind"] == "asgi" else by_wsgi)(app, asked["path"], asked["host"]))
        found["step"] = ""
    except BaseException as error:
        lines = traceback.format_exception(type(error), error, error.__traceback__)
        found["error"] = "".join(traceback.format_exception_only(type(error), error)).strip().splitlines()[-1]
        found["trace"] = "".join(lines).splitlines()[-12:]
    seen.active = False
    found["writes"] = seen.paths
    saying.write(json.dumps(found))
    saying.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
