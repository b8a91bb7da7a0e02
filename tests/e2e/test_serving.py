"""Each runner on both Debians: it loses no request, knows its visitors, and streams outlive a switch."""

import json
import re
import socket
import ssl
import time
from collections.abc import Iterator
from http.client import HTTPException

import pytest
import websocket
from encrypted import ALIAS, own_certificate
from keyholder import Holder
from standing import DOMAIN, Project, Server, machine
from test_load import Visitors
from visiting import Secure, wait_for

from deploy import sandbox

ASGI = """
import asyncio, json, os

RELEASE = os.environ["RELEASE_ID"]
state = {"started": False}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            state["started"] = message["type"] == "lifespan.startup"
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            said = [RELEASE, scope["scheme"], scope["client"][0], message.get("text")]
            await send({"type": "websocket.send", "text": json.dumps(said)})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = {name.decode(): value.decode() for name, value in scope["headers"]}
    kind = b"application/json"
    if scope["path"] == "/slow":
        await asyncio.sleep(1)
    if scope["path"] in ("/events", "/pieces"):
        kind = b"text/event-stream" if scope["path"] == "/events" else b"text/plain"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        while True:
            await send({"type": "http.response.body", "body": b"data: piece\\n\\n", "more_body": True})
            try:
                if (await asyncio.wait_for(receive(), 0.2))["type"] == "http.disconnect":
                    return
            except asyncio.TimeoutError:
                pass
    if scope["path"] != "/echo":
        client = (scope["client"] or [""])[0]
        seen = {"release": RELEASE, "scheme": scope["scheme"], "client": client, "pid": os.getpid()}
        body = json.dumps(seen | state | {"upgrade": headers.get("upgrade"), "kind": "ASGI"}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body})


def make():
    return app
"""
WSGI = """
import json, os, time

RELEASE = os.environ["RELEASE_ID"]


def app(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(1)
    if path in ("/events", "/pieces"):
        unbuffered = [] if path == "/events" else [("X-Accel-Buffering", "no")]
        kind = "text/event-stream" if path == "/events" else "text/plain"
        start_response("200 OK", [("Content-Type", kind), *unbuffered])
        return pieces()
    if path != "/echo":
        client = environ["REMOTE_ADDR"] or environ.get("HTTP_X_FORWARDED_FOR", "")
        seen = {"release": RELEASE, "scheme": environ["wsgi.url_scheme"], "client": client, "pid": os.getpid()}
        body = json.dumps(seen | {"upgrade": environ.get("HTTP_UPGRADE"), "kind": "WSGI"}).encode()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [body]


def pieces():
    while True:
        yield b"data: piece\\n\\n"
        time.sleep(0.2)


def make():
    return app
"""
RUNNERS = {
    "uvicorn": ('asgi = "main:app"', "venv/bin/uvicorn "),
    "uvicorn under gunicorn": ('asgi = "main:app"\nworker_class = "uvicorn"', "venv/bin/gunicorn "),
    "hypercorn": ('asgi = "main:make()"\nrunner = "hypercorn"', "venv/bin/hypercorn "),
    "granian": ('asgi = "main:app"\nrunner = "granian"', "venv/bin/granian "),
    "granian, wsgi": ('wsgi = "main:make()"\nrunner = "granian"', "venv/bin/granian "),
    "waitress": ('wsgi = "main:app"\nrunner = "waitress"', "venv/bin/waitress-serve "),
    "gunicorn": ('wsgi = "main:app"', "venv/bin/gunicorn "),
}


class App(Project):
    """A small app of our own, with a certificate of its own."""

    def write_config(self, app: str = "", stage: str = "", name: str = "visitors", wsgi: str = "") -> None:
        certificate = self.directory.parent / "own"
        if not certificate.exists():
            certificate.mkdir()
            own_certificate(certificate, [DOMAIN, ALIAS])
        (self.directory / "requirements.txt").write_text("# nothing\n")
        (self.directory / "deploy.toml").write_text(
            f'[app]\nname = "visitors"\nhealth_path = "/healthz"\nwatch_seconds = 0\nkeep_releases = 30\n'
            f"health_seconds = 20\n{app or RUNNERS['uvicorn'][0]}\n"
            f'[stages.production]\nhosts = {json.dumps(self.hosts)}\ndomain = "{DOMAIN}"\ntls = "files"\n'
            f'certificate = "{certificate}/own.pem"\ncertificate_key = "{certificate}/own.key"\n'
        )

    def set(self, app: str, text: str = "") -> None:
        self.write_config(app)
        speaks_asgi = "asgi" in app or "uvicorn" in app
        (self.directory / "main.py").write_text(text or (ASGI if speaks_asgi else WSGI))
        self.commit()

    def change(self) -> None:
        self.append("main.py", f"# {time.time_ns()}\n")
        self.commit()


