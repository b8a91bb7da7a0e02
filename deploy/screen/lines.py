"""Event → lines with their styles, for people. Pure; `plain` and `console` write them."""

import time

from ..agent.events import DriftShown, Event, LastRun, LogLine, Output, Step
from .events import BETWEEN_SIDES

Styled = tuple[str, str]  # text, and the style that it has at a terminal
STYLES = {"ok": "dim", "changed": "green", "would change": "yellow", "undone": "yellow", "failed": "bold red"}
DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}
WIDTH = len("would change")
INDENT = " " * (WIDTH + 2)
ERROR_LEVEL, WARNING_LEVEL = 3, 4  # syslog's
HIDDEN = "[hidden]"
QUIET = (  # kinds of the agent's events that have no line of their own
    *BETWEEN_SIDES,
    "halted",  # for tests
    *("start", "progress"),  # a progress bar, at a terminal
    *("noticed", "end"),  # what there is to say about them comes as notes, see `summary`
    "line",  # see `log_line`
)


def lines(event: Event, verbose: bool) -> list[Styled]:
    """An event without lines is in QUIET; an unknown event of a newer version is named."""
    if event["event"] == "step":
        return step_lines(event, verbose)
    if event["event"] == "output":
        return output_lines(event) if verbose else []
    if event["event"] == "said":
        return [(INDENT + event["text"], "dim")]
    if event["event"] == "last":
        return [(last_run(event["run"]), "yellow")]
    if event["event"] == "waiting":
        return [(f"waiting: {event['holder']}", "yellow")]
    if event["event"] in QUIET:
        return []
    return [(f"note: this version of Ashore does not know the event {event['event']}", "dim")]


def step_lines(event: Step, verbose: bool) -> list[Styled]:
    seconds = f"  {event['seconds']:.1f} s" if event["seconds"] >= 0.1 else ""
    shown = [(f"{event['state']:>{WIDTH}}  {event['step']}{seconds}", STYLES.get(event["state"], ""))]
    if event["state"] == "would change" or verbose:
        shown += [line for drift in event["drift"] for line in drift_lines(drift)]
    return shown


def drift_lines(drift: DriftShown) -> list[Styled]:
    diff = drift["diff"]
    if diff and diff != HIDDEN:
        return [(INDENT + line, DIFF_STYLES.get(line[:1], "")) for line in diff.splitlines()]
    hidden = diff or drift["found"] == drift["wanted"]  # both are [hidden]
    shown = HIDDEN if hidden else f"{drift['found']} → {drift['wanted']}"
    return [(f"{INDENT}{drift['what']}: {shown}", "yellow")]


def output_lines(event: Output) -> list[Styled]:
    text = [(f"  {line}", "dim") for line in event["text"].rstrip().splitlines()]
    return [(f"$ {' '.join(event['argv'])}", "bold"), *text]


def log_line(event: LogLine, host: str) -> list[Styled]:
    """The parts of one line. host: "" where there is one only."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(event["time"]))
    source, level = event["source"].removesuffix(".service"), event["level"]
    style = "red" if level <= ERROR_LEVEL else "yellow" if level <= WARNING_LEVEL else ""
    return [(f"{when} {f'{host} ' if host else ''}", "dim"), (source, "cyan"), (" ", ""), (event["text"], style)]


def last_run(run: LastRun) -> str:
    """How a run ended that had lost the connection to its operator."""
    when, why = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(run["started"])), run.get("what", "")
    how = {
        "ok": "continued without its operator and finished",
        "failed": f"failed at: {run.get('step', '')}: {why}",
        "cancelled": f"was stopped: {why}" if why and not run.get("by_operator") else "was stopped by its operator",
        "cut off": "was cut off; this run finishes it",
    }.get(run["state"], run["state"])
    return f"note: `{run['verb']}` by {run['who']}, started {when}, {how}"
