"""The visitors' book: what it keeps, what it refuses, and who may write at the same time."""

import re
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from serving import RELEASE, form_token, served
from werkzeug.test import TestResponse

from webapp import create_app, visitors
from webapp.visitors import Book, BookUnavailable, Draft

Sign = Callable[..., TestResponse]


def names(page: str) -> list[str]:
    return re.findall(r'<h3 dir="auto">(.*?)</h3>', page)


def test_an_empty_book_says_so(client: FlaskClient) -> None:
    assert "No entries yet." in client.get("/").text


def test_an_entry_is_shown_with_its_time_and_release(client: FlaskClient, sign: Sign) -> None:
    response = sign("Ada", "Hello\r\nthere")
    page = client.get("/").text
    assert (response.status_code, response.location) == (303, "/#visitor-1")
    assert names(page) == ["Ada"]
    assert "Hello\nthere" in page
    assert re.search(r'<time datetime="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ">.* UTC</time>', page)
    assert f'<span class="tag current">{RELEASE} <i>this release</i></span>' in page


def test_entries_outlive_releases(sign: Sign, monkeypatch: pytest.MonkeyPatch) -> None:
    sign("Ada")
    monkeypatch.setenv("RELEASE_ID", "20260302-000000")
    page = create_app().test_client().get("/").text
    assert names(page) == ["Ada"]
    assert f'<span class="tag">{RELEASE}</span>' in page


def test_the_newest_comes_first_fifty_to_a_page(app: object, client: FlaskClient, data: Path) -> None:
    book = Book(data / "visitors.sqlite3")
    for number in range(1, 121):
        book.add(Draft(f"visitor {number}", "x"), RELEASE)
    seen, address = [], "/"
    while address:
        page = client.get(address).text
        found = names(page)
        assert len(found) <= 50
        seen += found
        older = re.search(r'href="([^"#]+)[^"]*" rel="next"', page)
        address = older[1] if older else ""
    assert seen == [f"visitor {number}" for number in range(120, 0, -1)]


@pytest.mark.parametrize("before", ["0", "-1", "99999999999999999999"])
def test_a_page_that_cannot_be_is_not_found(client: FlaskClient, before: str) -> None:
    assert client.get(f"/?before={before}").status_code == 404


@pytest.mark.parametrize(
    ("name", "message", "complaint"),
    [
        ("", "Hello", "Please tell us your name."),
        (" \t\u200b ", "Hello", "Please tell us your name."),
        ("x" * 61, "Hello", "Your name has 61 characters; the book takes up to 60."),
        ("Ada", " \r\n ", "Please write a message."),
        ("Ada", "x" * 501, "Your message has 501 characters; the book takes up to 500."),
    ],
)
def test_a_refused_entry_is_explained_and_kept_in_the_form(
    client: FlaskClient, sign: Sign, name: str, message: str, complaint: str
) -> None:
    response = sign(name, message)
    assert response.status_code == 400
    assert complaint in response.text
    assert f'value="{name}"' in response.text
    assert names(client.get("/").text) == []


def test_the_limits_count_what_is_kept(sign: Sign) -> None:
    assert sign(f"  {'é' * 60}  ", "a\r\n" * 250).status_code == 303


def test_what_visitors_write_is_text_and_never_markup(client: FlaskClient, sign: Sign) -> None:
    attack = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    sign(attack, attack + "</textarea>")
    for page in (client.get("/").text, sign(attack, attack * 20).text):
        assert "<script" not in page
        assert "<img src=x" not in page
        assert page.count("</textarea>") == 1


@pytest.mark.parametrize("token", ["", "wrong", "wröng"])
def test_a_form_without_our_token_is_refused(client: FlaskClient, token: str) -> None:
    client.get("/")
    response = client.post("/visitors", data={"name": "Eve", "message": "forged", "form_token": token})
    assert response.status_code == 400
    assert "This form had expired." in response.text
    assert names(client.get("/").text) == []


def test_a_token_of_another_session_is_refused(client: FlaskClient) -> None:
    token = form_token(client.get("/").text)
    other = create_app().test_client()
    assert other.post("/visitors", data={"name": "E", "message": "x", "form_token": token}).status_code == 400
    other.get("/")
    assert other.post("/visitors", data={"name": "E", "message": "x", "form_token": token}).status_code == 400


def test_a_book_that_cannot_be_opened_leaves_the_page(client: FlaskClient, sign: Sign, data: Path) -> None:
    token = form_token(client.get("/").text)
    book = data / "visitors.sqlite3"
    book.unlink()
    book.mkdir()
    response = client.post("/visitors", data={"name": "Ada", "message": "Keep me", "form_token": token})
    assert client.get("/").status_code == 200
    assert "The book cannot be opened just now." in client.get("/").text
    assert response.status_code == 503
    assert "Keep me" in response.text


def test_the_book_keeps_a_write_ahead_log(sign: Sign, data: Path) -> None:
    sign()
    with closing(sqlite3.connect(data / "visitors.sqlite3")) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_creating_the_book_leaves_nothing_beside_it(client: FlaskClient, data: Path) -> None:
    client.get("/")
    assert [file.name for file in data.iterdir()] == ["visitors.sqlite3"]


def write_many(path: Path, writer: int, count: int) -> list[str]:
    book = Book(path)
    failures = []
    for number in range(count):
        try:
            book.add(Draft(f"{writer}/{number}", "x"), RELEASE)
            book.page()
        except BookUnavailable as error:
            failures.append(str(error))
    return failures


@pytest.mark.parametrize("round_number", range(5))
def test_many_processes_may_open_and_write_a_new_book_at_once(tmp_path: Path, round_number: int) -> None:
    path = tmp_path / "visitors.sqlite3"
    with get_context("spawn").Pool(8) as pool:
        failures = pool.starmap(write_many, [(path, writer, 10) for writer in range(16)], chunksize=1)
    assert [failure for found in failures for failure in found] == []
    assert Book(path).page().entry_count == 160


def test_many_threads_may_open_and_write_a_new_book_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visitors, "BUSY_SECONDS", 60)  # a busy disk is no failure
    path = tmp_path / "visitors.sqlite3"
    with ThreadPoolExecutor(16) as pool:
        failures = [found for found in pool.map(lambda writer: write_many(path, writer, 20), range(16)) if found]
    assert failures == []
    assert Book(path).page().entry_count == 320


def test_visitors_of_two_releases_at_once_lose_no_entry(tmp_path: Path, data: Path) -> None:
    with served(tmp_path, "old") as old, served(tmp_path, "new") as new, ThreadPoolExecutor(16) as pool:
        servers = [old, new] * 60
        statuses = pool.map(lambda at: servers[at].sign(f"visitor {at}", "Hello").status, range(120))
        assert set(statuses) == {303}
        assert "120 entries" in new.ask("GET", "/").text
