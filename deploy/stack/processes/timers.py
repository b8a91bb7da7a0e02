"""The timers of a release, and the jobs that they start."""

from ...agent import layout
from ...config.reader import App
from ..render import render
from .base import memory_share, quoted, unit_text

JOB, TIMER = "systemd/job@.service.j2", "systemd/timer@.timer.j2"


def units(app: App, release_id: str) -> tuple[str, ...]:
    return tuple(layout.timer_unit(app.name, release_id, timer.name) for timer in app.timers)


def of_timers(app: App, release_id: str) -> dict[str, str]:
    found = {}
    for timer in app.timers:
        memory, command = memory_share(app, timer.memory_percent), quoted(timer.command)
        job = unit_text(JOB, app, release_id, timer.name, memory, timer=timer, command=command)
        found[layout.job_unit(app.name, release_id, timer.name)] = job
        text = render(TIMER, app=app, release=release_id, name=timer.name, timer=timer)
        found[layout.timer_unit(app.name, release_id, timer.name)] = text
    return found
