"""What the two sides say to each other, and how it looks on the wire.

Operator to agent: frames `KIND SIZE\\n` + SIZE bytes; KIND `j` is zlib-packed JSON, `b` is raw bytes.
Agent to operator: one JSON object a line.
"""

import json
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from .dataclass import dataclass, fields, is_dataclass

if TYPE_CHECKING:
    from .system import System

BLOCK = 1 << 16
BEAT_SECONDS = 3  # how often an operator's side says that it is there
DIGEST_SIZE = 12  # hexadecimal digits, as in a seal: an edit by hand does not hit it
LARGE = 1 << 20  # bytes of a message beyond which packing it well takes longer than sending it


@dataclass(frozen=True)
class Secret:
    """Text that must not be seen: prints as [hidden] everywhere but in the file that it is for."""

    value: str

    def __repr__(self) -> str:
        return "[hidden]"

    __str__ = __repr__


class Entry(NamedTuple):
    """One file of a source tree. kind: "f" a file, "x" an executable one, "l" a link (then `hash` is its target)."""

    path: str
    kind: str
    size: int
    hash: str


@dataclass(frozen=True)
class Drift:
    """A difference found on the host. `diff` is a unified diff where the difference is in a text file."""

    what: str
    found: object
    wanted: object
    diff: str = ""


class Refused(Exception):
    """Found while looking, before anything was changed: the plan must not go on. `detail` is quoted as it is.

    state: how things stand, where that is not told by how far the plan had come.
    """

    def __init__(self, what: str, hint: str = "", detail: str = "", state: str = "") -> None:
        super().__init__(what)
        self.what, self.hint, self.detail, self.stands = what, hint, detail, state


class Failed(Refused):
    """A step could not be done."""


class Cancelled(Failed):
    """Somebody asked to stop, and a step that waits has stopped waiting."""

    by_operator = False


class Stopped(Cancelled):
    """The one who asked is the operator of this run. where: the rest of the sentence."""

    by_operator = True

    def __init__(self, where: str = "") -> None:
        super().__init__(f"stopped by the operator{where}")


class Value:
    """Plain data that resources are made of. Subclasses are frozen dataclasses, found as kinds of resource are."""


class Resource:
    """A thing that must be true on a host. Subclasses are frozen dataclasses listed in `resources.KINDS`.

    guards: who gets in depends on it, so it waits until an earlier change of that kind is proved.
    titled: the field whose title is this one's, where that depends on the server; "" for most.
    """

    guards = False
    titled = ""

    @property
    def title(self) -> str:
        """The step as the screen names it, without its outcome."""
        raise NotImplementedError

    @property
    def units(self) -> tuple[str, ...]:
        """systemd units it asks about; one `systemctl show` serves a whole plan."""
        return ()

    @property
    def asks(self) -> tuple[tuple[str, ...], ...]:
        """Commands that only look, whose output `check` needs: they run while the checks are still being loaded."""
        return ()

    @property
    def shares(self) -> str:
        """The program whose files it changes and runs on other apps change, too; one at a time does. "" for most."""
        return ""

    def check(self, system: "System") -> list[Drift]:
        """The drift, touching nothing."""
        raise NotImplementedError

    def apply(self, system: "System") -> None:
        """Make it so. Called only after `check` found drift; may be repeated."""
        raise NotImplementedError


@dataclass(frozen=True)
class Plan:
    """Resources in order. A failure in `steps` runs `undo`; `finish` follows success, and its failure undoes nothing.

    `restore` puts back the guarded files that the run had changed, before `undo`. current: the link that says which
    release has the traffic, in a plan that may change that: its end tells what the link says then.
    """

    verb: str
    steps: tuple[Resource, ...]
    undo: tuple[Resource, ...] = ()
    finish: tuple[Resource, ...] = ()
    restore: bool = False
    current: str = ""

    @property
    def units(self) -> list[str]:
        return sorted({unit for step in (*self.steps, *self.undo, *self.finish) for unit in step.units})

    @property
    def asks(self) -> list[tuple[str, ...]]:
        return sorted({argv for step in (*self.steps, *self.finish) for argv in step.asks})


@dataclass(frozen=True)
class Digest:
    """A text by its hash: equal to that text, in `check` of a `look`."""

    hash: str

    def __eq__(self, text: object) -> bool:
        return isinstance(text, str) and digest(text) == self.hash


def digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_SIZE]


VALUES = {"Plan": Plan, "Secret": Secret, "Digest": Digest}


def pack(value: Any) -> Any:
    """JSON-ready form: a dataclass becomes {"kind": its class name, field: …}, without defaults."""
    if is_dataclass(value) and not isinstance(value, type):
        packed = {"kind": type(value).__name__}
        for field in fields(value):
            if (found := getattr(value, field.name)) != field.default:
                packed[field.name] = pack(found)
        return packed
    if isinstance(value, (list, tuple)):
        return [pack(item) for item in value]
    if isinstance(value, dict):
        return {key: pack(item) for key, item in value.items()}
    return value


def unpack(value: Any, kinds: Mapping[str, type]) -> Any:
    """The inverse of `pack`; lists come back as tuples. An unlisted kind is a KeyError."""
    if isinstance(value, list):
        return tuple(unpack(item, kinds) for item in value)
    if isinstance(value, dict):
        if "kind" in value:
            made = {key: unpack(item, kinds) for key, item in value.items() if key != "kind"}
            return (VALUES.get(value["kind"]) or kinds[value["kind"]])(**made)
        return {key: unpack(item, kinds) for key, item in value.items()}
    return value


def frame(message: Any) -> bytes:
    """One message from the operator: bytes travel raw, anything else as packed JSON."""
    if isinstance(message, bytes):
        return b"b %d\n" % len(message) + message
    text = json.dumps(pack(message), separators=(",", ":")).encode()
    body = zlib.compress(text, 9 if len(text) < LARGE else 1)
    return b"j %d\n" % len(body) + body


def read_frame(stream: BinaryIO, heard: Callable[[], None] = lambda: None) -> Any:
    """The next message, or None at the end of the stream or where the link broke inside a frame.

    heard: called whenever something of it has come.
    """
    head = stream.readline().split()
    if len(head) != 2:
        return None
    left, parts = int(head[1]), []
    while left:
        heard()
        part = stream.read1(min(left, BLOCK))  # type: ignore[attr-defined]
        if not part:
            return None
        parts.append(part)
        left -= len(part)
    heard()
    body = b"".join(parts)
    return body if head[0] == b"b" else json.loads(zlib.decompress(body))
