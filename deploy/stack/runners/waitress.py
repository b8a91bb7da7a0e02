"""Waitress: WSGI, one process with threads."""

from ...agent.resources.release.package import Package
from ...agent.resources.serving.traffic import Restarts
from ...config.reader import App
from .base import Runner, own_socket, program

MOST_CONNECTIONS = 1000  # of the proxy; its own default is 100
MOST_BYTES = 10 << 30  # of a request: the proxy has a limit of its own


class Waitress(Runner):
    title = "Waitress"
    package = Package("waitress", title, (2, 1), "waitress>=2.1", program="waitress-serve")
    restarts = Restarts("Serving on", "no process of its own")
    graceful = False
    about_environment = "It is configured on its command line."
    about_stop = "At a stop it ends at once. After a switch, it is stopped once nobody is connected to it any more."

    def command(self, app: App, release: str) -> str:
        bound = f"--unix-socket={own_socket(app, release)} --unix-socket-perms=660 --threads={threads(app)}"
        # Whoever reaches the socket is the proxy: what that says of a visitor holds.
        trusted = (
            '--trusted-proxy=* --trusted-proxy-count=1 "--trusted-proxy-headers=x-forwarded-for x-forwarded-proto"'
        )
        limits = f"--connection-limit={MOST_CONNECTIONS} --asyncore-use-poll --max-request-body-size={MOST_BYTES}"
        started = (
            f"{program(app, release, 'waitress-serve')} {bound} {limits} {trusted} --clear-untrusted-proxy-headers"
        )
        started += f" --url-prefix={app.mount}" if app.mount else ""
        call = "--call " if app.served.endswith("()") else ""
        return f"{started} {call}{app.served.removesuffix('()')}"

    def environment(self, app: App, cpus: int) -> dict[str, str]:
        return {}

    def is_alone(self, app: App, cpus: int) -> bool:
        return True

    def burst(self, app: App, cpus: int) -> int:
        return 2

    def processes(self, app: App, cpus: int) -> str:
        return f"1 process × {threads(app)} threads"


def threads(app: App) -> int:
    return app.threads * max(app.workers, 1)


RUNNER = Waitress()
