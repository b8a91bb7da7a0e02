"""A login does not wait for what SSH lets it not wait for: against paramiko's own server, over a pair of sockets."""

import socket
from collections.abc import Iterator
from threading import Event

import pytest
from paramiko import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    AuthenticationException,
    Message,
    PKey,
    RSAKey,
    ServerInterface,
    Transport,
)
from paramiko.common import cMSG_SERVICE_ACCEPT

from deploy.connection.pipelined import PipelinedTransport

WELCOME, OTHER, HOST = (RSAKey.generate(1024) for _ in range(3))
SECONDS = 30


class OneKey(ServerInterface):
    def __init__(self) -> None:
        self.tried: list[PKey] = []

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: PKey) -> int:
        self.tried.append(key)
        return AUTH_SUCCESSFUL if key == WELCOME else AUTH_FAILED


class LateConsent(Transport):
    """A server whose consent to be asked for a login arrives only with what it answers to the login."""

    late: Message | None = None

    def _send_message(self, data: Message) -> None:
        if data.asbytes()[:1] == cMSG_SERVICE_ACCEPT:
            self.late = data
            return
        if self.late:
            super()._send_message(self.late)  # type: ignore[misc]
            self.late = None
        super()._send_message(data)  # type: ignore[misc]


@pytest.fixture
def client() -> Iterator[PipelinedTransport]:
    ours, theirs = socket.socketpair()
    served = LateConsent(theirs)
    served.add_server_key(HOST)
    served.start_server(Event(), OneKey())
    opened = PipelinedTransport(ours)
    opened.start_client(timeout=SECONDS)
    yield opened
    opened.close()
    served.close()


def test_a_login_does_not_wait_until_it_may_be_asked_for(client: PipelinedTransport):
    assert client.auth_publickey("me", WELCOME) == []
    assert client.is_authenticated()


def test_a_key_that_is_refused_is_followed_by_the_next_one(client: PipelinedTransport):
    with pytest.raises(AuthenticationException):
        client.auth_publickey("me", OTHER)
    client.auth_publickey("me", WELCOME)
    assert client.is_authenticated()


def test_a_key_that_cannot_sign_leaves_the_connection_to_the_next_one(client: PipelinedTransport):
    class Locked(RSAKey):
        def sign_ssh_data(self, data: bytes, algorithm: str | None = None) -> Message:
            raise AuthenticationException("the agent is locked")

    with pytest.raises(AuthenticationException, match="locked"):
        client.auth_publickey("me", Locked(key=OTHER.key))
    client.auth_publickey("me", WELCOME)
    assert client.is_authenticated()


def test_before_a_large_upload_something_is_sent_once_for_the_server_to_ignore(client: PipelinedTransport):
    sent = []
    client.ahead_bytes, send = 9000, client.send_ignore
    client.send_ignore = lambda count=None: (sent.append(count), send(count))  # type: ignore[method-assign]
    with pytest.raises(AuthenticationException):
        client.auth_publickey("me", OTHER)
    client.auth_publickey("me", WELCOME)
    assert sent == [9000] and client.is_authenticated()
