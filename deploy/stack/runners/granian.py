"""Granian: ASGI and WSGI, with HTTP in Rust."""

from ...agent.resources.release.package import Package
from ...agent.resources.serving.traffic import Restarts
from ...config.reader import App
from .. import served
from .base import Runner, own_socket, program

LONGEST_STOP_SECONDS = 1800  # it takes no more


class Granian(Runner):
    title = "Granian"
    package = Package("granian", title, (2, 7), "granian>=2.7")
    restarts = Restarts("Starting granian", "Started worker-")
    about_stop = (
        "Open requests are finished, for as long as a request may take; then WebSockets are closed.\n"
        "# systemd gives it ten seconds more."
    )

    def command(self, app: App, release: str) -> str:
        bound = f"--uds {own_socket(app, release)} --uds-permissions 0o660 --workers ${{WEB_CONCURRENCY}}"
        kind = "--interface asgi" if app.is_asgi else f"--interface wsgi --blocking-threads {app.threads}"
        stop = f"--workers-kill-timeout {min(app.timeout_seconds, LONGEST_STOP_SECONDS)} --respawn-failed-workers"
        target = f"/srv/{app.name}/releases/{release}/{served.MODULE}.py:app"
        return f"{program(app, release, 'granian')} {bound} --http 1 {kind} {stop} {target}"

    def files(self, app: App, cpus: int) -> dict[str, str]:
        return served.files(app, self.title, told=True)


RUNNER = Granian()
