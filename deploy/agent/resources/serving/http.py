"""One GET request and its answer."""

import errno
import io
import re
import socket
import time
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    import ssl

LATER = ("408", "425", "429")  # statuses that say: not now
NOT_ASKED = "not asked: "  # prefix of the answer if this process could not ask
MOST_BYTES = 1 << 14  # of an answer that are looked at
GOOD = re.compile(rb"HTTP/\S+ 2[^\n]*\n")
OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class Answer(NamedTuple):
    """status: the code, or why there is none. location: of a redirect. text: an error page's first line."""

    status: str
    location: str = ""
    text: str = ""

    @classmethod
    def of(cls, lines: str) -> "Answer":
        return cls(*lines.split("\n"))

    @property
    def lines(self) -> str:
        return "\n".join(self)

    @property
    def short(self) -> str:
        more = f" to {self.location}" if self.location else f": {self.text}" if self.text else ""
        return f"{self.status}{more}"

    @property
    def settled(self) -> bool:
        """Whether asking again would get the same answer: the app is up, and refuses."""
        return re.fullmatch(r"[34]\d\d", self.status) is not None and self.status not in LATER


Address = str | tuple[str, int]


def http_status(address: Address, host: str, path: str, seconds: float, secure: bool = False) -> str:
    """The status code of GET, or why there is none: see `http_answer`."""
    return http_answer(address, host, path, seconds, secure).status


def http_answer(address: Address, host: str, path: str, seconds: float, secure: bool = False) -> Answer:
    """What GET answers, from a unix socket's path or (host, port). secure: over TLS, whatever its certificate."""
    # As the proxy asks: an app that sends http visitors to https must not see its own health check as one of them.
    request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: ashore-health\r\nX-Forwarded-Proto: https\r\n\r\n"
    try:
        with tls(address, host, seconds) if secure else connected(address, seconds) as connection:
            connection.sendall(request.encode())
            said = io.BytesIO(received(connection, seconds))
            line = said.readline(1000).decode("latin-1").split()
            if len(line) < 2 or not line[0].startswith("HTTP/"):
                return Answer("no HTTP answer")
            return Answer(line[1], *([] if line[1][0] == "2" else more(said)))
    except OSError as error:
        return Answer(in_the_way(error))


def received(connection: socket.socket, seconds: float) -> bytes:
    """What an answer begins with: of a good one its first line; of others what comes within `seconds`, drip by drip.

    OSError where not even the first line comes.
    """
    deadline = time.monotonic() + seconds
    said = b""
    while len(said) < MOST_BYTES and not GOOD.match(said):
        try:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            connection.settimeout(left)
            part = connection.recv(MOST_BYTES)
        except OSError:
            if b"\n" in said:  # the status is known
                break
            raise
        if not part:
            break
        said += part
    return said


def in_the_way(error: OSError) -> str:
    """The text in place of an answer."""
    text = (error.strerror or str(error) or "no answer").replace("\n", " ")
    return NOT_ASKED + text if error.errno in OURS else text


def more(file: BinaryIO) -> tuple[str, str]:
    """The header Location, and the first line of the body; what did not come is left out."""
    headers: dict[str, str] = {}
    while (line := file.readline(4000)).strip() and len(headers) < 100:
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    body = file.read(2000).decode(errors="replace")
    if "html" in headers.get("content-type", "html"):
        body = re.sub(r"(?is)<(style|script)\b.*?</\1>|<[^>]*>", "\n", body)
    text = next((" ".join(line.split()) for line in body.splitlines() if line.strip()), "")
    return "".join(filter(str.isprintable, headers.get("location", "")))[:200], text[:200]


def connected(address: str | tuple[str, int], seconds: float) -> socket.socket:
    if not isinstance(address, str):
        return socket.create_connection(address, seconds)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(seconds)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def tls(address: str | tuple[str, int], host: str, seconds: float) -> "ssl.SSLSocket":
    """A TLS connection without a check of the certificate: only whether it answers matters."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = connected(address, seconds)
    try:
        return context.wrap_socket(connection, server_hostname=host)
    except OSError:
        connection.close()
        raise
