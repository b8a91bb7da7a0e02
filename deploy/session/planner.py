"""Who makes the plan of a change: this machine, or the server if we are logged in with a CI key.

Both use the same code, `plan.decide`. Nothing else in the kit distinguishes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from ..agent.events import End, Event, Planned, Reply
from ..ci import kit, limits
from ..ci.inputs import as_table
from ..errors import NOTHING, HostError, Interrupted, StepFailed
from ..plan import decide, record
from ..plan.facts import Facts, Release
from ..plan.provision import other_version, require_provisioned
from ..source.upload import AHEAD_BYTES, Local
from . import preview
from .execute import Count, how_left, left_as, see_through
from .session import agent_of

if TYPE_CHECKING:
    from .operation import Operation

Blobs = Callable[[list[int]], Iterable[bytes]]


class Planner(Protocol):
    def require(self, facts: Facts) -> None:
        """Raise HostError if the server is not ready for the change."""

    def deploy(self, local: Local, facts: Facts, reply: Reply, news: str) -> None:
        """reply: of the survey. news: what is uploaded, as text."""

    def rollback(self, wanted: str, facts: Facts) -> None:
        """Back to the release `wanted`; "" is the newest good one before the current."""


def planner_of(change: Operation) -> Planner:
    return ByServer(change) if agent_of(change.host).ci else ByOperator(change)


class ByOperator:
    """The plan is made on this machine, and sent to the server."""

    def __init__(self, change: Operation) -> None:
        self.change = change
        self.agent = agent_of(change.host)

    def require(self, facts: Facts) -> None:
        require_provisioned(self.change.app, self.change.site, facts, self.agent.where)
        if note := other_version(facts):
            self.change.screen.say(f"note: {note}", "yellow", self.change.host.name)

    def deploy(self, local: Local, facts: Facts, reply: Reply, news: str) -> None:
        change, options = self.change, self.change.options
        framework, reading = local.framework, local.reading
        more = framework.advice(change.app, reading), framework.products(change.app, reading)
        brought = decide.Brought(local.source.entries, local.requirements, local.source.commit, *more)
        made = decide.deploy(change.app, change.by, facts, brought, news)
        new = made.release.id not in facts.records
        if options.check and new:
            packages = preview.packages(self.agent, change.app, facts, local.found, made.release.record)
            preview.show(change.screen, change.host, facts, reply, packages, local.source)

        def blobs(indices: list[int]) -> Iterator[bytes]:
            return local.blobs(indices, change.show)

        missing: list[int] = reply["missing"]
        at_once = new and missing and local.size_bytes(missing) <= AHEAD_BYTES and not options.check
        plan = limits.kept(made.plan, change.app, change.site) if facts.ci else made.plan
        if facts.ci not in ("", kit.version()):
            what = "CI keys use another version of Ashore than this one; `fab ci.key` updates them"
            change.screen.say(f"note: {what}", "yellow", change.host.name)
        ahead = missing if at_once else None
        change.serve(plan, facts, made.release, change.app, made.done, blobs=blobs, ahead=ahead)

    def rollback(self, wanted: str, facts: Facts) -> None:
        change = self.change
        made = decide.rollback(change.app, change.by, facts, wanted, dict(change.last), self.agent.where)
        change.serve(made.plan, facts, made.release, made.app, made.done)


class ByServer:
    """The server makes the plan and runs it; this side shows its events."""

    def __init__(self, change: Operation) -> None:
        self.change = change
        self.agent = agent_of(change.host)

    def require(self, facts: Facts) -> None:
        """The server checks its own readiness; here, only options are checked."""
        if self.change.options.break_lock:
            what, hint = "a CI key cannot break a lock", "--wait waits until the other run ends"
            raise HostError(what, self.agent.where, NOTHING, hint)

    def deploy(self, local: Local, facts: Facts, reply: Reply, news: str) -> None:
        source = local.source
        if self.change.options.check:
            venv = record.venv_key(source.entries, local.found, facts.python, True)
            packages = [] if venv == facts.record.get("venv") else [UNTOLD]
            preview.show(self.change.screen, self.change.host, facts, reply, packages, source)
        message = {"request": "ci_deploy", "requirements": local.requirements, "commit": source.commit}
        self.see_through(message, facts, lambda indices: local.blobs(indices, self.change.show))

    def rollback(self, wanted: str, facts: Facts) -> None:
        self.see_through({"request": "ci_rollback", "release": wanted}, facts)

    def see_through(self, message: dict[str, Any], facts: Facts, blobs: Blobs = lambda indices: ()) -> None:
        change = self.change
        screen, host, options = change.screen, change.host, change.options
        if facts.ci != kit.version():
            what = "the server plans with another version of Ashore; an operator can update it with `fab ci.key`"
            screen.say(f"note: {what}", "yellow", host.name)
        message |= {"app": as_table(change.app), "who": change.who}
        message |= {"check": options.check, "wait": options.wait, "force": options.force}
        planned: Planned | None = None
        count = change.count = Count()

        def ask(show: Callable[[Event], None]) -> End:
            def see(event: Event) -> None:
                nonlocal planned
                if event["event"] == "planned":
                    planned = event
                show(event)

            return self.agent.carry(message, see, blobs)

        try:
            see_through(ask, host, screen, options, "done", count)
        except (StepFailed, Interrupted) as error:
            if planned:
                error.state = error.state or left_as(count, planned["release"], facts.current, planned["new"])
                change.rollout.leave(host, how_left(count.end, planned["release"], facts.current))
            raise
        assert planned is not None, "the server's side says it before it begins"
        release = Release(planned["release"], limits.site_from_json(planned["site"]), planned["record"])
        change.finish(facts, release, record.as_recorded(change.app, release.record))


UNTOLD = "changed; an operator's `fab deploy --check` shows which"
