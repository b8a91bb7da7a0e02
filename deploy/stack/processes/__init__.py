"""What a release runs besides its web server: workers and the jobs of timers, each as a unit of its own.

base       what they share: the command, and how much memory each may use
workers    the processes of [processes.NAME]
timers     the timers of [timers.NAME] and their jobs
"""

from ...config.reader import App
from . import timers, workers


def unit_texts(app: App, release_id: str, counts: dict[str, int] | None = None) -> dict[str, str]:
    """The units of a release besides its web server's: name → text. counts: see `workers.numbered`."""
    return {**workers.of_workers(app, release_id, counts or {}), **timers.of_timers(app, release_id)}
