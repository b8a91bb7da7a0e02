"""Gunicorn: WSGI, pre-forked workers with threads."""

import ast
import json

from ...agent.resources.release.package import Package
from ...agent.resources.serving.traffic import Restarts
from ...config.keys import keys
from ...config.reader import App
from ..render import render
from .base import Runner

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
    # Lines of the unit's comments.
    about_environment = (
        "Workers, their class and threads are in the release's gunicorn.conf.py, which rolls back with it."
    )
    about_stop = "Open requests are finished: Gunicorn gives them its graceful timeout, systemd ten seconds more."
    own_file = CONFIG
    calls = ("@chown", "Gunicorn changes the owner of its socket.")  # system calls besides the usual ones, and why

    def command(self, app: App, release: str) -> str:
        home = f"/srv/{app.name}/releases/{release}"
        bound = f"--bind unix:/run/{app.name}/{release}/own/http.sock --umask 7"
        return f"{home}/venv/bin/gunicorn --config {home}/{CONFIG} {bound} ${{WSGI_APP}}"

    def files(self, app: App, cpus: int) -> dict[str, str]:
        default = {key.name: key.default for key in keys(App).values()}
        named = {
            "worker_class": (app.worker_class, "worker_class"),
            "workers": (app.workers or cpus, "workers"),
            "threads": (app.threads if app.worker_class == "gthread" else 1, "threads"),
            "timeout": (app.timeout_seconds, "timeout_seconds"),
            "graceful_timeout": (app.timeout_seconds, "timeout_seconds"),
        }
        usual = {name: json.dumps(value) for name, (value, _) in named.items()}
        wanted = {name: usual[name] for name, (_, key) in named.items() if getattr(app, key) != default[key]}
        text = render("gunicorn/gunicorn.conf.py.j2", usual=usual, wanted=wanted, longest=app.timeout_seconds)
        return {CONFIG: text}

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
        threads = f" × {app.threads} threads" if app.worker_class == "gthread" else f", {app.worker_class}"
        return f"{app.workers or cpus} workers{threads}"


def assigned(body: list[ast.stmt]) -> dict[str, object]:
    """The names that statements at the top of a file give a value to, and the values; "" for one that is computed."""
    plain = [(target, node.value) for node in body if isinstance(node, ast.Assign) for target in node.targets]
    return {
        target.id: value.value if isinstance(value, ast.Constant) else ""
        for target, value in plain
        if isinstance(target, ast.Name)
    }


RUNNER = Gunicorn()
