"""An app that is a server of its own, on $PORT: switched without loss, and nobody but the proxy reaches its port."""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from queued import Queue
from standing import Server, machine
from test_load import Visitors
from visiting import wait_for

from deploy import sandbox

SERVER = """
import http.server, json, os, socket, sys, time


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/slow":
            time.sleep(1)
        out = "none"
        if self.path == "/out":
            try:
                socket.create_connection((os.environ["OUTSIDE"], 22), 2)
                out = "connected"
            except OSError as error:
                out = repr(error)
        names = ("X-Forwarded-For", "X-Forwarded-Proto", "Host")
        seen = {"release": os.environ["RELEASE_ID"], "port": os.environ["PORT"], "out": out}
        body = sent or json.dumps(seen | {name: self.headers.get(name) for name in names}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *words):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


Server((sys.argv[1], int(sys.argv[2])), Answer).serve_forever()
"""


def gateway(machine: sandbox.Machine) -> str:
    """This machine, as a sandbox sees it."""
    return f"{machine.address.rpartition('.')[0]}.1"


class Board(Queue):
    procfile = "web: python server.py 0.0.0.0 $PORT\n"

    def __init__(self, directory: Path, machine: sandbox.Machine) -> None:
        super().__init__(directory, machine, "board.example")
        (directory / "server.py").write_text(SERVER)
        self.commit()

    def write_config(self, app: str = "", *unused: str) -> None:
        super().write_config(f'{app}\nenv = {{ OUTSIDE = "{gateway(self.machine)}" }}')
        file = self.directory / "deploy.toml"
        file.write_text(file.read_text().replace('wsgi = "main:app"\n', ""))

    def seen(self, path: str = "/") -> dict[str, str]:
        return json.loads(self.server.get(path, self.domain)[1])


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def debian(request: pytest.FixtureRequest) -> Iterator[sandbox.Machine]:
    with machine(f"po-{request.param}", release=request.param) as made:
        yield made


@pytest.fixture
def board(debian: sandbox.Machine, tmp_path: Path) -> Board:
    made = Board(tmp_path / "board", debian)
    if "board" not in made.server.run("ls", "/srv"):
        made.fab("provision")
    made.fab("deploy")
    return made


def reached_by(server: Server, user: str, port: str) -> bool:
    """Whether a user of the server can connect to a port of it."""
    script = f"import socket; socket.create_connection(('127.0.0.1', {port}), 3)"
    return "yes" in server.script(
        f'setpriv --reuid {user} --clear-groups python3 -c "{script}" && echo yes', check=False
    )


def test_only_the_proxy_and_the_app_reach_the_port(board: Board):
    seen = board.seen()
    assert seen["X-Forwarded-Proto"] == "http" and seen["Host"] == "board.example"
    assert seen["X-Forwarded-For"] == gateway(board.machine)
    assert reached_by(board.server, "root", seen["port"]) and reached_by(board.server, "board", seen["port"])
    assert not reached_by(board.server, "nobody", seen["port"]) and not reached_by(
        board.server, "www-data", seen["port"]
    )
    board.server.script("nft list tables | grep -q 'inet ashore$' && nft delete table inet ashore || true")
    with pytest.raises(OSError), socket.create_connection((board.machine.address, int(seen["port"])), 3):
        pass
    bridge = f"board-bridge-{board.current}.service"
    said = board.server.run("systemd-analyze", "security", "--no-pager", bridge).splitlines()[-1]
    assert float(said.split(":")[1].split()[0]) <= 1.5, said
    board.fab("provision")
    board.server.run("systemctl", "stop", f"board@{board.current}.service")
    assert seen["port"] not in board.server.run("nft", "list", "table", "inet", "ashore_ports")
    board.fab("deploy")
    assert board.seen()["release"] == board.current


def test_deploys_under_load_lose_no_request(board: Board):
    first = board.current
    kinds = (
        ("POST", "/", True, 0.01),
        ("POST", "/", False, 0.01),
        ("GET", "/", True, 0.01),
        ("GET", "/slow", True, 0.0),
    )
    with Visitors(board.machine.address, board.domain).at(*kinds, each=2) as visitors:
        for _ in range(2):
            board.change()
            board.fab("deploy")
        board.fab("rollback")
    assert board.current > first and visitors.failures == [] and visitors.answered["/slow"] > 4


