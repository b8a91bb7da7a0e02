"""`fab deploy` and `fab rollback` where a CI key let them in: the server makes the plan, and we see it through."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from .. import build, plans, preview
from ..answers import conclude, of_certificate, require_well, warn
from ..carry import Count, agent_of, how_left, left_as, see_through
from ..errors import Interrupted, StepFailed
from ..remote import Event
from . import kit, limits
from .inputs import as_table

if TYPE_CHECKING:
    from ..release import Change, Local

Blobs = Callable[[list[int]], Iterable[bytes]]


def deploy(change: Change, local: Local, facts: plans.Facts, reply: Event) -> None:
    source = local.source
    if change.options.check:
        venv = build.venv_key(source.entries, local.requirements, facts.python, True)
        preview.show(change.screen, change.host, change.app, facts, reply, local.requirements, venv, source)
    message = {"request": "ci_deploy", "requirements": local.requirements, "commit": source.commit}
    carry_out(change, message, facts, lambda indices: local.blobs(indices, change.show))


def rollback(change: Change, wanted: str, facts: plans.Facts) -> None:
    carry_out(change, {"request": "ci_rollback", "release": wanted}, facts)


def carry_out(change: Change, message: Event, facts: plans.Facts, blobs: Blobs = lambda indices: ()) -> None:
    options, agent = change.options, agent_of(change.host)
    if facts.ci != kit.version():
        note = (
            "note: the server makes the plan with another version of the kit; an operator's `fab ci.key` changes that"
        )
        change.screen.say(note, "yellow", change.host.name)
    message |= {"app": as_table(change.app), "who": change.who}
    message |= {"check": options.check, "wait": options.wait, "force": options.force}
    planned: dict[str, Any] = {}
    count = Count()

    def ask(show: Callable[[Event], None]) -> Event:
        def see(event: Event) -> None:
            if event["event"] == "planned":
                planned.update(event)
            show(event)

        return agent.carry(message, see, blobs)

    try:
        see_through(ask, change.host, change.screen, options, "done", count)
    except (StepFailed, Interrupted) as error:
        if planned:
            error.state = error.state or left_as(count, planned["release"], facts.current, planned["new"])
            change.rollout.leave(change.host, how_left(count.end, planned["release"], facts.current))
        raise
    release = plans.Release(planned["release"], limits.site_from_json(planned["site"]), planned["record"])
    if options.check:
        warn(change.screen, change.host, count, of_certificate(release.site, count))
        return
    app = build.as_recorded(change.app, release.record)
    answer = conclude(change.screen, change.host, facts, release, count, change.lookup, app)
    require_well(change.host, facts, release, count, answer)
