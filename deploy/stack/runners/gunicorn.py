"""Gunicorn: WSGI, pre-forked workers with threads."""

from ...agent.resources.release.package import Package
from ...agent.resources.serving.traffic import Restarts
from ...config.reader import App
from .base import Runner

# worker-tmp-dir: its heartbeat files are in memory. forwarded-allow-ips: whoever reaches the socket is the proxy.
OPTIONS = "--umask 7 --worker-tmp-dir /dev/shm --no-control-socket --forwarded-allow-ips *"


class Gunicorn(Runner):
    title = "Gunicorn"
    package = Package("gunicorn", title, (25, 1))  # --no-control-socket
    restarts = Restarts("Starting gunicorn", "Booting worker with pid")
    notifies = True
    # Lines of the unit's comments.
    about_environment = (
        "Workers, their class and threads are in GUNICORN_CMD_ARGS, in the release's env, and so roll back with it."
    )
    about_stop = "Open requests are finished: Gunicorn gives them its graceful timeout, systemd ten seconds more."
    calls = ("@chown", "Gunicorn changes the owner of its socket.")  # system calls besides the usual ones, and why

    def command(self, app: App, release: str) -> str:
        program = f"/srv/{app.name}/releases/{release}/venv/bin/gunicorn"
        return f"{program} --bind unix:/run/{app.name}/{release}/own/http.sock {OPTIONS} ${{WSGI_APP}}"

    def environment(self, app: App, cpus: int) -> dict[str, str]:
        options = {
            "--worker-class": app.worker_class,
            "--workers": app.workers or cpus,
            "--threads": app.threads if app.worker_class == "gthread" else 1,
            "--timeout": app.timeout_seconds,
            "--graceful-timeout": app.timeout_seconds,
        }
        return {"GUNICORN_CMD_ARGS": " ".join(f"{option} {value}" for option, value in options.items())}

    def processes(self, app: App, cpus: int) -> str:
        threads = f" × {app.threads} threads" if app.worker_class == "gthread" else f", {app.worker_class}"
        return f"{app.workers or cpus} workers{threads}"


RUNNER = Gunicorn()