DEBIANS = ("bookworm", "trixie")


@pytest.fixture(scope="module", params=DEBIANS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with machine(f"run-{request.param}", release=request.param) as made:
        App(tmp_path_factory.mktemp("first") / "project", made).fab("provision")
        yield Server(made)


@pytest.fixture(scope="module")
def app(server: Server, tmp_path_factory: pytest.TempPathFactory) -> App:
    return App(tmp_path_factory.mktemp("app") / "project", server.machine)


def get(server: Server, path: str = "/", **headers: str) -> dict:
    connection = Secure(server.machine.address, DOMAIN)
    connection.request("GET", path, headers={"Host": DOMAIN} | headers)
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    assert answer.status == 200, (answer.status, said)
    return json.loads(said)


def answered(server: Server) -> str:
    """The release that answers; "" where none does."""
    try:
        return str(get(server)["release"])
    except (OSError, HTTPException, AssertionError):
        return ""


def here(server: Server) -> str:
    """Our address, as the server sees it."""
    with socket.create_connection((server.machine.address, 443)) as connection:
        return str(connection.getsockname()[0])


def opened(server: Server) -> websocket.WebSocket:
    unchecked = {"cert_reqs": ssl.CERT_NONE, "check_hostname": False}
    plain = socket.create_connection((server.machine.address, 443), 20)
    context = ssl._create_unverified_context()
    made = context.wrap_socket(plain, server_hostname=DOMAIN)
    return websocket.create_connection(f"wss://{DOMAIN}/ws", socket=made, sslopt=unchecked, timeout=20)


def asked(open_socket: websocket.WebSocket, text: str = "hello") -> list[str]:
    """[release, scheme, our address, the text] of an open WebSocket."""
    open_socket.send(text)
    return json.loads(open_socket.recv())


class Stream:
    """A response without an end, of which a small piece comes every now and then."""

    def __init__(self, server: Server, path: str, accept: str) -> None:
        self.connection = Secure(server.machine.address, DOMAIN)
        self.connection.request("GET", path, headers={"Host": DOMAIN, "Accept": accept})
        self.answer = self.connection.getresponse()

    def pass_on(self) -> None:
        """If the proxy waited for more before it passes on, none would come in the time that the connection has."""
        for _ in range(2):
            assert self.answer.read(13) == b"data: piece\n\n"

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


def is_ended(open_socket: websocket.WebSocket) -> bool:
    """Whether the next that comes is its end."""
    try:
        return not open_socket.recv()
    except (websocket.WebSocketConnectionClosedException, ConnectionError, ssl.SSLError):
        return True


def is_closed(open_socket: websocket.WebSocket) -> bool:
    try:
        return not asked(open_socket)
    except (websocket.WebSocketException, OSError, ValueError):
        return True


def still_runs(app: App, release: str) -> bool:
    """Whether `fab releases` says so."""
    rows = [json.loads(line) for line in app.fab("releases", "--json").out.splitlines()]
    (row,) = [row for row in rows if row.get("release") == release]
    return "still runs" in row["note"]


def running(server: Server) -> set[str]:
    """The releases that have an instance."""
    said = server.script("systemctl list-units --plain --no-legend 'visitors@*' | awk '{print $1}'")
    return set(re.findall(r"@(.*)\.service", said))


@pytest.mark.parametrize("runner", RUNNERS)
def test_switches_of_every_runner_lose_no_request_and_the_app_knows_its_visitors(server: Server, app: App, runner: str):
    keys, program = RUNNERS[runner]
    app.set(keys)
    app.fab("deploy")
    seen = get(server, **{"X-Forwarded-For": "203.0.113.99", "X-Forwarded-Proto": "gopher"})
    assert (seen["client"], seen["scheme"], seen["release"]) == (here(server), "https", server.current)
    assert seen.get("started", True) and seen["kind"] == ("ASGI" if "asgi" in keys else "WSGI")
    assert program in server.script(
        f"cat /proc/$(systemctl show -p MainPID --value visitors@{server.current})/cmdline | tr '\\0' ' '"
    )
    assert get(server, Upgrade="h2c", Connection="Upgrade, HTTP2-Settings")["upgrade"] is None
    pieces_come_at_once(server, keys)
    kinds = [
        ("POST", "/echo", True, 0.05, True),
        ("POST", "/echo", False, 0.1, True),
        ("GET", "/slow", True, 0.0, True),
        ("GET", "/healthz", False, 0.1, True),
    ]
    with Visitors(server.machine.address).at(*kinds, each=3) as visitors:
        for _ in range(2 if "bookworm" in server.machine.name else 1):
            before = server.current
            app.change()
            ran = app.fab("deploy")
            assert "0 of " in ran.out and server.current != before, ran.out
    assert visitors.failures == []
    assert visitors.answered["/echo"] > 50
    assert server.leftovers() == []


def pieces_come_at_once(server: Server, keys: str) -> None:
    """A response without an end, and a WebSocket of an ASGI app."""
    events = Stream(server, "/events", "text/event-stream")
    events.pass_on()
    events.close()
    pieces = Stream(server, "/pieces", "*/*")
    pieces.pass_on()
    pieces.close()
    if "asgi" in keys:
        open_socket = opened(server)
        assert asked(open_socket) == [server.current, "wss", here(server), "hello"]
        open_socket.close()


on_one_debian = pytest.mark.debian("bookworm")  # what does not differ between Debian's releases


def test_an_open_websocket_lives_on_across_deploys_and_a_rollback_and_then_meets_the_new_release(
    server: Server, app: App
):
    network = "true" if "bookworm" in server.machine.name else "false"  # one of its own, in which its socket is
    app.set(f"{RUNNERS['uvicorn'][0]}\nstream_drain_seconds = 3600\noutbound = {network}")
    app.fab("deploy")
    first = server.current
    open_socket, events = opened(server), Stream(server, "/events", "text/event-stream")
    assert asked(open_socket)[0] == first
    app.change()
    ran = app.fab("deploy")
    assert f"{first} still runs: visitors are still connected to it" in ran.out and ran.seconds < 30
    second = server.current
    assert asked(open_socket)[0] == first
    events.pass_on()
    assert running(server) == {first, second}
    assert still_runs(app, first) and not still_runs(app, second)
    assert get(server)["release"] == second
    app.fab("rollback")  # to the one that is being stopped
    assert server.current == first and running(server) == {first}
    assert server.leftovers() == []
    assert asked(open_socket)[0] == first
    events.pass_on()
    app.change()
    app.fab("deploy")
    third = server.current
    again = opened(server)
    assert asked(again)[0] == third and asked(open_socket)[0] == first
    open_socket.close()
    events.close()
    wait_for(lambda: running(server) == {third}, "the end of the old release once nobody is connected")
    again.close()
    assert server.leftovers() == []


@on_one_debian
def test_a_stream_ends_after_its_time_and_no_more_than_two_old_releases_wait_for_theirs(server: Server, app: App):
    app.set(f"{RUNNERS['uvicorn'][0]}\nstream_drain_seconds = 3600")
    left, sockets = [], []
    for _ in range(4):
        app.change()
        left.append(app.deployed())
        sockets.append(opened(server))
        assert asked(sockets[-1])[0] == left[-1]
    wait_for(lambda: running(server) == set(left[1:]), "the end of the oldest")
    assert is_closed(sockets[0])
    assert [asked(each)[0] for each in sockets[1:]] == left[1:]
    app.write_config(f"{RUNNERS['uvicorn'][0]}\nstream_drain_seconds = 1")
    app.change()
    last = app.deployed()
    for each in sockets[1:3]:
        each.close()
    wait_for(lambda: running(server) == {last} and is_closed(sockets[3]), "the end of all others")
    assert server.leftovers() == []


@on_one_debian
def test_an_old_release_that_still_runs_survives_a_killed_run_and_ends_with_a_reboot(server: Server, app: App):
    app.set(f"{RUNNERS['uvicorn'][0]}\nstream_drain_seconds = 3600")
    first = app.deployed()
    open_socket = opened(server)
    app.change()
    process, halted = app.halted("older instances", "deploy")
    server.run("kill", "-9", str(halted["pid"]))
    process.ended()
    second = server.current
    assert second != first and asked(open_socket)[0] == first and running(server) == {first, second}
    assert "nothing new" in app.fab("deploy").out
    assert asked(open_socket)[0] == first
    assert server.script(f"ls /etc/systemd/system/multi-user.target.wants | grep -c '{first}' || true").strip() == "0"
    server.run("systemctl", "kill", "--signal", "KILL", f"ashore-retire-visitors-{first}.service")  # out of memory
    wait_for(lambda: not still_runs(app, first), "the end of what stops it")
    app.fab("deploy")
    assert asked(open_socket)[0] == first and still_runs(app, first)
    sandbox.reboot(server.machine.name)
    wait_for(lambda: answered(server) == second, "the site after boot")
    assert running(server) == {second} and server.leftovers() == []


@on_one_debian
def test_a_silent_websocket_outlives_the_time_of_a_request_and_ends_at_its_own_limit(server: Server, app: App):
    app.set(f"{RUNNERS['uvicorn'][0]}\ntimeout_seconds = 1\nstream_idle_seconds = 9")  # a request gets 1 + 5 s
    app.fab("deploy")
    open_socket = opened(server)
    assert asked(open_socket)[0] == server.current
    began = time.monotonic()
    assert is_ended(open_socket)
    assert time.monotonic() - began > 6


@on_one_debian
def test_a_rollback_leads_from_one_runner_to_another(server: Server, app: App):
    app.set(RUNNERS["gunicorn"][0])
    first = app.deployed()
    app.set('asgi = "main:make()"\nworkers = 1')
    app.fab("deploy")
    assert get(server)["kind"] == "ASGI"
    kinds = [("POST", "/echo", True, 0.05, True), ("GET", "/slow", True, 0.0, True)]
    with Visitors(server.machine.address).at(*kinds, each=4) as visitors:
        ran = app.fab("rollback")
    assert visitors.failures == [] and ": Gunicorn, 2 workers" in ran.out
    assert get(server)["kind"] == "WSGI" and server.current == first


@on_one_debian
def test_a_ci_key_deploys_an_asgi_app_but_cannot_keep_its_old_releases_running_for_longer(server: Server, app: App):
    def by_http(keys: str) -> None:
        app.set(keys)
        config = app.directory / "deploy.toml"
        config.write_text(config.read_text().partition("tls = ")[0] + 'tls = "off"\n')
        app.commit()

    by_http(RUNNERS["uvicorn"][0])
    app.fab("deploy")
    app.fab("ci.key")
    ci = Holder(app, app.home / ".ssh" / "ashore-ci-visitors-production")
    by_http(RUNNERS["hypercorn"][0])
    ran = ci.fab("deploy")
    assert ": Hypercorn, 2 workers" in ran.out and json.loads(server.get("/")[1])["kind"] == "ASGI"
    by_http(f"{RUNNERS['hypercorn'][0]}\nstream_drain_seconds = 3600")
    refused = ci.fab("deploy", status=1)
    assert "stream_drain_seconds = 3600 (allowed: 30)" in refused.text
    app.fab("ci.key", "--revoke", "all")


@pytest.mark.parametrize("runner", ["uvicorn", "hypercorn", "granian"])
@on_one_debian
def test_an_app_that_fails_to_start_is_shown_at_once_and_the_old_one_keeps_serving(
    server: Server, app: App, runner: str
):
    app.set(RUNNERS["uvicorn"][0])
    serves = app.deployed()
    app.set(RUNNERS[runner][0], 'def app(): ...\ndef make(): ...\n\nraise RuntimeError("no database here")\n')
    ran = app.fab("deploy", status=1)
    assert "RuntimeError: no database here" in ran.text and ran.seconds < 20, ran.text
    assert get(server)["release"] == serves and running(server) == {serves}
