"""Reads a connection of a CI key, with limits on size and time."""

import json
import re
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from ..agent.wire import Failed

MOST_PAYLOAD = 1 << 20  # the agent's source, which every client sends first; ignored here
MOST_FRAME = 4 << 20
MOST_JSON = 16 << 20  # unpacked
HEAD = re.compile(rb"([jb]) (\d{1,8})\n")
BLOCK = 1 << 16
UPLOAD_SECONDS = 1800  # for all files of a release
LEAST_RATE = 4096  # bytes a second, on average: a slower upload keeps a lock from others
RATE_SECONDS = 15  # the average counts after this time


class Malformed(Exception):
    pass


def read_line(stream: BinaryIO, most: int) -> bytes:
    line = stream.readline(most)
    if not line.endswith(b"\n"):
        raise Malformed
    return line


def skip_payload(stream: BinaryIO) -> None:
    size = read_line(stream, 16).strip()
    if not size.isdigit() or int(size) > MOST_PAYLOAD or len(stream.read(int(size))) < int(size):
        raise Malformed


def parts(stream: BinaryIO, size: int, count: Callable[[int], None]) -> Iterator[bytes]:
    """The next `size` bytes as they come, each part counted; fewer where the stream ends."""
    while size and (part := stream.read1(min(size, BLOCK))):  # type: ignore[attr-defined]
        count(len(part))
        size -= len(part)
        yield part


def read_message(stream: BinaryIO, count: Callable[[int], None] = lambda size: None) -> Any:
    """Like `wire.read_frame`, but with a size limit; None at the end of the stream."""
    line = stream.readline(16)
    if not line:
        return None
    head = HEAD.fullmatch(line)
    if not head or int(head[2]) > MOST_FRAME:
        raise Malformed
    body = b"".join(parts(stream, int(head[2]), count))
    if len(body) < int(head[2]):
        raise Malformed
    if head[1] == b"b":
        return body
    unpacker = zlib.decompressobj()
    try:
        message = json.loads(unpacker.decompress(body, MOST_JSON))
    except (zlib.error, ValueError, RecursionError):
        raise Malformed from None
    if not unpacker.eof or not isinstance(message, dict) or not isinstance(message.get("request"), str):
        raise Malformed
    return message


class Pace:
    """The speed of an upload, which holds a lock: at least LEAST_RATE."""

    def __init__(self) -> None:
        self.received = 0
        self.began: tuple[float, int] | None = None  # when, and `received` then

    def count(self, size: int) -> None:
        self.received += size

    def begin(self) -> None:
        self.began = self.began or (time.monotonic(), self.received)

    def end(self) -> None:
        self.began = None

    def require(self) -> None:
        """Failed if an upload is too slow, or takes too long; does nothing without an upload."""
        if self.began is None:
            return
        seconds = time.monotonic() - self.began[0]
        if seconds > UPLOAD_SECONDS or self.received - self.began[1] < LEAST_RATE * (seconds - RATE_SECONDS):
            rate = f"{LEAST_RATE // 1024} kB/s"
            raise Failed(f"the upload is slower than {rate}, or takes longer than {UPLOAD_SECONDS} s", "deploy again")
