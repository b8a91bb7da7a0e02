"""The server's side of CI keys, spoken to over a socket pair: what is no request, and who does not end."""

import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.agent.wire import frame
from deploy.ci import frames, server

PREAMBLE = b"abcdefgh 203.0.113.9\n2\nxx"


class Visitor:
    """Somebody at the socket of the app shop."""

    def __init__(self, idle_seconds: float = 30) -> None:
        self.link, other = socket.socketpair()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 1, 0))
        self.link.settimeout(20)
        files = other.makefile("rb"), other.makefile("wb")
        other.close()
        self.endpoint = server.Endpoint(*files, "shop", idle_seconds)
        threading.Thread(target=self.endpoint.listen, daemon=True).start()
        self.serving = threading.Thread(target=self._serve, args=(files[1],), daemon=True)
        self.serving.start()

    def _serve(self, out) -> None:
        self.endpoint.serve()
        self.endpoint.outgoing.finish(lambda: False)

    def says(self, *messages: object) -> list[dict]:
        """All that is answered, once it has been said that no more comes."""
        for message in messages:
            self.link.sendall(message if isinstance(message, bytes) else frame(message))
        self.link.shutdown(socket.SHUT_WR)
        self.serving.join(20)
        assert not self.serving.is_alive()
        self.link.setblocking(False)
        said = b""
        try:
            while data := self.link.recv(1 << 16):
                said += data
        except BlockingIOError:
            pass
        return [json.loads(line) for line in said.splitlines()]


@pytest.fixture
def visitor(tmp_path: Path) -> Iterator[Visitor]:
    """With a key that the server knows."""
    (tmp_path / "keys").write_text('restrict,command="exec python3 -ISB relay.py shop abcdefgh" ssh-ed25519 AAAA ci\n')
    made = Visitor()
    made.endpoint.keys = str(tmp_path / "keys")
    yield made
    made.link.close()


def packed(data: bytes) -> bytes:
    body = zlib.compress(data)
    return b"j %d\n" % len(body) + body


@pytest.mark.parametrize(
    "garbage",
    [
        b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"x" * 500,
        b"key 1.2.3.4\nx\n",
        b"key 1.2.3.4\n-5\n",
        b"key 1.2.3.4\n99999999\n",
        b"key 1.2.3.4\n500\nhalf",
        PREAMBLE + b"z 5\nhello",
        PREAMBLE + b"j -5\n",
        PREAMBLE + b"j 99999999\n",
        PREAMBLE + b"j 500\nhalf",
        PREAMBLE + b"j 5\nhello",
        PREAMBLE + packed(b"[1]"),
        PREAMBLE + packed(b'{"a": 1}'),
        PREAMBLE + packed(b'{"request": ["survey"]}'),
        PREAMBLE + packed(b"[" * 200_000),
        PREAMBLE + packed(b'{"request": ' + b"9" * 100_000 + b"}"),
        PREAMBLE + packed(b'{"request": "x"}')[:-3],
        PREAMBLE + packed(b" " * (frames.MOST_JSON + 1) + b"{}"),
    ],
)
def test_what_is_no_request_ends_the_conversation_in_words(visitor: Visitor, garbage: bytes):
    [end] = visitor.says(garbage)
    assert (end["state"], end["what"]) == ("refused", server.NOT_OURS)


