"""The examples, as their author has them, on Debian 12 and 13: one server for all of them."""

import re
import shutil
import socket
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import pytest
import websocket
from standing import REPO, Project, Ran, Server, machine
from test_load import Visitors
from visiting import wait_for

from deploy import sandbox


class Example(Project):
    """A copy of an example in a Git repository of its own, for a server of the tests."""

    def __init__(self, directory: Path, machine: sandbox.Machine, name: str) -> None:
        self.example, self.domain_name = name, f"{name}.example"
        super().__init__(directory, machine)
        shutil.rmtree(directory)
        shutil.copytree(REPO / "examples" / name, directory, ignore=shutil.ignore_patterns("__pycache__"))
        self.write_config()
        self.git("init", "-q")
        self.commit("first")
        self.fab("provision")

    def write_config(self, app: str = "", *unused: str) -> None:
        """Its own deploy.toml, for this server, with more lines of [app]."""
        written = (REPO / "examples" / self.example / "deploy.toml").read_text()
        usual = f'watch_seconds = 0\nproxy = "{self.proxy}"\n'
        head = written.partition("[stages")[0].replace("[app]\n", f"[app]\n{usual}{app}\n", 1)
        stage = f'[stages.production]\nhosts = ["{self.hosts[0]}"]\ndomain = "{self.domain_name}"\ntls = "off"\n'
        (self.directory / "deploy.toml").write_text(head + stage)

    def replace(self, path: str, old: str, new: str) -> None:
        file = self.directory / path
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
        self.commit()

    def get(self, path: str = "/") -> tuple[int, str, dict[str, str]]:
        """Status, body and headers; a header that came twice has both values."""
        connection = HTTPConnection(self.machine.address, timeout=15)
        connection.request("GET", path, headers={"Host": self.domain_name})
        answer = connection.getresponse()
        body = answer.read().decode()
        connection.close()
        return answer.status, body, {name: ", ".join(answer.headers.get_all(name)) for name in answer.headers}

    def post(self, body: bytes, kind: str, headers: dict[str, str] | None = None) -> int:
        connection = HTTPConnection(self.machine.address, timeout=15)
        connection.request("POST", "/", body, {"Host": self.domain_name, "Content-Type": kind, **(headers or {})})
        status = connection.getresponse().status
        connection.close()
        return status

    def deploy(self, status: int = 0) -> Ran:
        return self.fab("deploy", status=status)


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def debian(request: pytest.FixtureRequest) -> Iterator[sandbox.Machine]:
    with machine(f"ex-{request.param}", release=request.param) as made:
        yield made


def test_one_file_and_flask_in_the_requirements_are_enough(debian: sandbox.Machine, tmp_path: Path):
    hello = Example(tmp_path / "hello", debian, "hello")
    hello.deploy()
    assert hello.get()[:2] == (200, "Hello from the server\n")
    assert "nothing new: 0 changed" in hello.deploy().out


def test_the_instance_directory_outlives_releases_without_a_setting(debian: sandbox.Machine, tmp_path: Path):
    book = Example(tmp_path / "guestbook", debian, "factory")
    book.deploy()
    assert (
        book.post(urlencode({"name": "Ada", "said": "it works"}).encode(), "application/x-www-form-urlencoded") == 303
    )
    book.replace("guestbook/templates/entries.html", "<h1>Guest book</h1>", "<h1>Our guest book</h1>")
    book.deploy()
    status, page, _ = book.get()
    assert status == 200 and "Our guest book" in page and "<b>Ada</b> it works" in page
    server = Server(debian)
    assert "guestbook.db" in server.run("ls", "/var/lib/guestbook/instance")
    assert server.run("stat", "-Lc", "%U %a", "/srv/guestbook/current/source/instance").split() == ["guestbook", "700"]


