"""What SSH lets a client send without waiting for an answer, where paramiko waits: up to three round trips a command.

Login and command use parts of paramiko that it does not document. Where a later version has no such part, the login
waits as before.
"""

from typing import Any

from paramiko import Channel as Session
from paramiko import Message, Transport
from paramiko.common import MSG_SERVICE_ACCEPT, cMSG_CHANNEL_REQUEST, cMSG_SERVICE_REQUEST

USERAUTH = "ssh-userauth"
AHEAD_BYTES = 8 * 1448  # of the ten segments that a new connection may have in flight


def consent() -> Message:
    """The server's answer to the request for the service USERAUTH, as paramiko's handler reads it."""
    message = Message()
    message.add_string(USERAUTH)
    message.rewind()
    return message


class PipelinedTransport(Transport):
    """Logs in without waiting until the server agrees to be asked for a login: it reads one request after the other.

    A server that refuses ends the connection (RFC 4253, section 10). The host key is verified before any of this.

    ahead_bytes: so much is sent along for the server to ignore, where more than a new TCP connection may have in flight
    will follow: by then, it may have twice as much.
    """

    ahead_bytes = 0

    def _send_message(self, data: Message) -> None:
        super()._send_message(data)  # type: ignore[misc]
        proceed = getattr(self.auth_handler, "_parse_service_accept", None)
        if proceed is not None and data.asbytes()[:1] == cMSG_SERVICE_REQUEST:
            handlers: Any = self._handler_table  # type: ignore[attr-defined]
            handlers[MSG_SERVICE_ACCEPT] = lambda message: None  # answered already
            proceed(consent())
            if self.ahead_bytes:
                self.send_ignore(self.ahead_bytes)
                self.ahead_bytes = 0


def ask_for(session: Session, command: str) -> None:
    """Ask for a command; what it is to read may be sent at once. paramiko's `exec_command` waits for a round trip.

    Where the server refuses, paramiko closes the session, as at its end.
    """
    message = Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(session.remote_chanid)
    message.add_string("exec")
    message.add_boolean(True)  # or it would say nothing of a refusal
    message.add_string(command)
    transport: Any = session.get_transport()
    transport._send_user_message(message)
