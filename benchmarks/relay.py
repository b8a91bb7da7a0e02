"""A TCP relay that makes a server look far away, and counts what passes.

It delays each direction by half the round-trip time, and the opening of a connection by the time TCP's handshake would
take. What is in flight is limited as by TCP's slow start; nothing is lost, and the bandwidth has no end.
"""

import contextlib
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CHUNK_BYTES = 1 << 16
SEGMENT_BYTES = 1448  # of a TCP segment on Ethernet
FIRST_WINDOW_BYTES = 10 * SEGMENT_BYTES  # RFC 6928, what Linux does
Chunk = tuple[float, bytes]


@dataclass(frozen=True)
class Traffic:
    """What has passed since the relay began."""

    connections: int = 0
    bytes_up: int = 0

    def since(self, before: "Traffic") -> "Traffic":
        return Traffic(self.connections - before.connections, self.bytes_up - before.bytes_up)


class Window:
    """How much may be in flight in one direction of one connection: it doubles with each round trip that fills it."""

    def __init__(self) -> None:
        self.bytes = FIRST_WINDOW_BYTES
        self.flying: deque[tuple[float, int]] = deque()  # when each segment's acknowledgement arrives, and its size
        self.flying_bytes = self.most_flying = 0
        self.left = 0.0  # when the last one left

    def pass_on(self, data: bytes, now: float, seconds: float) -> Iterator[Chunk]:
        """The segments of what is to be sent now, and when each arrives. seconds: the round-trip time."""
        for start in range(0, len(data), SEGMENT_BYTES):
            segment = data[start : start + SEGMENT_BYTES]
            leaves = max(now, self.left)
            self._acknowledge(leaves)
            while self.flying_bytes + len(segment) > self.bytes:
                leaves = max(leaves, self.flying[0][0])
                self._acknowledge(leaves)
            self.flying.append((leaves + seconds, len(segment)))
            self.flying_bytes += len(segment)
            self.most_flying = max(self.most_flying, self.flying_bytes)
            self.left = leaves
            yield leaves + seconds / 2, segment

    def _acknowledge(self, now: float) -> None:
        while self.flying and self.flying[0][0] <= now:
            _, size = self.flying.popleft()
            self.flying_bytes -= size
            if self.bytes < 2 * self.most_flying:  # Linux lets it grow only where it was filled
                self.bytes += size


class Relay:
    """Listens on an address of this machine for a server's ports; `seconds` is the round-trip time, to be set at will.

    Only connections to the first port are counted.
    """

    def __init__(self, address: str, ports: Sequence[int]) -> None:
        self.address = address
        self.server = ""
        self.seconds = 0.0
        self.traffic = Traffic()
        self.counting = threading.Lock()
        self.listeners = [socket.create_server((address, port)) for port in ports]
        for listener, port in zip(self.listeners, ports, strict=True):
            arguments = (listener, port, port == ports[0])
            threading.Thread(target=self._accept, args=arguments, daemon=True).start()

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()

    def _accept(self, listener: socket.socket, port: int, counted: bool) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(near, port, counted), daemon=True).start()

    def _connect(self, near: socket.socket, port: int, counted: bool) -> None:
        if counted:
            self._count(Traffic(connections=1))
        time.sleep(1.5 * self.seconds)  # SYN, SYN+ACK, ACK: the server speaks after the third
        far = socket.create_connection((self.server, port))
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, target, up in ((near, far, counted), (far, near, False)):
            chunks: queue.SimpleQueue[Chunk] = queue.SimpleQueue()
            threading.Thread(target=self._take, args=(source, chunks, up), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(chunks, target), daemon=True).start()

    def _take(self, source: socket.socket, chunks: "queue.SimpleQueue[Chunk]", counted: bool) -> None:
        data, window = b"first", Window()
        while data:
            try:
                data = source.recv(CHUNK_BYTES)
            except OSError:
                data = b""
            if counted:
                self._count(Traffic(bytes_up=len(data)))
            for chunk in window.pass_on(data, time.monotonic(), self.seconds):
                chunks.put(chunk)
        chunks.put((max(time.monotonic(), window.left) + self.seconds / 2, b""))

    def _pass_on(self, chunks: "queue.SimpleQueue[Chunk]", target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the receiver has gone
            while True:
                due, data = chunks.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)

    def _count(self, more: Traffic) -> None:
        with self.counting:
            now = self.traffic
            self.traffic = Traffic(now.connections + more.connections, now.bytes_up + more.bytes_up)
