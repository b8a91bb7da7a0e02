"""Uvicorn: ASGI, on asyncio or uvloop."""

from ...agent.resources.release.package import Package
from ...agent.resources.serving.traffic import Restarts
from ...config.reader import App
from .. import served
from .base import Runner, own_socket, program


class Uvicorn(Runner):
    title = "Uvicorn"
    package = Package("uvicorn", title, (0, 22), "uvicorn>=0.22\nwebsockets\nhttptools\nuvloop")
    restarts = Restarts("Started parent process", "Started server process")
    about_stop = (
        "Open requests are finished, for as long as a request may take; WebSockets are closed at once.\n"
        "# systemd gives it ten seconds more."
    )

    def command(self, app: App, release: str) -> str:
        # Whoever reaches the socket is the proxy: what that says of a visitor holds.
        trusted = "--proxy-headers --forwarded-allow-ips *"
        stop = f"--timeout-graceful-shutdown {app.timeout_seconds}"
        started = f"{program(app, release, 'uvicorn')} --uds {own_socket(app, release)} --workers ${{WEB_CONCURRENCY}}"
        directory = f"/srv/{app.name}/releases/{release}"
        return f"{started} {stop} {trusted} --no-access-log --app-dir {directory} {served.MODULE}:app"

    def is_alone(self, app: App, cpus: int) -> bool:
        return (app.workers or cpus) == 1

    def files(self, app: App, cpus: int) -> dict[str, str]:
        return served.files(app, self.title, told=False)


RUNNER = Uvicorn()
