"""A guest book: a form, and SQLite in the instance directory."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from flask import Flask, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

SCHEMA = "CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, name TEXT NOT NULL, said TEXT NOT NULL)"
LONGEST = 500


def create_app() -> Flask:
    app = Flask(__name__, instance_relative_config=True)
    app.config["DATABASE"] = str(Path(app.instance_path) / "guestbook.db")
    os.makedirs(app.instance_path, exist_ok=True)
    with closing(sqlite3.connect(app.config["DATABASE"], timeout=10)) as made:
        made.execute(SCHEMA)

    def database() -> sqlite3.Connection:
        if "database" not in g:
            g.database = sqlite3.connect(app.config["DATABASE"], timeout=10)
        connection: sqlite3.Connection = g.database
        return connection

    @app.teardown_appcontext
    def close(error: BaseException | None) -> None:
        if "database" in g:
            g.pop("database").close()

    @app.get("/")
    def entries() -> str:
        rows = database().execute("SELECT name, said FROM entries ORDER BY id DESC LIMIT 50").fetchall()
        return render_template("entries.html", rows=rows)

    @app.post("/")
    def sign() -> Response:
        name, said = (request.form.get(field, "").strip()[:LONGEST] for field in ("name", "said"))
        if name and said:
            with database() as connection:
                connection.execute("INSERT INTO entries (name, said) VALUES (?, ?)", (name, said))
        return redirect(url_for("entries"), code=303)

    @app.get("/healthz")
    def health() -> str:
        database().execute("SELECT 1 FROM entries LIMIT 1")
        return "ok"

    return app
