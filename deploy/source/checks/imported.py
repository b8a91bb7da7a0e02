"""What the app does when it is imported and asked for its health path: in a process of its own Python, here."""

import atexit
import hashlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...agent.resources.release.environment import REFERENCE
from ...agent.wire import Entry
from ...config.paths import caches, forget_old
from ...config.reader import App
from ...stack.finding import Finding
from .written import is_data, writes

PROGRAM = Path(__file__).with_name("look_inside.py")
SECONDS = 20
MOST_BYTES = 64 << 10
ERROR = re.compile(
    r"^((?:\w+\.)*\w*(?:Error|Exception|Warning|DoesNotExist)\b[^\n]*)$", re.M
)  # a traceback's last line
PLACES = (".venv", "venv", "env")
KIT_S = {"RELEASE_ID": "check"}


MISSING = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")


def python_of(directory: Path) -> str:
    """The interpreter of the app's virtualenv; "" if there is none."""
    inside = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    for place in PLACES:
        if (directory / place / inside).exists() and (directory / place / "pyvenv.cfg").exists():
            return str(directory / place / inside)
    active = os.environ.get("VIRTUAL_ENV", "")
    own = os.path.realpath(active) == os.path.realpath(sys.prefix)  # the kit's, which has none of the app's packages
    return str(Path(active) / inside) if active and not own and (Path(active) / inside).exists() else ""


def known(app: App, directory: Path, entries: Sequence[Entry]) -> Path:
    """A file whose presence says that there was nothing to say of just this source, by this Python."""
    python = Path(python_of(directory)).parents[1]
    installed = [os.stat(path).st_mtime_ns for path in (python, *python.glob("lib/python*/site-packages"))]
    parts = json.dumps([str(directory), app.served, app.health_path, app.env, app.writable, entries, installed])
    return caches() / "looked" / hashlib.sha256(parts.encode()).hexdigest()[:24]


class Looking:
    """A look inside the app, which goes on in the background; `findings` waits for it.

    host: the name that visitors use. roots: directories of the source that Python searches.
    """

    def __init__(self, app: App, directory: Path, host: str, roots: tuple[str, ...] = ()) -> None:
        self.app, self.path = app, app.health_path
        self.data = tempfile.TemporaryDirectory(prefix="ashore-check-")
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        asked = {
            "target": app.served, "kind": "asgi" if app.is_asgi else "wsgi", "path": app.health_path, "host": host,
            "directory": str(directory),
        }  # fmt: skip
        self.process = subprocess.Popen(
            [python_of(directory), str(PROGRAM)],
            cwd=self.data.name,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            start_new_session=os.name != "nt",
            env=environment(app, directory, host, self.data.name, roots),
        )
        self.said = b""
        self.reading = threading.Thread(target=self._read, args=(json.dumps(asked).encode(),), daemon=True)
        self.reading.start()
        atexit.register(self.end)  # a deploy may fail before it asks for what was found

    def _read(self, asked: bytes) -> None:
        self.said = self.process.communicate(asked)[0]

    def has_ended(self, seconds: float) -> bool:
        self.reading.join(seconds)
        return not self.reading.is_alive()

    def findings(self, seconds: float = SECONDS) -> list[Finding]:
        late = not self.has_ended(seconds)
        self.end()
        if late:
            module = self.app.served.partition(":")[0]
            what = f"importing {module} and asking it for {self.path} takes more than {seconds:g} s"
            hint = 'start servers and endless work only below `if __name__ == "__main__":`'
            return [Finding("warning", what, hint)]
        try:
            found: dict[str, Any] = json.loads(self.said)
        except ValueError:
            return [
                Finding("warning", f"importing {self.app.served} ends Python itself", "import it by hand to see why")
            ]
        self.errors.seek(0)
        return told(self.app, found, self.errors.read()[-MOST_BYTES:].decode(errors="replace"))

    def end(self) -> None:
        """Whatever it has started ends with it."""
        with suppress(ProcessLookupError, PermissionError):  # nothing of it is left
            os.killpg(self.process.pid, signal.SIGKILL) if os.name != "nt" else self.process.kill()
        self.reading.join()
        self.data.cleanup()
        atexit.unregister(self.end)


