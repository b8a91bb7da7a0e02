"""The app in two forms: built in this process, and under a real Gunicorn on a unix socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from serving import RELEASE, Gunicorn, form_token, served
from werkzeug.test import TestResponse

from webapp import create_app


@pytest.fixture
def data(tmp_path: Path) -> Path:
    found = tmp_path / "data"
    found.mkdir()
    return found


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    monkeypatch.delenv("FLASK_DEBUG", raising=False)
    monkeypatch.setenv("SECRET_KEY", "only for tests")
    monkeypatch.setenv("DATA_DIR", str(data))
    monkeypatch.setenv("RELEASE_ID", RELEASE)


@pytest.fixture
def app(production: None) -> Flask:
    return create_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def proxied(app: Flask) -> FlaskClient:
    """A client whose requests come over a unix socket, as Nginx's do: without an address."""
    client = app.test_client()
    client.environ_base["REMOTE_ADDR"] = ""
    return client


@pytest.fixture
def sign(client: FlaskClient) -> Callable[..., TestResponse]:
    """Fill in the form as a browser does: get the page, send its token back."""

    def send(name: str = "Ada", message: str = "Hello") -> TestResponse:
        token = form_token(client.get("/").text)
        return client.post("/visitors", data={"form_token": token, "name": name, "message": message})

    return send


@pytest.fixture
def gunicorn(tmp_path: Path, data: Path) -> Iterator[Gunicorn]:
    with served(tmp_path) as server:
        yield server
