"""Every kind of event that the operator's side makes, for programs; `agent.events` has those that the agent sends."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, TypedDict

from ..agent.events import From, RunFields

BETWEEN_SIDES = (  # kinds of the agent's events that neither people nor programs get
    "hello", "reply", "missing", "looked", "whole", "planned", "prove", "data", "took",
)  # fmt: skip


class Note(TypedDict):
    event: Literal["note"]
    host: str
    text: str


class Answers(TypedDict):
    event: Literal["answers"]
    host: str
    url: str
    release: str
    where: str
    what: str
    how: str


class Files(TypedDict):
    added: list[str]
    changed: list[str]
    removed: list[str]


class PreviewFields(TypedDict, total=False):
    commits: list[str]


class Preview(PreviewFields):
    event: Literal["preview"]
    host: str
    since: str
    files: Files
    packages: list[str]


class KeyShown(TypedDict):
    fingerprint: str
    name: str


class CiKey(TypedDict):
    event: Literal["ci_key"]
    host: str
    login: str
    host_key: str
    keys: list[KeyShown]
    private: str


class Error(TypedDict):
    event: Literal["error"]
    host: str
    what: str
    where: str
    state: str
    hint: str
    detail: str


# Rows of lists, which get their `host` from the screen.


ReleaseState = Literal["current", "good", "rolled back", "restarted", "unfinished", "failed"]


class ReleaseRow(TypedDict):
    event: Literal["release"]
    release: str
    state: ReleaseState
    made: float | str
    by: str
    commit: str
    python: str
    size: str
    note: str


class Run(RunFields, From, total=False):
    event: Literal["run"]
    outcome: Literal["ok", "failed", "refused", "cancelled", "cut off"]
    seconds: float
    requests: int
    failed: int
    why: str
    undone: bool


class TimerRow(TypedDict):
    """next: epoch seconds. last: how the last run ended; {} before the first."""

    event: Literal["timer"]
    name: str
    schedule: str
    active: bool
    running: bool
    next: float | None
    last: dict[str, Any]


class ProcessRow(TypedDict):
    """count: how many are wanted. configured: how many deploy.toml says, or the Procfile."""

    event: Literal["process"]
    name: str
    count: int
    running: int
    configured: int
    restarts: int


class VariableFields(TypedDict):
    event: Literal["variable"]
    name: str
    over: list[str]


Origin = TypedDict("Origin", {"from": Literal["kit", "app", "set"]})


class Variable(VariableFields, Origin):
    pass


class CertificateRow(TypedDict):
    event: Literal["certificate"]
    names: list[str]
    issuer: str
    ends: str
    state: Literal["good", "late", "expired", "self-signed"]
    renewed_by: Literal["certbot", "you", "nobody"]
    not_before: str
    serial: str


class Sandbox(TypedDict):
    event: Literal["sandbox"]
    host: str
    name: str
    address: str
    user: str
    key_file: str
    host_key: str
    state: str


class KeyMeaning(TypedDict):
    event: Literal["key"]
    host: str
    key: str
    table: str
    topic: str
    meaning: str
    takes: str
    required: bool
    default: Any
    example: Any
    rolls_back: bool
    applied_by: Sequence[str]
    now: dict[str, Any]


class FindingShown(TypedDict):
    event: Literal["finding"]
    host: str
    level: Literal["ok", "note", "warning", "error"]
    what: str
    fix: str
    where: str


Result: TypeAlias = FindingShown | KeyMeaning | Answers | Preview | CiKey | Error | Sandbox
Row: TypeAlias = ReleaseRow | Run | TimerRow | ProcessRow | Variable | CertificateRow
Made: TypeAlias = Note | Result | Row
