"""The interface of a runner."""

from abc import ABC, abstractmethod

from ...agent import layout
from ...agent.resources.release.package import Package
from ...agent.resources.serving.traffic import Restarts
from ...config.reader import App
from ..data import served_data
from ..processes.base import memory_share
from ..render import render

UNIT = "systemd/app@.service.j2"


class Runner(ABC):
    """One program that serves an app on a unix socket, with processes of its own.

    title: as people write it. package: what the app's requirements must contain. restarts: how its journal reports
    restarted processes. notifies: whether it tells systemd when it is ready. reloads: whether it starts its processes
    anew at SIGHUP. graceful: whether it finishes open requests when it is stopped. about_…: comments of the unit.
    has_port: whether it listens on a port, $PORT, to which PORT_SCRIPT leads what comes to the socket.
    calls: system calls that it needs besides the usual ones, and why. own_file: where an app has settings for it, in
    the top directory of its source.
    """

    title: str
    package: Package
    restarts: Restarts
    notifies = False
    reloads = False
    graceful = True
    has_port = False
    about_environment = (
        "How many processes it has is WEB_CONCURRENCY, in the release's environment, which rolls back with it."
    )
    about_stop: str
    calls: tuple[str, str] | None = None
    own_file = ""

    def package_for(self, app: App) -> Package:
        return self.package

    @abstractmethod
    def command(self, app: App, release: str) -> str:
        """ExecStart= of the unit. release: the release ID as systemd writes it, "%i"."""

    def environment(self, app: App, cpus: int) -> dict[str, str]:
        """Its variables in the environment of a release, which roll back with the release."""
        return {"WEB_CONCURRENCY": str(app.workers or cpus)}

    def files(self, app: App, cpus: int) -> dict[str, str]:
        """Its files in the directory of a release: name → text."""
        return {}

    def notes_on(self, text: str, app: App) -> list[str]:
        """What to tell about the app's `own_file`, such as settings in it that the kit overrules. text: of the file."""
        return []

    def processes(self, app: App, cpus: int) -> str:
        """How many requests it handles at the same time, as text: "2 workers × 8 threads"."""
        count = app.workers or cpus
        workers = f"{count} worker{'' if count == 1 else 's'}"
        return workers if app.is_asgi else f"{workers} × {app.threads} threads"

    def is_alone(self, app: App, cpus: int) -> bool:
        """Whether it runs the app in its main process, without others."""
        return False

    def burst(self, app: App, cpus: int) -> int:
        """How many simultaneous requests reach each of its processes."""
        return 2 * (app.workers or cpus)

    def stop_seconds(self, app: App) -> int:
        """After how many seconds systemd kills an instance that has not stopped."""
        return app.timeout_seconds + 10

    def unit(self, app: App, room: str) -> str:
        """The text of a release's unit. room: the script that makes what it has in /run."""
        command = self.command(app, "%i")
        # Until it has a socket, it is starting.
        start_seconds = 60 if self.notifies else max(60, app.health_seconds + 10)
        return render(
            UNIT,
            app=app,
            runner=self,
            command=command,
            start_seconds=start_seconds,
            stop_seconds=self.stop_seconds(app),
            room=room,
            port=layout.PORT_SCRIPT,
            web=True,
            memory=memory_share(app),
            data_served=bool(served_data(app)),
        )


def program(app: App, release: str, name: str) -> str:
    """The path of a program in the release's virtualenv."""
    return f"/srv/{app.name}/releases/{release}/venv/bin/{name}"


def own_socket(app: App, release: str) -> str:
    """The socket that it makes; see ROOM_SCRIPT."""
    return f"/run/{app.name}/{release}/own/http.sock"
