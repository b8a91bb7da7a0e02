"""A small Flask app that says where it runs, what runs it and how users reach it, and keeps a visitors' book.

On localhost:   flask --app webapp run --debug
In production:  gunicorn 'webapp:create_app()', with these in the environment:

    SECRET_KEY   signs the session cookie; without it the app refuses to start
    DATA_DIR     an existing directory that outlives releases; the visitors' book is kept there
    RELEASE_ID   the release that is running, shown on the page and kept with each entry

    __init__  joins the pieces         proxy    whom to believe about the client
    pages     the routes               facts    what the page says about its own running
    browsers  cookies, headers, forms  visitors the book, in SQLite
"""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from flask import Flask
from flask.helpers import get_debug_flag

from webapp import browsers, pages
from webapp.proxy import BehindProxy
from webapp.visitors import Book


def create_app() -> Flask:
    """The app, configured from the environment. RuntimeError when production lacks its SECRET_KEY."""
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY=secret_key(),
        RELEASE_ID=os.environ.get("RELEASE_ID") or "development",
        MAX_CONTENT_LENGTH=64 * 1024,
        SEND_FILE_MAX_AGE_DEFAULT=365 * 24 * 3600,  # safe: every link to a static file names its content
    )
    app.extensions["visitors"] = Book(data_dir(app) / "visitors.sqlite3")
    app.wsgi_app = BehindProxy(app.wsgi_app)  # type: ignore[method-assign]
    app.register_blueprint(pages.pages)
    browsers.protect(app)
    return app


def secret_key() -> str:
    if key := os.environ.get("SECRET_KEY"):
        return key
    if get_debug_flag():
        return secrets.token_hex()
    raise RuntimeError(
        "SECRET_KEY is not set: without it the app cannot sign its cookies, so it does not start in production. "
        "Set it to a long random value that stays the same, such as the output of "
        "python3 -c 'import secrets; print(secrets.token_hex())'. "
        "On localhost run: flask --app webapp run --debug"
    )


def data_dir(app: Flask) -> Path:
    """DATA_DIR as it is: if it is missing, /healthz says so. Only localhost's own directory is made when needed."""
    if path := os.environ.get("DATA_DIR"):
        return Path(path).absolute()
    instance = Path(app.instance_path)
    with suppress(OSError):
        instance.mkdir(parents=True, exist_ok=True)
    return instance
