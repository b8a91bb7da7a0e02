"""`fab releases` and `fab history`: what is on the servers, and what was done to the app there."""

from ..agent import history as past
from ..agent import layout
from ..agent.questions import facts
from ..screen import tables
from ..session.session import Call, Host, agent_of


def list_releases(call: Call) -> None:
    app = call.app.name

    def show(host: Host) -> None:
        found = agent_of(host).ask(facts.releases, app=app, app_directory=layout.home(app))
        none = f"{app} has no release on {host.name} yet; create one with `fab deploy`"
        call.screen.table(host.name, tables.release_rows(found), none)

    call.run(show)


def list_history(call: Call, lines: int) -> None:
    """lines: how many, the last ones; 0 is all."""
    app = call.app.name

    def show(host: Host) -> None:
        found = agent_of(host).ask(past.read, app=app, count=lines)
        call.screen.table(host.name, tables.history_rows(found), f"{app} has no history on {host.name} yet")

    call.run(show)
