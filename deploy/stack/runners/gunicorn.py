"""Gunicorn: WSGI, pre-forked workers with threads; and ASGI, with workers of another runner."""

import ast
import json

from ...agent.constants import ASGI_RUNNER, ASGI_WORKERS
from ...agent.resources.release.package import Package
from ...agent.resources.serving.traffic import Restarts
from ...config.keys import keys
from ...config.reader import App
from ..render import render
from ..served import MODULE
from ..served import files as served_files
from .base import Runner, own_socket, program

CONFIG = "gunicorn.conf.py"  # the release's; the app's own has the same name, in its source
# What an app's own file cannot set.
KIT_S = frozenset(
    {
        "bind", "umask", "daemon", "reload", "reuse_port", "pidfile", "user", "group", "certfile", "keyfile",
        "worker_tmp_dir", "forwarded_allow_ips", "control_socket", "control_socket_disable", "wsgi_app",
    }
)  # fmt: skip


class Gunicorn(Runner):
    title = "Gunicorn"
    package = Package("gunicorn", title, (19, 9), "gunicorn>=25.1", ((21,), "setuptools<81"))  # with pkg_resources
    restarts = Restarts("Starting gunicorn", "Booting worker with pid")
    notifies = True
    reloads = True
    # Lines of the unit's comments.
    about_environment = (
        "Workers, their class and threads are in the release's gunicorn.conf.py, which rolls back with it."
    )
    about_stop = "Open requests are finished: Gunicorn gives them its graceful timeout, systemd ten seconds more."
    own_file = CONFIG
    calls = ("@chown", "Gunicorn changes the owner of its socket.")  # system calls besides the usual ones, and why

    def command(self, app: App, release: str) -> str:
        home = f"/srv/{app.name}/releases/{release}"
        bound = f"--bind unix:{own_socket(app, release)} --umask 7"
        served = "${ASGI_APP}" if app.is_asgi else "${WSGI_APP}"
        if app.mount:
            served = f"--pythonpath {home} {MODULE}:app"
        return f"{program(app, release, 'gunicorn')} --config {home}/{CONFIG} {bound} {served}"

    def package_for(self, app: App) -> Package:
        if not app.is_asgi:
            return self.package
        workers = f"{ASGI_RUNNER}-worker"  # brings the runners themselves
        return Package(workers, workers, (0, 2), f"{workers}>=0.2\nwebsockets", program="gunicorn")

    def environment(self, app: App, cpus: int) -> dict[str, str]:
        return {}

    def files(self, app: App, cpus: int) -> dict[str, str]:
        default = {key.name: key.default for key in keys(App).values()}
        named = {
            "worker_class": (worker_class(app), "worker_class"),
            "workers": (app.workers or cpus, "workers"),
            "threads": (app.threads if worker_class(app) == "gthread" else 1, "threads"),
            "timeout": (app.timeout_seconds, "timeout_seconds"),
            "graceful_timeout": (app.timeout_seconds, "timeout_seconds"),
        }
        usual = {name: json.dumps(value) for name, (value, _) in named.items()}
        wanted = {name: usual[name] for name, (_, key) in named.items() if getattr(app, key) != default[key]}
        if app.is_asgi:
            wanted |= {name: usual[name] for name in ("worker_class", "threads")}
        text = render("gunicorn/gunicorn.conf.py.j2", usual=usual, wanted=wanted, longest=app.timeout_seconds)
        return {CONFIG: text} | (served_files(app, self.title, told=False) if app.mount else {})

    def notes_on(self, text: str, app: App) -> list[str]:
        try:
            set_there = assigned(ast.parse(text).body)
        except (SyntaxError, ValueError):
            return []  # Gunicorn will say so
        to_files = [
            name for name in ("accesslog", "errorlog") if name in set_there and set_there[name] not in (None, "-")
        ]
        found = [*(name for name in set_there if name in KIT_S), *to_files]
        told = [f"{CONFIG} sets {', '.join(found)}: Ashore sets that itself"] if found else []
        timeout = set_there.get("timeout")
        if isinstance(timeout, int) and timeout > app.timeout_seconds:
            told.append(
                f"{CONFIG} sets timeout = {timeout}, but the proxy waits {app.timeout_seconds} s for an answer: "
                f"set timeout_seconds = {timeout} in deploy.toml"
            )
        return told

    def processes(self, app: App, cpus: int) -> str:
        shown = ASGI_RUNNER if app.is_asgi else app.worker_class
        threads = f" × {app.threads} threads" if shown == "gthread" else f", {shown}"
        return f"{app.workers or cpus} workers{threads}"


def worker_class(app: App) -> str:
    """As Gunicorn names it."""
    name = ASGI_RUNNER if app.is_asgi else app.worker_class
    return ASGI_WORKERS.get(name, name)


def assigned(body: list[ast.stmt]) -> dict[str, object]:
    """The names that statements at the top of a file give a value to, and the values; "" for one that is computed."""
    plain = [(target, node.value) for node in body if isinstance(node, ast.Assign) for target in node.targets]
    return {
        target.id: value.value if isinstance(value, ast.Constant) else ""
        for target, value in plain
        if isinstance(target, ast.Name)
    }


RUNNER = Gunicorn()
