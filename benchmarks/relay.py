"""A TCP relay that makes a server look far away, and counts what passes.

It delays each direction by half the round-trip time and the opening of a connection by the time TCP's handshake would
take, but throttles nothing: a queue of chunks with the time at which each is due. Slow start is not modelled.
"""

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

CHUNK_BYTES = 1 << 16
Chunk = tuple[float, bytes]


@dataclass(frozen=True)
class Traffic:
    """What has passed since the relay began."""

    connections: int = 0
    bytes_up: int = 0

    def since(self, before: "Traffic") -> "Traffic":
        return Traffic(self.connections - before.connections, self.bytes_up - before.bytes_up)


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
        data = b"first"
        while data:
            try:
                data = source.recv(CHUNK_BYTES)
            except OSError:
                data = b""
            if counted:
                self._count(Traffic(bytes_up=len(data)))
            chunks.put((time.monotonic() + self.seconds / 2, data))

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
