"""One plan on one host: carried out, counted, shown."""

from dataclasses import dataclass, field

from .agent.wire import Plan
from .errors import Interrupted, StepFailed
from .remote import Agent, Event
from .screen import Screen
from .session import Host, operator


@dataclass(frozen=True)
class Options:
    check: bool = False
    overwrite: bool = False


@dataclass
class Count:
    """How many steps ended how, from the events that pass."""

    ok: int = 0
    changed: int = 0
    failed: int = 0
    end: Event = field(default_factory=dict)

    def take(self, event: Event) -> None:
        if event["event"] == "step":
            self.ok += event["state"] == "ok"
            self.changed += event["state"] in ("changed", "would change")
        elif event["event"] == "end":
            self.end = event


def title(screen: Screen, verb: str, host: Host, options: Options) -> None:
    checking = " --check: what would change; nothing is" if options.check else ""
    screen.say(f"{verb} {host.stage.name} on {host.made.user}@{host.made.host}{checking}", "bold")


def agent_of(host: Host) -> Agent:
    assert host.agent is not None, "on_each connects before it runs the job"
    return host.agent


def carry_out(agent: Agent, plan: Plan, host: Host, screen: Screen, options: Options, done: str) -> None:
    count = Count()

    def show(event: Event) -> None:
        count.take(event)
        screen.event(host.name, event)

    try:
        end = agent.plan(plan, check=options.check, who=operator(), on_event=show)
    except StepFailed as error:
        end = count.end
        line = {"event": "step", "step": end["step"], "state": "failed", "seconds": 0.0, "drift": []}
        screen.event(host.name, line)
        if end["state"] == "cancelled":
            raise Interrupted(
                "interrupted", error.where, error.state, "run the same command again to finish the job"
            ) from error
        raise
    changes = f"{count.changed} would change" if options.check else f"{count.changed} changed"
    summary = f"{done if not options.check else 'checked'}: {changes}, {count.ok} ok, in {end['seconds']:.1f} s"
    screen.say(summary, "bold", host.name)
