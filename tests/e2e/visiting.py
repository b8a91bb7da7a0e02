"""Visitors who do not stop asking, and waiting for what must come."""

import select
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection


def wait_for(condition: Callable[[], object], what: str, seconds: float = 30) -> object:
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
    """Connections of one address that have begun a request and do not finish it."""

    def __init__(self, address: str, source: str, count: int, begun: bytes) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.sockets = [socket.socket(family, socket.SOCK_STREAM) for _ in range(count)]
        self.begun, self.began = begun, set[socket.socket]()
        for one in self.sockets:
            one.setblocking(False)
            one.bind((source, 0))
            one.connect_ex((address, 80))

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.sockets:
            one.close()

    def held(self) -> int:
        """How many of them are connected, and have sent what they send."""
        poll = select.poll()
        by_number = {one.fileno(): one for one in self.sockets}
        for number in by_number:
            poll.register(number, select.POLLOUT)
        ready = {by_number[number] for number, event in poll.poll(0) if event == select.POLLOUT}
        for one in ready - self.began:
            one.send(self.begun)
        self.began |= ready
        return len(ready)
