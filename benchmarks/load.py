"""Visitors for the benchmarks: so many connections, at a steady rate or as fast as they are answered."""

import socket
import threading
import time
from dataclasses import dataclass, field

PATIENCE_SECONDS = 15


class Visitor:
    """One HTTP/1.1 connection, kept open unless told otherwise. body: it makes POST requests with that."""

    def __init__(self, address: tuple[str, int], host: str, path: str, keep: bool = True, body: bytes = b"") -> None:
        self.address, self.keep = address, keep
        close = "" if keep else "Connection: close\r\n"
        method = f"POST {path} HTTP/1.1\r\nContent-Length: {len(body)}" if body else f"GET {path} HTTP/1.1"
        self.request = f"{method}\r\nHost: {host}\r\n{close}\r\n".encode() + body
        self.socket: socket.socket | None = None

    def ask(self) -> str:
        """The status of one answer, read to its end."""
        if self.socket is None:
            self.socket = socket.create_connection(self.address, PATIENCE_SECONDS)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(self.request)
        said = b""
        while b"\r\n\r\n" not in said:
            said += self._more()
        head, _, body = said.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), None)
        while len(body) < length if length is not None else not body.endswith(b"0\r\n\r\n"):
            body += self._more()
        if not self.keep or b"connection: close" in lines:
            self.close()
        return head.split()[1].decode()

    def _more(self) -> bytes:
        assert self.socket is not None
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the server hung up in the middle")
        return data

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None


@dataclass
class Answers:
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def percentile(self, percent: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    def take(self, visitor: Visitor, since: float) -> None:
        """Ask once. `since`: when this request was due, so that a stall counts for all that it kept waiting."""
        try:
            status = visitor.ask()
        except (OSError, ValueError, IndexError) as error:
            visitor.close()
            status = repr(error)
        with self.lock:
            self.seconds.append(time.monotonic() - since)
            if status != "200":
                self.failures.append(status)


class Steady:
    """Half the connections kept, half made anew for each request; together `rate` requests a second until `end`."""

    def __init__(
        self, address: tuple[str, int], host: str, path: str, connections: int, rate: float, body: bytes = b""
    ) -> None:
        self.answers = Answers()
        self.ended = threading.Event()
        visitors = [Visitor(address, host, path, number % 2 == 0, body) for number in range(connections)]
        pause = connections / rate
        self.threads = [
            threading.Thread(target=self._visit, args=(visitor, pause, number / rate))
            for number, visitor in enumerate(visitors)
        ]
        for thread in self.threads:
            thread.start()

    def _visit(self, visitor: Visitor, pause: float, offset: float) -> None:
        due = time.monotonic() + offset
        while not self.ended.wait(max(0.0, due - time.monotonic())):
            self.answers.take(visitor, due)
            due += pause
        visitor.close()

    def end(self) -> Answers:
        self.ended.set()
        for thread in self.threads:
            thread.join()
        return self.answers


def flood(address: tuple[str, int], host: str, path: str, connections: int, requests: int) -> float:
    """Seconds for so many requests, each connection asking again as soon as it is answered. All must be 200."""
    answers = Answers()

    def visit() -> None:
        visitor = Visitor(address, host, path)
        for _ in range(requests // connections):
            answers.take(visitor, time.monotonic())
        visitor.close()

    threads = [threading.Thread(target=visit) for _ in range(connections)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if answers.failures:
        raise SystemExit(f"{len(answers.failures)} requests failed, the first: {answers.failures[0]}")
    return time.monotonic() - began
