"""`fab logs`: what the app has written, from the server's journal."""

from ..agent import layout
from ..agent.events import Event
from ..errors import HostError
from ..session.session import Call, Host, agent_of
from ..stack.proxies import proxy


def logs(call: Call, *, lines: int, since: str, follow: bool, release: str, with_proxy: bool) -> None:
    """lines: how many, the last ones; 0 is all. release: its ID; "" is all. with_proxy: its lines, too."""
    app = call.app.name
    unit = layout.unit(app, release or "*")
    front = proxy()
    files = [f"{front.logs(app)}/{file}" for file in ("access.log", "error.log")]
    asked = {
        "request": "logs",
        "units": [unit, *([front.front.unit] if with_proxy else [])],
        "files": files if with_proxy else [],
        "lines": lines,
        "since": since,
        "follow": follow,
        "app": app,
    }

    def read(host: Host) -> None:
        shown = 0

        def show(event: Event) -> None:
            nonlocal shown
            shown += event["event"] == "line"
            call.screen.event(host.name, event)

        agent_of(host).request(asked, show)
        if not shown and not follow:
            hint = f"is {app} deployed there? Try: fab logs --since '1 week ago'"
            raise HostError(f"the journal has no lines of {unit}", agent_of(host).where, hint=hint)

    call.run(read)
