"""Health, headers, cookies, and the pages for when something goes wrong."""

import re
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from serving import RELEASE, Gunicorn

from webapp import create_app


def test_a_healthy_app_names_its_release(client: FlaskClient) -> None:
    response = client.get("/healthz")
    assert response.status_code == 200
    assert response.json == {"status": "ok", "release": RELEASE}
    assert response.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in response.headers


def test_health_is_asked_for_over_the_socket_without_a_proxy(gunicorn: Gunicorn) -> None:
    assert gunicorn.ask("GET", "/healthz").status == 200
    assert gunicorn.ask("GET", "/healthz", headers={"Host": ""}).status == 200


@pytest.mark.parametrize("place", ["gone", "file/below"])
def test_health_fails_without_the_data_directory(
    production: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DATA_DIR", str(tmp_path / place))
    client = create_app().test_client()
    response = client.get("/healthz")
    assert response.status_code == 503
    assert response.json["status"] == "failing"
    assert response.json["reason"].startswith("visitors' book: ")
    assert str(tmp_path) not in response.text
    assert client.get("/").status_code == 200
    assert not (tmp_path / place).exists()


def test_health_fails_when_the_book_is_garbage(client: FlaskClient, data: Path) -> None:
    (data / "visitors.sqlite3").write_text("not a database, whatever its name says" * 100)
    response = client.get("/healthz")
    assert (response.status_code, response.json["reason"]) == (503, "visitors' book: file is not a database")


def test_an_unknown_page_is_answered_in_the_same_design(client: FlaskClient) -> None:
    response = client.get("/nowhere")
    assert response.status_code == 404
    assert "Nothing at this address" in response.text
    assert "style.css" in response.text


def test_a_wrong_method_still_names_the_right_ones(client: FlaskClient) -> None:
    response = client.delete("/visitors")
    assert (response.status_code, "POST" in response.headers["Allow"]) == (405, True)
    assert "Not like this" in response.text


def test_a_flood_is_refused(client: FlaskClient) -> None:
    response = client.post("/visitors", data={"message": "x" * 70_000})
    assert (response.status_code, "Too much at once" in response.text) == (413, True)


def test_a_crash_is_explained_without_its_details(app: Flask) -> None:
    @app.get("/crash")
    def crash() -> str:
        raise ValueError("password is hunter2")

    response = app.test_client().get("/crash")
    assert response.status_code == 500
    assert "Something broke on our side" in response.text
    assert "hunter2" not in response.text


@pytest.mark.parametrize("path", ["/", "/healthz", "/nowhere", "/static/style.css"])
def test_every_answer_has_the_security_headers(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


def test_the_page_keeps_to_its_own_policy(client: FlaskClient) -> None:
    page = client.get("/").text
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=|https?://", page)


def test_the_cookie_is_secure_exactly_when_the_visitor_came_by_https(proxied: FlaskClient) -> None:
    plain = proxied.get("/").headers["Set-Cookie"]
    proxied.delete_cookie("session")
    secure = proxied.get("/", headers={"X-Forwarded-Proto": "https"}).headers["Set-Cookie"]
    assert ("Secure" in plain, "Secure" in secure) == (False, True)
    for cookie in (plain, secure):
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie


def test_static_files_are_kept_for_a_year_and_named_by_content(client: FlaskClient) -> None:
    page = client.get("/")
    link = re.search(r'href="(/static/style\.css\?v=[0-9a-f]{12})"', page.text)
    assert link
    assert "max-age=31536000" in client.get(link[1]).headers["Cache-Control"]
    assert page.headers["Cache-Control"] == "private, no-cache"
