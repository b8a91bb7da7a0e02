"""HTTP/2 as browsers speak it, as far as a test needs it: one request after the other on a kept connection."""

import socket
import ssl
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
STATUS_200 = 0x88  # HPACK's: an entry of the static table


class Repeatable(Exception):
    """The server has said which requests it answers, and this one is none of them: any client makes it again."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def header(name: str, value: str) -> bytes:
    """HPACK's literal that is in no table."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


class Connection:
    """One connection; `ask` raises OSError where a request is lost."""

    def __init__(self, address: str, host: str) -> None:
        context = ssl._create_unverified_context()
        context.set_alpn_protocols(["h2"])
        self.host, self.stream, self.last = host, -1, 0  # last: the newest stream that a GOAWAY says is answered
        self.closing = False
        self.link = context.wrap_socket(socket.create_connection((address, 443), 15), server_hostname=host)
        self.file = self.link.makefile("rb")
        self.link.sendall(PREFACE + frame(SETTINGS, 0, 0))

    def ask(self, method: str, path: str, body: bytes = b"") -> bool:
        """Whether it was answered with 200."""
        self.stream += 2
        names = {":method": method, ":scheme": "https", ":authority": self.host, ":path": path}
        if body:
            names["content-length"] = str(len(body))
        block = b"".join(header(name, value) for name, value in names.items())
        head = frame(HEADERS, END_HEADERS | (0 if body else END_STREAM), self.stream, block)
        try:
            self.link.sendall(head + (frame(DATA, END_STREAM, self.stream, body) if body else b""))
            return self._answer()
        except OSError as error:
            if self.closing and self.stream > self.last:
                raise Repeatable from error
            raise

    def _answer(self) -> bool:
        good = False
        while True:
            start = self.file.read(9)
            if len(start) < 9:
                raise ConnectionResetError("closed")
            size, kind, flags = int.from_bytes(start[:3], "big"), start[3], start[4]
            stream = int.from_bytes(start[5:], "big")
            payload = self.file.read(size)
            if kind == SETTINGS and not flags & ACK:
                self.link.sendall(frame(SETTINGS, ACK, 0))
            elif kind == GOAWAY:
                self.closing, self.last = True, int.from_bytes(payload[:4], "big")
                if self.stream > self.last:
                    raise Repeatable
            elif kind == RESET and stream == self.stream:
                raise ConnectionResetError("the stream was reset")
            elif kind == DATA and size:
                more = struct.pack(">I", size)
                self.link.sendall(frame(WINDOW, 0, 0, more) + frame(WINDOW, 0, stream, more))
            elif kind == HEADERS:
                good = STATUS_200 in payload[:2]  # a change of the table's size may come first
            if kind in (DATA, HEADERS) and flags & END_STREAM and stream == self.stream:
                return good

    def close(self) -> None:
        self.file.close()
        self.link.close()
