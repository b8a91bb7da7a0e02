"""One plan on one host: carried out, counted, shown."""

import threading
from collections.abc import Callable
from typing import Any

from ..agent.dataclass import dataclass, field
from ..agent.events import End, Event, ServerSeen, Step
from ..agent.wire import Plan
from ..errors import Interrupted, StepFailed
from ..screen.screen import Screen
from ..screen.summary import counted, of_probe
from .second_login import answer
from .session import Host, Options, agent_of, operator


@dataclass
class Count:
    """Counts the results of steps, and keeps the last events of a run."""

    ok: int = 0
    changed: int = 0
    end: End = field(default_factory=End)
    noticed: ServerSeen = field(default_factory=ServerSeen)  # the last one

    def take(self, event: Event) -> None:
        if event["event"] == "step":
            self.ok += event["state"] == "ok"
            self.changed += event["state"] in ("changed", "would change")
        elif event["event"] == "end":
            self.end = event
        elif event["event"] == "noticed":
            self.noticed = event


def title(screen: Screen, verb: str, host: Host, options: Options) -> None:
    checking = " (--check: nothing is changed)" if options.check else ""
    screen.say(f"{verb} {host.stage.name} on {host.made.user}@{host.made.host}{checking}", "bold")


def carry_out(
    plan: Plan,
    host: Host,
    screen: Screen,
    options: Options,
    done: str,
    run: dict[str, Any],
    count: Count,
    **upload: Any,
) -> None:
    """Carry out a plan on a host and show it. done: the word for its success. run: for the server's history."""
    run = {**run, **told_of(plan.verb, options)}

    def ask(show: Callable[[Event], None]) -> End:
        return agent_of(host).plan(plan, check=options.check, run=run, wait=options.wait, on_event=show, **upload)

    see_through(ask, host, screen, options, done, count)


def told_of(verb: str, options: Options) -> dict[str, Any]:
    """What the server's history and a second operator are told of any run."""
    return {"verb": verb, "who": operator(), "break_lock": options.break_lock}


def see_through(
    ask: Callable[[Callable[[Event], None]], End],
    host: Host,
    screen: Screen,
    options: Options,
    done: str,
    count: Count,
) -> None:
    """Show what a plan on a host does, and how it ends. ask: runs it, and passes each event to the given function."""

    def show(event: Event) -> None:
        if event["event"] == "prove":
            threading.Thread(target=answer, args=(host, event), daemon=True).start()  # the server goes on meanwhile
            return
        count.take(event)
        screen.event(host.name, event)

    try:
        end = ask(show)
    except StepFailed as error:
        end = count.end
        failed: Step = {"event": "step", "step": end["step"], "state": "failed", "seconds": 0.0, "drift": []}
        if end["step"]:
            screen.event(host.name, failed)
        tell_probe(end, host, screen)
        if end.get("by_operator"):
            raise Interrupted(
                "interrupted", error.where, error.state, "run the same command again to finish it"
            ) from error
        raise
    tell_probe(end, host, screen)
    word = "checked" if options.check else end.get("done", done)
    screen.say(counted(word, count.changed, count.ok, end["seconds"], check=options.check), "bold", host.name)


def left_as(count: Count, release: str, before: str, is_new: bool) -> str:
    """The state of the server after a failed change: which release gets traffic, and what was undone.

    before: the release that had the traffic when the change began.
    """
    serves, errors = count.end.get("serves", before), count.end.get("undo_errors")
    if not serves:
        stands = "no release gets traffic"
    elif serves == before != release:
        stands = f"traffic {'is back' if count.end.get('repointed') else 'stays'} on {serves}"
    else:
        stands = f"traffic {'stays on' if serves == before else 'goes to'} {serves}"
    if errors:
        return "\n".join([f"{stands}; not everything could be undone:", *errors])
    if serves == release:
        return stands
    return f"{stands}; {release} was {'stopped and removed' if is_new else 'stopped'}"


def how_left(end: End, release: str, current: str) -> str:
    """The state of one of several hosts after a failed change, in short."""
    if end.get("switched"):
        return f"on {release}, but not finished"
    how = "unchanged" if not end.get("applied") else "not all undone" if end.get("undo_errors") else "undone"
    serves = end.get("serves", current)  # not the one from before, where going back has failed
    return f"{how}, on {serves}" if serves else how


def tell_probe(end: End, host: Host, screen: Screen) -> None:
    if (probe := end.get("probe")) and probe["requests"]:  # none: only the previous release could be asked
        screen.say(*of_probe(probe), host.name)