def test_an_app_without_a_network_answers_all_the_same(board: Board):
    assert "unreachable" not in board.seen("/out")["out"]
    board.change(app="outbound = false")
    board.fab("deploy")
    seen = board.seen("/out")
    assert seen["release"] == board.current and "unreachable" in seen["out"]
    assert not reached_by(board.server, "root", seen["port"]), "its network is its own"
    board.change(app="")
    board.fab("deploy")


def listening_as_nobody(server: Server, script: str, port: int) -> None:
    """A program of another user, as the unit squatter, that listens on a port."""
    server.script(f'systemd-run --quiet --collect --unit=squatter --uid=nobody python3 -c "{script}"')
    wait_for(lambda: f":{port}" in server.run("ss", "-Hltn"), "the other program")


def test_a_port_that_is_taken_is_left_alone(board: Board):
    taken = [int(board.seen()["port"]) + more for more in (1, 2)]
    script = f"import socket, time; kept = [socket.create_server(('', port)) for port in {taken}]; time.sleep(600)"
    listening_as_nobody(board.server, script, taken[-1])
    try:
        board.change()
        board.fab("deploy")
        assert int(board.seen()["port"]) not in taken and board.seen()["release"] == board.current
    finally:
        board.server.run("systemctl", "stop", "squatter")


WRONG = {
    "python server.py 127.0.0.1 5000": "it does not listen on $PORT, which is",
    "sleep 1000": "it does not listen on $PORT, which is",
    "python no_such_file.py": "No such file or directory",
}


@pytest.mark.debian("bookworm")
def test_one_that_does_not_listen_on_its_port_fails_the_deploy_and_says_so(board: Board):
    before = board.current
    for command, said in WRONG.items():
        board.change(procfile=f"web: {command}\n", app="health_seconds = 3")
        err = board.fab("deploy", status=1).err
        assert said in err, err
        assert ("it listens on 5000" in err) == ("5000" in command)
        assert board.seen()["release"] == board.current == before
    listening = board.server.run("nft", "list", "set", "inet", "ashore_ports", "ports")
    assert listening.count("210") == 1, "the ports of what failed are nobody's again"


@pytest.mark.debian("bookworm")
def test_a_stranger_on_the_port_gets_no_visitor(board: Board):
    """An app that waits before it binds its port, and a program of another user that is faster."""
    before = board.current
    (board.directory / "late.py").write_text("import time\nprint('late', flush=True)\ntime.sleep(1000)\n")
    board.change(procfile="web: python late.py\n", app="health_seconds = 5")
    own = f"PORT={board.seen()['port']}"
    process = board.start("deploy")
    others = wait_for(lambda: {*board.server.script("cat /run/board/*/port").split()} - {own}, "its port")
    port = int(others.pop().removeprefix("PORT="))
    answering = "http.server.HTTPServer(('127.0.0.1', PORT), http.server.SimpleHTTPRequestHandler).serve_forever()"
    listening_as_nobody(board.server, f"import http.server; {answering}".replace("PORT", str(port)), port)
    try:
        err = process.ended()[1]
        assert process.returncode == 1 and "it does not listen on $PORT" in err, err
        assert board.seen()["release"] == board.current == before
    finally:
        with suppress(AssertionError):
            board.server.run("systemctl", "stop", "squatter")


@pytest.mark.debian("bookworm")
def test_it_comes_back_after_a_kill_and_after_a_reboot(board: Board):
    board.server.script(f"systemctl kill -s KILL board@{board.current}.service")
    wait_for(lambda: board.server.get("/", board.domain)[0] == 200, "the app, started anew")
    board.server.script(f"systemctl kill -s KILL board-bridge-{board.current}.service")
    wait_for(lambda: board.server.get("/", board.domain)[0] == 200, "the bridge, started anew")
    sandbox.reboot(board.machine.name)

    def answers() -> bool:
        with suppress(OSError):
            return board.server.get("/", board.domain)[0] == 200
        return False

    wait_for(answers, "the app after a reboot")
    assert not reached_by(board.server, "nobody", board.seen()["port"])
