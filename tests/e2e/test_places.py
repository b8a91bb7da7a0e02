"""Apps side by side on one server: below paths of one domain, at ports of their own, on Debian 12 and 13."""

import re
import socket
import sqlite3
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest
from encrypted import own_certificate
from standing import Ran, Server, machine
from test_examples import Example
from test_site_settings import OTHER, asked, bridge_of
from visiting import elsewhere, visitors, wait_for

from deploy import sandbox

DOMAIN = "shared.example"


class Below(Example):
    """An example below a path of a domain that all of them share; or at a port."""

    def __init__(
        self, directory: Path, machine: sandbox.Machine, name: str, stage: str, domain: str = DOMAIN, tls: str = "off"
    ) -> None:
        self.stage, self.shared, self.kind = stage, domain, tls
        super().__init__(directory / name / "project", machine, name)

    def write_config(self, app: str = "", *unused: str) -> None:
        self.domain_name = self.shared
        super().write_config(app)
        text = (self.directory / "deploy.toml").read_text()
        text = text if self.shared else re.sub(r"^domain = .*\n", "", text, flags=re.M)
        text = text.replace('tls = "off"', f'tls = "{self.kind}"')
        (self.directory / "deploy.toml").write_text(f"{text}{self.stage}\n")


def get(server: sandbox.Machine, path: str, host: str = DOMAIN, port: int = 80) -> tuple[int, str, dict[str, str]]:
    connection = HTTPConnection(server.address, port, timeout=15)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.getheaders())
    finally:
        connection.close()


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def debian(request: pytest.FixtureRequest) -> Iterator[sandbox.Machine]:
    with machine(f"pl-{request.param}", release=request.param) as made:
        yield made


def test_flask_fastapi_and_django_build_right_urls_below_a_path(debian: sandbox.Machine, tmp_path: Path):
    hello = Below(tmp_path, debian, "hello", "")
    hello.deploy()
    book = Below(tmp_path, debian, "factory", 'path = "/book/"')
    said = book.deploy().out
    assert f"http://{DOMAIN}/book/" in said
    status, page, _ = get(debian, "/book/")
    assert status == 200 and 'href="/book/static/style.css"' in page, page
    assert get(debian, "/book/static/style.css")[0] == 200
    assert get(debian, "/book")[0] == 301
    chat = Below(tmp_path, debian, "fastapi", 'path = "/chat/"')
    chat.deploy()
    assert '"/chat/openapi.json"' in get(debian, "/chat/docs")[1].replace("'", '"')
    board = Below(tmp_path, debian, "django", 'path = "/board/"')
    board.deploy()
    status, page, _ = get(debian, "/board/")
    style = re.search(r'href="(/board/static/board/style\.[0-9a-f]{12}\.css)"', page)
    assert status == 200 and style, page
    assert get(debian, style[1])[0] == 200
    assert get(debian, "/")[1] == "Hello from the server\n"
    assert "nothing new: 0 changed" in board.deploy().out and "nothing new: 0 changed" in hello.deploy().out


def test_an_app_below_a_path_is_removed_and_rolled_back_without_the_others_noticing(
    debian: sandbox.Machine, tmp_path: Path
):
    hello = Below(tmp_path, debian, "hello", "")
    hello.deploy()
    book = Below(tmp_path, debian, "factory", 'path = "/book/"')
    book.deploy()
    board = Below(tmp_path, debian, "django", 'path = "/board/"')
    board.deploy()
    assert "hello is needed by other apps on this server" in hello.fab("remove", "--yes", status=1).err
    with visitors(debian.address, DOMAIN, "/board/", 4, reloads=True) as answers:
        book.replace("guestbook/templates/entries.html", "<h1>Guest book</h1>", "<h1>Our guest book</h1>")
        book.deploy()
        assert "Our guest book" in get(debian, "/book/")[1]
        book.fab("rollback")
        assert "Our guest book" not in get(debian, "/book/")[1]
        book.fab("maintenance", "on")
        with elsewhere(bridge_of(debian), f"{OTHER}/32"):
            Server(debian).script(f"ip route replace {OTHER} dev host0")
            assert asked(debian, "/book/", source=OTHER, host=DOMAIN).startswith("HTTP/1.1 503")
            assert asked(debian, "/book/healthz", source=OTHER, host=DOMAIN).startswith("HTTP/1.1 200")
            assert asked(debian, "/", source=OTHER, host=DOMAIN).startswith("HTTP/1.1 200")
        assert get(debian, "/book/")[0] == 200, "the operator's own address"
        book.fab("maintenance", "off")
        book.fab("remove", "--yes")
    assert set(answers.statuses) == {200} and len(answers.statuses) > 50
    assert get(debian, "/book/")[0] == 404 and get(debian, "/")[0] == 200
    for app in (board, Below(tmp_path, debian, "fastapi", 'path = "/chat/"'), hello):
        app.fab("remove", "--yes", "--purge")
    left = Server(debian).script("ls /srv /etc/nginx/ashore/mounted /etc/nginx/sites-enabled")
    assert "shared.example" not in left and "board" not in left


