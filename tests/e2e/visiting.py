"""Visitors who do not stop asking, and waiting for what must come."""

import select
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection


def wait_for(condition: Callable[[], object], what: str, seconds: float = 120) -> object:
    """Poll until the condition holds, and return what it gave."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while time.monotonic() < deadline:
        if found := condition():
            return found
        pause.wait(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


@dataclass
class Answers:
    statuses: list[int | str] = field(default_factory=list)
    slowest: float = 0.0


class Secure(HTTPSConnection):
    """https to an address, by the site's name, whatever certificate is shown."""

    def __init__(self, address: str, name: str) -> None:
        super().__init__(address, timeout=15, context=ssl._create_unverified_context())
        self.name = name

    def connect(self) -> None:
        self.sock = self._context.wrap_socket(socket.create_connection((self.host, 443), 15), server_hostname=self.name)


@contextmanager
def visitors(
    address: str, host: str, path: str, clients: int, reloads: bool, encrypted: bool = False
) -> Iterator[Answers]:
    """Visitors, half of them keeping their connection, for as long as the block lasts.

    reloads: Nginx may be reloaded, which closes idle connections; a request that meets that is made again on a
    fresh one, as every browser does.
    """
    answers, stop, lock = Answers(), threading.Event(), threading.Lock()

    def visit(keep: bool) -> None:
        connection = HTTPConnection(address, timeout=15) if not encrypted else Secure(address, host)
        while not stop.is_set():
            began = time.monotonic()
            fresh = connection.sock is None
            try:
                connection.request("GET", path, headers={"Host": host} | ({} if keep else {"Connection": "close"}))
                answer = connection.getresponse()
                answer.read()
                status: int | str = answer.status
            except ConnectionResetError as error:  # what came as Nginx closed is answered with a reset
                connection.close()
                if reloads and not fresh:
                    continue
                status = repr(error)
            except (OSError, HTTPException) as error:
                status = repr(error)
                connection.close()
            with lock:
                answers.statuses.append(status)
                answers.slowest = max(answers.slowest, time.monotonic() - began)
            if not keep:
                connection.close()
            stop.wait(0.01)
        connection.close()

    threads = [threading.Thread(target=visit, args=(number % 2 == 0,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(answers.statuses) > clients, "first answers")
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def elsewhere(bridge: str, *addresses: str) -> Iterator[None]:
    """This machine has these addresses on the sandboxes' bridge for as long as the block lasts: visitors from there."""
    words = [(address, *(["nodad"] if ":" in address else [])) for address in addresses]
    for address, *options in words:
        subprocess.run(["ip", "address", "replace", address, "dev", bridge, *options], check=True)
    try:
        yield
    finally:
        for address, *_ in words:
            subprocess.run(["ip", "address", "delete", address, "dev", bridge], check=True)


class Crowd:
    """Connections of one address that begin a request and do not finish it; one that is closed is made again at once.

    held: how many of them are connected, and have sent what they send.
    """

    def __init__(self, address: str, source: str, count: int, begun: bytes) -> None:
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.address, self.source, self.count, self.begun = address, source, count, begun
        self.began: set[int] = set()
        self.sockets: dict[int, socket.socket] = {}
        self.held = 0
        self._stop = threading.Event()
        self._pressing = threading.Thread(target=self._press)

    def __enter__(self) -> "Crowd":
        for _ in range(self.count):
            self._connect()
        self._pressing.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pressing.join()
        for one in self.sockets.values():
            one.close()

    def _connect(self) -> None:
        one = socket.socket(self.family, socket.SOCK_STREAM)
        one.setblocking(False)
        one.bind((self.source, 0))
        one.connect_ex((self.address, 80))
        self.sockets[one.fileno()] = one

    def _press(self) -> None:
        while not self._stop.wait(0.001):
            poll = select.poll()
            for number in self.sockets:
                poll.register(number, select.POLLIN | select.POLLOUT)
            found = dict(poll.poll(0))
            ready = {number for number, event in found.items() if event == select.POLLOUT}
            for number in ready - self.began:
                with suppress(OSError):  # it was closed just now
                    self.sockets[number].send(self.begun)
            self.began |= ready
            self.held = len(ready)
            for number in found.keys() - ready:  # closed, or answered
                self.sockets.pop(number).close()
                self.began.discard(number)
                self._connect()
