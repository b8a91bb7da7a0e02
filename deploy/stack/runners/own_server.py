"""An app that is a server of its own: it is started by a command, and listens on a port."""

from ...agent.resources.release.package import Package
from ...agent.resources.serving.traffic import Restarts
from ...config.reader import App
from ..processes.base import quoted
from .base import Runner


class OwnServer(Runner):
    title = "its own server"
    package = Package("python", "Python", (), program="python")  # what a virtualenv has anyway
    restarts = Restarts("no line of its own", "no process of its own")
    graceful = False  # what leads to its port knows nothing of HTTP, and is cut
    has_port = True
    about_environment = "Its command is the web process of deploy.toml or of the Procfile."
    about_stop = "It is asked to stop once nobody is connected to it any more."

    def command(self, app: App, release: str) -> str:
        return f"/bin/bash -c {quoted(app.web)}"

    def environment(self, app: App, cpus: int) -> dict[str, str]:
        return {}

    def processes(self, app: App, cpus: int) -> str:
        return f"`{app.web}`"

    def is_alone(self, app: App, cpus: int) -> bool:
        return True  # processes below it are its own business

    def burst(self, app: App, cpus: int) -> int:
        return 2


RUNNER = OwnServer()