def test_django_has_its_static_files_uploads_and_migrations(debian: sandbox.Machine, tmp_path: Path):
    board = Example(tmp_path / "board", debian, "django")
    is_first = not Server(debian).run("ls", "/srv/board/releases")
    said = board.deploy().out
    assert "collectstatic runs as the build command" in said and "data in /var/lib/board: media, db.sqlite3" in said
    assert ("(security.W008) Your SECURE_SSL_REDIRECT setting is not set to True." in said) == is_first
    status, page, headers = board.get()
    style = re.search(r'href="(/static/board/style\.[0-9a-f]{12}\.css)"', page)
    assert status == 200 and style
    status, _, headers = board.get(style[1])
    assert (status, headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")
    pin(board, "<script>alert(1)</script>")
    attached = re.search(r'href="(/media/notes/[\w.]+)"', board.get()[1])
    assert attached
    status, text, headers = board.get(attached[1])
    assert (status, text) == (200, "<script>alert(1)</script>")
    assert "script-src 'none'" in headers["Content-Security-Policy"]


def test_a_change_of_django_s_code_brings_migrations_and_keeps_data(debian: sandbox.Machine, tmp_path: Path):
    board = Example(tmp_path / "board", debian, "django")
    board.deploy()
    pin(board, "kept")
    before = re.search(r"/static/board/style\.[0-9a-f]{12}\.css", board.get()[1])[0]
    (board.directory / "board/migrations/0002_author.py").write_text(
        "from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n"
        '    dependencies = [("board", "0001_initial")]\n'
        '    operations = [migrations.AddField("note", "author", models.CharField(default="", max_length=50))]\n'
    )
    board.replace(
        "board/models.py", "    made =", '    author = models.CharField(max_length=50, default="")\n    made ='
    )
    board.replace("board/static/board/style.css", "40rem", "44rem")
    said = board.deploy().out
    assert "1 new migration (board.0002_author): `release_command` applies them" in said
    status, page, _ = board.get()
    after = re.search(r"/static/board/style\.[0-9a-f]{12}\.css", page)[0]
    assert status == 200 and after != before and "a note" in page
    assert board.get(before)[0] == 200, "pages that were loaded before the switch need it"
    board.fab("rollback")
    assert before in board.get()[1] and board.get(before)[0] == 200


def test_a_link_among_uploads_leads_nowhere(debian: sandbox.Machine, tmp_path: Path):
    board = Example(tmp_path / "board", debian, "django")
    board.deploy()
    server = Server(debian)
    server.script("ln -sfn ../../../../srv/board/current/source/config /var/lib/board/media/leak")
    assert board.get("/media/leak/settings.py")[0] in (403, 404)
    server.script("ln -sfn /var/lib/board/db.sqlite3 /var/lib/board/media/leak2")
    assert board.get("/media/leak2")[0] in (403, 404)
    # Nor does one in the place of the directory itself, which is the app's own.
    server.script("cd /var/lib/board && mv media kept && ln -s /srv/board/current/source/config media")
    assert board.get("/media/settings.py")[0] in (403, 404)
    server.script("cd /var/lib/board && rm media && mv kept media")


def test_a_websocket_and_an_event_stream_pass_by_the_proxy(debian: sandbox.Machine, tmp_path: Path):
    chat = Example(tmp_path / "chat", debian, "fastapi")
    assert "Uvicorn" in chat.deploy().out
    with socket.create_connection((debian.address, 80), timeout=30) as reading:
        reading.sendall(
            f"GET /messages HTTP/1.1\r\nHost: {chat.domain_name}\r\nAccept: text/event-stream\r\n\r\n".encode()
        )
        assert b"welcome" in until(reading, b"welcome")
        talking = websocket.create_connection(f"ws://{debian.address}/talk", host=chat.domain_name, timeout=30)
        talking.send("hello")
        assert talking.recv() == "hello"
        assert b'data: "hello"' in until(reading, b"hello")
        talking.close()
    status, said, _ = chat.get("/address")
    assert status == 200 and '"scheme":"http"' in said and '"client":"10.' in said


def until(connection: socket.socket, wanted: bytes) -> bytes:
    """What comes until a word does."""
    said = b""
    while wanted not in said and (data := connection.recv(4096)):
        said += data
    return said


def pin(board: Example, text: str) -> None:
    """Pin a note to the board by its form, with a file."""
    connection = HTTPConnection(board.machine.address, timeout=15)
    connection.request("GET", "/", headers={"Host": board.domain_name})
    answer = connection.getresponse()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', answer.read().decode())[1]
    cookie = answer.getheader("Set-Cookie").partition(";")[0]
    connection.close()
    parts = [("csrfmiddlewaretoken", "", token), ("text", "", "a note"), ("attached", '; filename="note.html"', text)]
    body = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n{value}\r\n' for name, file, value in parts
    )
    assert board.post(f"{body}--x--\r\n".encode(), "multipart/form-data; boundary=x", {"Cookie": cookie}) == 302


def test_a_worker_does_what_the_web_process_is_asked_and_a_timer_runs(debian: sandbox.Machine, tmp_path: Path):
    queue = Example(tmp_path / "queue", debian, "queue")
    said = queue.deploy().out
    assert "processes: worker × 2 running" in said and "timers: sweep running" in said
    assert "sweep at 03:00 Europe/Berlin" in " ".join(said.split())
    for name in ("Ada", "Grace"):
        assert queue.post(f"name={name}".encode(), "application/x-www-form-urlencoded") == 303
    wait_for(lambda: queue.get()[1].count("all is well") >= 2, "the letters")
    assert "swept" in queue.fab("timers.run", "sweep").out
    assert "wrote letter" in queue.fab("logs", "--process", "worker").out


def test_two_examples_live_side_by_side_and_one_is_removed_under_load_of_the_other(
    debian: sandbox.Machine, tmp_path: Path
):
    queue = Example(tmp_path / "queue", debian, "queue")
    queue.deploy()
    board = Example(tmp_path / "other" / "dashboard", debian, "dashboard")
    board.deploy()
    assert "streamlit" in board.get()[1].lower() and queue.get()[0] == 200
    with socket.create_connection((debian.address, 80), 15) as stream:  # as its page does
        client = websocket.create_connection(
            f"ws://{board.domain_name}/_stcore/stream", socket=stream, timeout=15, origin=f"http://{board.domain_name}"
        )
        assert client.connected
        kinds = (("GET", "/", True, 0.02), ("GET", "/", False, 0.02))
        with Visitors(debian.address, board.domain_name).at(*kinds, each=3) as visitors:
            queue.fab("remove", "--yes")
        assert visitors.failures == [] and visitors.answered["/"] > 50
        assert client.connected
    server = Server(debian)
    units = "cd /etc/systemd/system; ls -d queue@* */queue@* 2>/dev/null || true"
    assert server.script(units) == "" and "letters.db" in server.run("ls", "/var/lib/queue")
    queue.fab("provision")
    queue.deploy()
    assert "all is well" in queue.get()[1], "its data was kept"
