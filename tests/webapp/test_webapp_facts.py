"""The three questions, and whom the app believes about the third."""

import platform
import re
import socket
import time
from importlib.metadata import version

import pytest
from flask.testing import FlaskClient
from serving import RELEASE, Gunicorn

from webapp import facts

FROM_NGINX = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "shop.example.com",
    "X-Request-ID": "8f14e45fceea167a5a36dedd4bea2543",
    "Via": "1.1 web1 (nginx/1.22.1)",
}


def answers(page: str) -> dict[str, str]:
    return dict(re.findall(r"<dt>(.+?)</dt><dd>(.*?)</dd>", page))


def hops(page: str) -> list[tuple[str, str]]:
    return re.findall(r'<div class="hop[^"]*"><b>(.+?)</b><span>(.*?)</span></div>', page)


def test_the_page_says_where_it_is_running(client: FlaskClient) -> None:
    found = answers(client.get("/").text)
    assert found["Host"] == socket.gethostname()
    assert found["System"] == platform.freedesktop_os_release()["PRETTY_NAME"]
    assert re.fullmatch(r"\d+ \w+( \d+ \w+)?", found["Up for"])
    assert found["Address"]


def test_the_page_says_what_is_running_it(gunicorn: Gunicorn) -> None:
    found = answers(gunicorn.ask("GET", "/").text)
    assert found["Release"] == RELEASE
    assert found["Gunicorn"] == version("gunicorn")
    assert re.fullmatch(r"process \d+, \d+ threads?", found["Worker"])
    assert found["This thread"].startswith("ThreadPoolExecutor")
    assert found["Python"] == platform.python_version()
    assert found["Flask"] == version("flask")


def test_the_page_says_how_users_reach_it(gunicorn: Gunicorn) -> None:
    page = gunicorn.ask("GET", "/", headers=FROM_NGINX).text
    found = answers(page)
    assert found["Scheme"] == "https"
    assert found["Host asked for"] == "shop.example.com"
    assert found["Your address"] == "203.0.113.9"
    assert found["Nginx"] == "1.1 web1 (nginx/1.22.1)"
    assert found["Listening on"] == str(gunicorn.socket)
    assert found["Request ID"] == "8f14e45fceea167a5a36dedd4bea2543"
    assert [name for name, _ in hops(page)] == ["Browser", "Nginx", "Gunicorn", "Flask"]


def test_over_a_unix_socket_without_a_proxy_the_page_still_answers(gunicorn: Gunicorn) -> None:
    found = answers(gunicorn.ask("GET", "/").text)
    assert (found["Your address"], found["Nginx"], found["Request ID"]) == ("unknown", "none: direct", "none")


def test_forged_headers_are_not_believed_over_tcp(client: FlaskClient) -> None:
    page = client.get("/", headers=FROM_NGINX).text
    found = answers(page)
    assert found["Your address"] == "127.0.0.1"
    assert found["Scheme"] == "http"
    assert found["Host asked for"] == "localhost"
    assert found["Nginx"] == "none: direct"
    assert found["Request ID"] == "none"
    assert "Nginx" not in dict(hops(page))


def test_of_several_forwarded_addresses_only_the_proxys_own_counts(proxied: FlaskClient) -> None:
    page = proxied.get("/", headers={**FROM_NGINX, "X-Forwarded-For": "10.6.6.6, 203.0.113.9"}).text
    assert answers(page)["Your address"] == "203.0.113.9"


def test_headers_are_shown_as_text(proxied: FlaskClient) -> None:
    page = proxied.get("/", headers={**FROM_NGINX, "Via": "<script>alert(1)</script>"}).text
    assert "<script" not in page


def test_what_cannot_be_found_out_is_unknown(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError("not in this box")

    monkeypatch.setattr(platform, "freedesktop_os_release", refuse)
    monkeypatch.setattr(platform, "system", lambda: "")
    monkeypatch.setattr(platform, "release", lambda: "")
    monkeypatch.setattr(socket, "gethostname", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    response = client.get("/")
    found = answers(response.text)
    assert response.status_code == 200
    assert [found["Host"], found["System"], found["Address"]] == ["unknown"] * 3


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 seconds"),
        (61, "1 minute 1 second"),
        (3600, "1 hour"),
        (3 * 86400 + 4 * 3600 + 59, "3 days 4 hours"),
        (86400 + 59, "1 day"),
    ],
)
def test_uptime_is_told_in_two_units(seconds: float, text: str) -> None:
    assert facts.duration(seconds) == text


def test_a_page_takes_a_few_milliseconds(client: FlaskClient) -> None:
    client.get("/")
    times = []
    for _ in range(20):
        start = time.perf_counter()
        client.get("/")
        times.append(time.perf_counter() - start)
    assert sorted(times)[10] < 0.05  # about 0.003 on an idle machine
