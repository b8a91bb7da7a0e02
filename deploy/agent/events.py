"""Every kind of event that the agent sends; `screen.events` has those that the operator's side makes.

docs/json.md explains to programs those that they get. The agent's modules import this under TYPE_CHECKING only, so it
is not sent to servers. A key of `total=False` may be absent; Python 3.10 has no NotRequired, hence two classes for
some kinds.
"""

from typing import Any, Literal, TypeAlias, TypedDict

StepState = Literal["ok", "changed", "would change", "undone", "failed"]
EndState = Literal["ok", "failed", "refused", "cancelled"]
Stream = Literal["out", "err"]


# The conversation of the two sides, which the screen does not show.


class HelloFields(TypedDict, total=False):
    """Of the server's side of a CI key: its app, and the versions of protocol and kit."""

    ci: str
    protocol: int
    kit: str


class Hello(HelloFields):
    event: Literal["hello"]


class Reply(TypedDict, total=False):
    """The answer to a request: to "ask" it is `answer`; to "survey" it is the facts, and what a manifest lacks."""

    event: Literal["reply"]
    answer: Any
    missing: list[int]
    added: list[str]
    changed: list[str]
    removed: list[str]


class Missing(TypedDict):
    """Which files of the manifest are to be uploaded, by their indices."""

    event: Literal["missing"]
    indices: list[int]


class Looked(TypedDict):
    """A first look found nothing to do, see `agent.look`. seconds: of each step. said: events of that look.

    parts: number of a step → its part whose title it has on this server.
    """

    event: Literal["looked"]
    said: list[Any]
    seconds: list[float]
    parts: dict[int, str]
    took: float


class Whole(TypedDict):
    """A first look found something to do: the whole agent is to be sent."""

    event: Literal["whole"]


class Planned(TypedDict):
    """What the server's side of a CI key decided. new: the release did not exist before."""

    event: Literal["planned"]
    release: str
    record: dict[str, Any]
    site: dict[str, Any]
    new: bool


class Prove(TypedDict):
    """Asks for a second login. keys: the server's host keys, as in its files."""

    event: Literal["prove"]
    step: str
    keys: list[str]


class Data(TypedDict):
    """Output of a command of `fab run`, in base64."""

    event: Literal["data"]
    stream: Stream
    data: str


class Took(TypedDict):
    """One block of input for a command of `fab run` was taken."""

    event: Literal["took"]


class Halted(TypedDict):
    """The agent waits for SIGUSR1, as ASHORE_HALT has it: for tests."""

    event: Literal["halted"]
    number: int
    step: str
    pid: int


# A change while it is made.


class RunFields(TypedDict, total=False):
    """One run in the server's history; see also `From`."""

    app: str
    verb: str
    who: str
    started: float
    release: str
    previous: str
    commit: str
    note: str
    step: str


From = TypedDict("From", {"from": str}, total=False)  # the address that the operator came from; a keyword of Python's


class LastRun(RunFields, From, total=False):
    """by_operator: it was cancelled by its own operator."""

    state: Literal["ok", "failed", "refused", "cancelled", "cut off"]
    what: str
    by_operator: bool


class Last(TypedDict):
    event: Literal["last"]
    run: LastRun


class Waiting(TypedDict):
    event: Literal["waiting"]
    holder: str


class Start(TypedDict):
    event: Literal["start"]
    step: str


class Progress(TypedDict):
    event: Literal["progress"]
    percent: float
    what: str


class Output(TypedDict):
    event: Literal["output"]
    argv: list[str]
    text: str


class Said(TypedDict):
    event: Literal["said"]
    text: str


class DriftShown(TypedDict):
    what: str
    found: str
    wanted: str
    diff: str


class Step(TypedDict):
    event: Literal["step"]
    step: str
    state: StepState
    seconds: float
    drift: list[DriftShown]


class DiskSeen(TypedDict):
    """A file system that is nearly full. bytes, files: what may still come; None for the one that is not scarce."""

    path: str
    bytes: int | None
    files: int | None


class ServerSeen(TypedDict, total=False):
    event: Literal["noticed"]
    disks: list[DiskSeen]
    failed: list[str]
    certificate: str
    trusted: bool
    firewall_gone: bool
    retiring: list[str]


class ProbeResult(TypedDict):
    requests: int
    failed: int
    slowest_ms: int
    first_failure: str


class End(TypedDict, total=False):
    """`event` and `state` are always there. Those from `step` on are of a run that did not end well.

    serves: the release that the link names now. repointed: the run had pointed that link at another release, even if
    that was undone. switched: the steps that can be undone were done. stands: how things stand, where the step that
    failed knows that. done: the word for the success of a plan of the server's. status: of a command of `fab run`.
    """

    event: Literal["end"]
    state: EndState
    changed: int
    seconds: float
    probe: ProbeResult
    serves: str
    done: str
    status: int
    step: str
    applied: bool
    switched: bool
    repointed: bool
    what: str
    hint: str
    detail: str
    stands: str
    by_operator: bool
    undo_errors: list[str]


class LogLine(TypedDict):
    event: Literal["line"]
    time: float
    source: str
    level: int
    text: str


Internal: TypeAlias = Hello | Reply | Missing | Looked | Whole | Planned | Prove | Data | Took | Halted
Change: TypeAlias = Last | Waiting | Start | Progress | Output | Said | Step | ServerSeen | End
Event: TypeAlias = Internal | Change | LogLine
