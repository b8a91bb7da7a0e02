"""`fab logs`: what the app has written, from the server's journal."""

import difflib

from ..agent import layout
from ..agent.events import Event
from ..agent.resources.serving.read_only import hint_of_read_only
from ..config.commands import WEB
from ..config.reader import FILE, App
from ..errors import NOTHING, ConfigError, HostError
from ..session.session import Call, Host, agent_of
from ..stack.proxies import proxy_of


def logs(call: Call, *, lines: int, since: str, follow: bool, release: str, process: str, proxies: list[str]) -> None:
    """lines: how many, the last ones; 0 is all. release: its ID; "" is all. process: the name of one; "" is all.
    proxies: by name, whose lines, too.
    """
    app = call.app.name
    require_process(call.app, process)
    units = [layout.unit(app, each) for each in instances(release, process)]
    front, with_proxy = proxy_of(call.app), bool(proxies)
    require_one_of(front.name, proxies, app)
    files = [f"{front.logs(app)}/{file}" for file in front.log_files]
    asked = {
        "request": "logs",
        "units": [*units, *([front.front.unit] if with_proxy else [])],
        "files": files if with_proxy else [],
        "lines": lines,
        "since": since,
        "follow": follow,
        "app": app,
    }

    def read(host: Host) -> None:
        shown = 0
        hints: dict[str, None] = {}

        def show(event: Event) -> None:
            nonlocal shown
            call.screen.event(host.name, event)
            if event["event"] != "line":
                return
            shown += 1
            hint = hint_of_read_only(event["text"])
            if hint and hint not in hints:
                hints[hint] = None
                if follow:
                    call.screen.say(f"note: {hint}", "yellow", host.name)

        agent_of(host).request(asked, show)
        for hint in hints if not follow else ():
            call.screen.say(f"note: {hint}", "yellow", host.name)
        if not shown and not follow:
            hint = f"is {app} deployed there? Try: fab logs --since '1 week ago'"
            raise HostError(f"the journal has no lines of {units[0]}", agent_of(host).where, hint=hint)

    call.run(read)


def instances(release: str, process: str) -> list[str]:
    """The instances of an app's template whose lines are wanted, as patterns."""
    if process == WEB:
        return [release or "????????-??????"]
    if process:
        return [f"{release or '*'}.{process}", f"{release or '*'}.{process}.*"]
    return [release, f"{release}.*"] if release else ["*"]


def require_process(app: App, process: str) -> None:
    names = [WEB, *(each.name for each in app.processes), *(each.name for each in app.timers)]
    if process and process not in names:
        near = difflib.get_close_matches(process, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"processes and timers: {', '.join(names)}"
        raise ConfigError(f"there is no process {process} in {FILE}", "--process", NOTHING, hint)


def require_one_of(name: str, proxies: list[str], app: str) -> None:
    """No other proxy than the app's can have its lines."""
    for other in proxies:
        if other != name:
            hint = f"fab logs --{name}"
            raise ConfigError(f"{app} is served by {name}, so {other} has no lines of it", f"--{other}", NOTHING, hint)
