"""`fab scale`, `fab timers` and `fab timers.run`: what runs besides the web server."""

from ..agent import layout
from ..agent.events import Event
from ..agent.questions import jobs
from ..agent.questions.workers import workers
from ..errors import HostError, Interrupted
from ..plan import scale as plans
from ..screen import tables
from ..session.execute import Count, carry_out
from ..session.operation import Operation, change_each, nothing
from ..session.session import Call, Host, agent_of


def list_processes(call: Call) -> None:
    app = call.app

    def show(host: Host) -> None:
        found = agent_of(host).ask(workers, app=app.name)
        none = f"{app.name} has only its web server on {host.name}; [processes.NAME] in deploy.toml adds processes"
        call.screen.table(host.name, tables.process_rows(found), none)

    call.run(show)


def scale(call: Call, written: str) -> None:
    """written: as it was typed, "worker=3"."""
    counts = plans.wanted(written)
    change_each(call, "scale", lambda change, _: scale_on(change, counts), nothing)


def scale_on(change: Operation, counts: dict[str, int | None]) -> None:
    facts = change.survey(activates=False)[0]
    change.require_release(facts)
    app, where = change.app, agent_of(change.host).where
    after = plans.scaled(app, facts, counts, where)
    plan = plans.scaling(app, facts, after, change.options.force)
    if note := plans.memory_note(app, facts, after):
        change.screen.say(f"note: {note}", "yellow", change.host.name)
    told = ", ".join(
        f"{name} {'as in deploy.toml' if count is None else f'× {count}'}" for name, count in counts.items()
    )
    run = {"app": app.name, "note": told}
    carry_out(plan, change.host, change.screen, change.options, told, run, Count())


def list_timers(call: Call) -> None:
    app = call.app

    def show(host: Host) -> None:
        found = agent_of(host).ask(jobs.timers, app=app.name)
        none = f"{app.name} has no timers on {host.name}; [timers.NAME] in deploy.toml adds some"
        call.screen.table(host.name, tables.timer_rows(found), none)

    call.run(show)


def run_timer(call: Call, name: str) -> None:
    """Run a timer's job now on each host, show what it writes, and fail if it does."""

    def run_on(host: Host) -> None:
        agent = agent_of(host)

        def show(event: Event) -> None:
            call.screen.event(host.name, event)

        ended = agent.request({"request": "job", "app": call.app.name, "name": name}, show)
        if call.session.interrupted.is_set():
            raise Interrupted("interrupted", agent.where)
        last = agent.ask(jobs.last, app=call.app.name, name=name)
        if not last or last["result"] != "success":
            what = f"{name} failed: {tables.failure(last)}" if last else f"{name} has not run"
            release = last.get("release", "") if last else ""
            where = f"{agent.where}, {layout.job_unit(call.app.name, release, name)}"
            raise HostError(what, where, "the site is not affected", f"fab logs --process {name}")
        call.screen.say(f"{name}: ok, in {ended['seconds']:.1f} s", "bold", host.name)

    call.run(run_on)