@pytest.mark.parametrize(
    "request_",
    [
        {"request": "plan", "plan": {"kind": "Plan"}, "units": [], "asks": [], "run": {"app": "shop", "verb": "x"}},
        {"request": "modules", "sources": {"agent.evil": "import os"}},
        {"request": "ask", "module": "os", "question": "system", "command": "id"},
        {"request": "ask", "module": "facts", "question": "survey", "app": "shop", "app_directory": "/"},
        {"request": "run", "app": "shop", "command": ["id"], "tty": None},
        {"request": "logs", "units": ["ssh.service"], "files": ["/etc/shadow"]},
        {"request": "eof"},
        {"request": "serve"},
        {"request": "__class__"},
        {"request": "survey"},
        {"request": "ask", "module": "facts", "question": "releases", "app": "blog", "app_directory": "/srv/blog"},
        {"request": "ask", "module": "facts", "question": "releases", "app": "shop"},
        {"request": "ci_deploy"},
        {"request": "ci_rollback", "release": "../.."},
    ],
)
def test_what_a_key_may_not_ask_is_refused_and_the_next_request_is_heard(visitor: Visitor, request_: dict):
    first, second = visitor.says(PREAMBLE, request_, {"request": "history"})
    assert first["state"] == "refused" and not first["applied"]
    assert "this key may only" in second["what"]


def test_a_key_that_the_server_does_not_know_is_told_nothing(visitor: Visitor):
    survey = {"request": "survey", "app": "shop", "app_directory": "", "lock": None, "wait": False}
    [end] = visitor.says(PREAMBLE.replace(b"abcdefgh", b"abcdefgx"), survey | {"manifest": None, "compare": False})
    assert (end["state"], end["what"]) == ("refused", "this key was revoked")


def test_who_says_nothing_is_not_waited_for():
    visitor = Visitor(idle_seconds=0.3)
    visitor.serving.join(20)
    assert not visitor.serving.is_alive()


def test_who_stops_in_the_middle_of_a_request_is_not_waited_for():
    visitor = Visitor(idle_seconds=0.3)
    visitor.link.sendall(PREAMBLE + b"j 500\nhalf")
    visitor.serving.join(20)
    assert not visitor.serving.is_alive()


def test_an_upload_that_stands_still_fails():
    visitor = Visitor(idle_seconds=0.3)
    with pytest.raises(server.Failed, match="stalled"):
        visitor.endpoint.next_blob()


def test_an_upload_has_a_least_rate_however_its_bytes_are_cut():
    pace = frames.Pace()
    pace.require()
    pace.begin()
    began, _ = pace.began
    pace.began = (began - 2 * frames.RATE_SECONDS, 0)
    pace.count(frames.LEAST_RATE * (frames.RATE_SECONDS + 1))
    pace.require()
    pace.began = (began - 10 * frames.RATE_SECONDS, 0)
    with pytest.raises(server.Failed, match="slower than 4 kB/s"):
        pace.require()
    pace.end()
    pace.require()


def test_an_upload_without_end_fails():
    pace = frames.Pace()
    pace.began = (time.monotonic() - frames.UPLOAD_SECONDS - 1, 0)
    pace.count(1 << 40)
    with pytest.raises(server.Failed, match="takes longer"):
        pace.require()


def test_an_operator_ends_what_a_key_uploads_and_the_key_is_told_why():
    visitor = Visitor()
    visitor.endpoint.overrule("an operator is working on the app now")
    with pytest.raises(server.Cancelled, match="an operator is working"):
        visitor.endpoint.next_blob()
    assert str(visitor.endpoint.stopping()) == "an operator is working on the app now"
    visitor.serving.join(20)
    assert not visitor.serving.is_alive()


def test_keys_that_changed_end_only_what_a_revoked_key_does(visitor: Visitor):
    visitor.endpoint.key = "abcdefgh"  # as the relay has greeted
    visitor.endpoint.look_at_keys()
    assert visitor.endpoint.stopping() is None
    Path(visitor.endpoint.keys).write_text("")
    visitor.endpoint.look_at_keys()
    assert str(visitor.endpoint.stopping()) == "this key was revoked"


def test_who_does_not_read_holds_nothing_up(visitor: Visitor):
    for _ in range(200):
        visitor.endpoint.emit({"event": "x", "text": "x" * 10_000})
    visitor.endpoint.outgoing.finish(lambda: False)
    assert visitor.endpoint.outgoing.broken
