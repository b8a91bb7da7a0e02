"""Lines for people at a terminal: with Rich's colours, and a progress bar for the steps that are being applied."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

import rich.console
from rich.text import Text

from ..agent.events import Event
from .lines import Styled
from .plain import Plain
from .visible import visible

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Console(Plain):
    """As `Plain`. Styles are added to text that has passed `visible`."""

    def __init__(self, out: TextIO) -> None:
        super().__init__(out)
        self.terminal = rich.console.Console(file=out, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def event(self, host: str, event: Event, verbose: bool) -> None:
        name = f"{host}: " if host else ""
        if event["event"] == "start":
            bar, task = self._started(host)
            bar.reset(task, total=None, description=visible(name + event["step"]))
        elif event["event"] == "progress":
            bar, task = self._started(host)
            what = visible(name + event["what"])
            bar.update(task, total=100, completed=event["percent"], description=what)
        elif event["event"] in ("step", "end"):
            self._finish(host)
        super().event(host, event, verbose)

    def write(self, parts: Sequence[Styled]) -> None:
        shown = [Text(visible(text), style) for text, style in parts]
        self.terminal.print(shown[0] if len(shown) == 1 else Text.assemble(*shown))

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
            self._tasks.clear()

    def _started(self, host: str) -> tuple["Progress", "TaskID"]:
        if self._bar is None:
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            what = TextColumn("{task.description}", markup=False)
            columns = (SpinnerColumn(), what, BarColumn(30), TimeElapsedColumn())
            self._bar = Progress(*columns, console=self.terminal, transient=True)
            self._bar.start()
        if host not in self._tasks:
            self._tasks[host] = self._bar.add_task("", total=None)
        return self._bar, self._tasks[host]

    def _finish(self, host: str) -> None:
        if self._bar is not None and host in self._tasks:
            self._bar.remove_task(self._tasks.pop(host))
            if not self._tasks:
                self.stop()
