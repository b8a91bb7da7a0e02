"""`fab releases` and `fab history`: what is on the servers, and what was done to the app there."""

from ..agent import history as past
from ..agent import layout
from ..agent.questions import facts
from ..screen import tables
from ..session.session import Call, Host, agent_of


def releases(call: Call) -> None:
    app = call.app.name

    def show(host: Host) -> None:
        found = agent_of(host).ask(facts.releases, app=app, app_directory=layout.home(app))
        none = f"no release of {app} is on {host.name} yet (`fab deploy`)"
        call.screen.table(host.name, tables.releases(found), none)

    call.run(show)


def history(call: Call, lines: int) -> None:
    """lines: how many, the last ones; 0 is all."""

    def show(host: Host) -> None:
        found = agent_of(host).ask(past.read, app=call.app.name, count=lines)
        call.screen.table(host.name, tables.history(found), f"nothing was done yet to {call.app.name} on {host.name}")

    call.run(show)
