"""Hypercorn: ASGI, on asyncio."""

from ...agent.resources.release.package import Package
from ...agent.resources.serving.traffic import Restarts
from ...config.reader import App
from .. import served
from .base import Runner, own_socket, program


class Hypercorn(Runner):
    title = "Hypercorn"
    package = Package("hypercorn", title, (0, 16), "hypercorn>=0.16")
    restarts = Restarts("no line of its own", "Running on ")
    about_stop = (
        "Open requests are finished, for as long as a request may take; then WebSockets are closed.\n"
        "# systemd gives it ten seconds more."
    )

    def command(self, app: App, release: str) -> str:
        bound = f"--bind unix:{own_socket(app, release)} --umask 7 --workers ${{WEB_CONCURRENCY}}"
        # It keeps connections that the proxy has closed until they time out; the proxy uses none that is idle for 1 s.
        stop = f"--keep-alive 2 --graceful-timeout {app.timeout_seconds}"
        target = f"asgi:/srv/{app.name}/releases/{release}/{served.MODULE}.py:app"
        return f"{program(app, release, 'hypercorn')} {bound} {stop} --error-logfile - {target}"

    def files(self, app: App, cpus: int) -> dict[str, str]:
        return served.files(app, self.title, told=True)


RUNNER = Hypercorn()