def environment(app: App, directory: Path, host: str, data: str, roots: tuple[str, ...]) -> dict[str, str]:
    """As on the server, as far as it is known here; what is set there with `fab env.set` is not."""
    usual = {
        name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH")
    }
    kit = {**KIT_S, "DOMAIN": host, "DATA_DIR": data, "SECRET_KEY": secrets.token_hex(32)}
    own = dict(app.env)
    for name in own:
        own[name] = REFERENCE.sub(lambda found: {**kit, **own}.get(found[1] or found[2] or "", "$"), own[name])
    paths = [str(directory / root) for root in (*own.get("PYTHONPATH", "").split(":"), *roots) if root]
    return {**usual, **kit, **own, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.pathsep.join(paths)}


def told(app: App, found: dict[str, Any], printed: str) -> list[Finding]:
    """printed: what the app wrote."""
    key = "asgi" if app.asgi else "wsgi"
    wanted, kind = ("asgi" if app.is_asgi else "wsgi"), found.get("kind")
    lines = [writes(app, path, "") for path in found.get("writes", []) if not is_data(app, path)]
    unique = list({finding.fix: finding for finding in lines}.values())
    if found["step"] and (lacking := MISSING.match(str(found["error"]))):
        what = f"the app is not looked into: its virtualenv here has no module {lacking[1]}"
        return [Finding("note", what, "install the app's packages in it")]
    if found["step"] in ("import", "call"):
        how = "importing it" if found["step"] == "import" else "calling it"
        what = f"{app.served}: {how} raises {found['error']}"
        return [Finding("warning" if from_environment(found) else "error", what, remedy(found)), *unique]
    if kind == "":
        return [
            Finding("error", f"{app.served} is neither a WSGI nor an ASGI app", f"fix `{key}` in deploy.toml"),
            *unique,
        ]
    if kind != wanted:
        return [
            Finding("error", f"{app.served} speaks {str(kind).upper()}", f'{kind} = "{app.served}" instead of {key}'),
            *unique,
        ]
    return [health(app, found, printed), *unique]


def from_environment(found: dict[str, Any]) -> bool:
    """Whether an error may come from this machine: a variable or a server that is elsewhere."""
    return "environ" in "".join(found["trace"]) or any(
        word in found["error"] for word in ("Connection", "OperationalError", "KeyError", "ImproperlyConfigured")
    )


def remedy(found: dict[str, Any]) -> str:
    error = str(found["error"])
    if error.startswith("KeyError: ") and "environ" in "".join(found["trace"]):
        name = error.partition("'")[2].rpartition("'")[0]
        return f"set {name} in [app.env], or on the server: fab env.set {name}"
    last = [line.strip() for line in found["trace"] if line.strip().startswith("File ")][-1:]
    return last[0] if last else ""


def health(app: App, found: dict[str, Any], printed: str) -> Finding:
    path, status = app.health_path, found.get("status", 0)
    if found["step"]:
        return Finding("warning", f"GET {path} raises {found['error']}", remedy(found))
    if status == 200:
        return Finding("ok", f"health check: GET {path} answers 200")
    if 300 <= status < 400:
        what = f"GET {path} redirects to {found.get('location') or 'another URL'}, and the health check needs 200"
        return Finding("error", what, "set health_path to a path that answers 200 without a login")
    if status == 404:
        return Finding(
            "error", f"GET {path} answers 404, and the health check needs 200", "set health_path to a path of the app"
        )
    if status >= 500:
        said = ERROR.findall(printed)
        what = f"GET {path} answers {status} here" + (f": {said[-1]}" if said else "")
        return Finding("warning", what, "on the server it must answer 200; here, its database may lack something")
    return Finding(
        "error",
        f"GET {path} answers {status}, and the health check needs 200",
        "set health_path to a path that answers 200 without a login",
    )


def begin(app: App, directory: Path, host: str, roots: tuple[str, ...], entries: Sequence[Entry]) -> "Looking | None":
    """A look inside that goes on in the background; None where there is no Python to do it, or nothing new to see."""
    if not python_of(directory):
        return None
    with suppress(OSError, RuntimeError):
        if known(app, directory, entries).exists():
            return None
    return Looking(app, directory, host, roots)


def remember(app: App, directory: Path, entries: Sequence[Entry]) -> None:
    """There is nothing to say of this source."""
    with suppress(OSError, RuntimeError):
        path = known(app, directory, entries)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch()
        forget_old(path.parent)
