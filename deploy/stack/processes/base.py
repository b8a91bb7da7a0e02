"""What processes and jobs share: how their command is written, and their part of the memory."""

from typing import Any

from ...agent import layout
from ...config.reader import App
from ..data import served_data
from ..render import render


def quoted(command: str) -> str:  # for bash, which becomes the last program of a command: dash stays its parent
    """A command line as one word of a unit's ExecStart=: no specifier or variable of systemd's in it counts."""
    escaped = command.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def memory_share(app: App, claimed: int = 0) -> str:
    """How much of the server's memory one process may use, in percent, as text. claimed: its own memory_percent.

    The web process, the others and the jobs of timers share what a release may use.
    """
    if claimed:
        return str(claimed)
    counted = [(each.count, each.memory_percent) for each in app.processes]
    counted += [(1, each.memory_percent) for each in app.timers]
    left = app.memory_percent - sum(count * percent for count, percent in counted)
    sharing = 1 + sum(count for count, percent in counted if not percent)
    return f"{max(left / sharing, 1):.2f}".rstrip("0").rstrip(".")


def unit_text(template: str, app: App, release_id: str, name: str, memory: str, **more: Any) -> str:
    return render(
        template,
        app=app,
        release=release_id,
        name=name,
        memory=memory,
        web=False,
        script=layout.PROCESS_SCRIPT,
        data_served=bool(served_data(app)),
        **more,
    )