@contextmanager
def posting(server: sandbox.Machine, host: str, clients: int = 4) -> Iterator[list[int | str]]:
    """Entries for the guest book, each sent once, on kept connections that are made anew only after "close"."""
    answers: list[int | str] = []
    stop = threading.Event()

    def post() -> None:
        connection = HTTPConnection(server.address, timeout=15)
        headers = {"Host": host, "Content-Type": "application/x-www-form-urlencoded"}
        while not stop.wait(0.01):
            try:
                connection.request("POST", "/", "name=Ada&said=it+works", headers)
                answer = connection.getresponse()
                answer.read()
                answers.append(answer.status)
            except (OSError, HTTPException) as error:
                answers.append(repr(error))
                connection.close()

    threads = [threading.Thread(target=post) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(answers) > clients, "first answers")
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def rows(server: Server) -> int:
    """How many entries the guest book has."""
    path = server.machine.root / "var/lib/guestbook/instance/guestbook.db"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as book:
        ((table,),) = book.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        return int(book.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_of_two_apps_one_is_removed_under_load_of_the_other(debian: sandbox.Machine, tmp_path: Path):
    hello = Below(tmp_path, debian, "hello", "", domain="hello.example")
    hello.deploy()
    book = Below(tmp_path, debian, "factory", "", domain="book.example")
    book.deploy()
    with posting(debian, "book.example") as answers:
        hello.fab("remove", "--yes", "--purge")
        hello.fab("provision", "deploy")
        hello.fab("remove", "--yes", "--purge")
    assert set(answers) == {303} and len(answers) > 100
    assert rows(Server(debian)) == len(answers)
    book.fab("remove", "--yes", "--purge")


def test_apps_share_a_bare_address_by_their_ports(debian: sandbox.Machine, tmp_path: Path):
    hello = Below(tmp_path, debian, "hello", "port = 8001", domain="")
    said = hello.deploy().out
    assert f"http://{debian.address}:8001/" in said
    book = Below(tmp_path, debian, "factory", "port = 8002", domain="")
    book.deploy()
    address = debian.address
    assert get(debian, "/", f"{address}:8001", 8001)[1] == "Hello from the server\n"
    assert "Guest book" in get(debian, "/", f"{address}:8002", 8002)[1]
    with pytest.raises(OSError):  # nobody else's name
        get(debian, "/", "other.example", 8001)
    assert "nothing new: 0 changed" in hello.deploy().out
    hello.fab("remove", "--yes", "--purge")
    assert "8001" not in Server(debian).script("nft list table inet ashore")
    assert "Guest book" in get(debian, "/", f"{address}:8002", 8002)[1]
    book.fab("remove", "--yes", "--purge")


def test_places_that_others_have_are_refused_before_anything_is_changed(debian: sandbox.Machine, tmp_path: Path):
    hello, server = Below(tmp_path, debian, "hello", ""), Server(debian)
    hello.deploy()
    book = Below(tmp_path, debian, "factory", 'path = "/book/"')
    book.deploy()
    server.script("systemd-run --quiet --unit=other python3 -m http.server 8009")
    before = server.script("ls -R /srv/*/releases /etc/nginx | md5sum")

    def refused(name: str, stage: str, why: str, command: str = "deploy", domain: str = DOMAIN) -> None:
        other = Below(tmp_path / command / re.sub(r"\W+", "-", why), debian, "hello", "")
        other.stage = stage
        text = (other.directory / "deploy.toml").read_text()
        text = text.replace('name = "hello"', f'name = "{name}"').replace(DOMAIN, domain)
        (other.directory / "deploy.toml").write_text(text + stage + "\n")
        ran: Ran = other.fab(command, status=1)
        assert why in ran.err, ran.err

    refused("hello", 'path = "/other/"', "other apps are below shared.example, which hello would leave")
    refused("hello", "", "which hello would leave: guestbook at /book/", domain="new.example")
    refused("second", "port = 8009", "port 8009 is taken by", command="provision")
    assert server.script("ls -R /srv/*/releases /etc/nginx | md5sum") == before
    server.script("systemctl stop other")
    for app in (book, hello):
        app.fab("remove", "--yes", "--purge")


def test_a_port_and_a_path_have_https_too(debian: sandbox.Machine, tmp_path: Path):
    chain, key = own_certificate(tmp_path, ["safe.example"])
    own = f'certificate = "{chain}"\ncertificate_key = "{key}"\n'
    hello = Below(tmp_path, debian, "hello", own, domain="safe.example", tls="files")
    hello.deploy()
    book = Below(tmp_path, debian, "factory", 'path = "/book/"', domain="safe.example", tls="acme")
    assert "https://safe.example/book/" in book.deploy().out
    assert secure(debian, "/book/", 443)[:2] == (200, "<!doc")
    assert get(debian, "/book/", "safe.example")[0] == 301
    chat = Below(tmp_path, debian, "fastapi", f"port = 8443\n{own}", domain="safe.example", tls="files")
    assert "https://safe.example:8443/" in chat.deploy().out
    status, _, hsts = secure(debian, "/healthz", 8443)
    assert (status, hsts) == (200, None)
    assert secure(debian, "/", 443)[2] is not None
    status, _, headers = get(debian, "/x", "safe.example:8443", 8443)
    assert (status, headers["Location"]) == (301, "https://safe.example:8443/x")
    with pytest.raises(ssl.SSLError):  # nobody else's name
        secure(debian, "/", 8443, "other.example")
    assert "the certificate is that of the app hello" in book.fab("tls.renew", status=1).err
    assert "nothing new: 0 changed" in book.deploy().out and "nothing new: 0 changed" in chat.deploy().out
    for app in (book, chat, hello):
        app.fab("remove", "--yes", "--purge")


def secure(server: sandbox.Machine, path: str, port: int, name: str = "safe.example") -> tuple[int, str, str | None]:
    """Status, the beginning of the body, and the header of HSTS, whatever the certificate is."""
    context = ssl._create_unverified_context()
    link = context.wrap_socket(socket.create_connection((server.address, port), 15), server_hostname=name)
    connection = HTTPConnection(server.address, port, timeout=15)
    connection.sock = link
    connection.request("GET", path, headers={"Host": name if port == 443 else f"{name}:{port}"})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()[:5], answer.getheader("Strict-Transport-Security")
    connection.close()
    return found


def test_the_first_app_below_a_path_has_a_domain_that_nobody_else_has(debian: sandbox.Machine, tmp_path: Path):
    book = Below(tmp_path, debian, "factory", 'path = "/book/"', domain="bare.example")
    book.deploy()
    assert get(debian, "/book/", "bare.example")[0] == 200 and get(debian, "/", "bare.example")[0] == 404
    chat = Below(tmp_path, debian, "fastapi", 'path = "/chat/"', domain="bare.example")
    chat.deploy()
    assert get(debian, "/chat/healthz", "bare.example")[0] == 200
    hello = Below(tmp_path, debian, "hello", "", domain="bare.example")
    assert "bare.example is used by the app guestbook, below /book/" in hello.fab("deploy", status=1).err
    assert "guestbook is needed by other apps on this server: chat" in book.fab("remove", "--yes", status=1).err
    book.replace("guestbook/templates/entries.html", "<h1>Guest book</h1>", "<h1>Our guest book</h1>")
    with visitors(debian.address, "bare.example", "/chat/healthz", 4, reloads=False) as answers:
        book.deploy()
        book.fab("rollback")
    assert set(answers.statuses) == {200}, "a deploy reloads nothing"
    for app in (chat, book, hello):
        app.fab("remove", "--yes", "--purge")
