"""Pythons that uv installs, in a directory of root's: for apps that the server's own Python does not suit."""

import glob
import os
import time

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Failed, Resource
from .recipes import uv_environment

DIRECTORY = "/usr/local/lib/ashore/python"
SERVER_PYTHON = "/usr/bin/python3"
YOUNG_SECONDS = 3600  # a new one may be for a virtualenv that is still being built
VENVS = "/srv/*/venvs/*"
MIRRORED = "python-downloads-json-url"


def there(directory: str = DIRECTORY) -> dict[str, str]:
    """Version → directory of those that are installed."""
    found = {}
    for path in glob.glob(f"{directory}/cpython-*"):
        version = os.path.basename(path).split("-")[1]
        if not os.path.islink(path) and version.count(".") == 2 and os.access(binary(path, version), os.X_OK):
            found[version] = path
    return found


def binary(path: str, version: str) -> str:
    return f"{path}/bin/python{'.'.join(version.split('.')[:2])}"


def interpreter(wanted: str, directory: str = DIRECTORY) -> str:
    """The program of the newest one of a version ("3.12" or "3.12.4"); the server's own for "". "" if there is none."""
    if not wanted:
        return SERVER_PYTHON
    fits = [version for version in there(directory) if f"{version}.".startswith(f"{wanted}.")]
    newest = max(fits, key=lambda version: [int(part) for part in version.split(".")], default="")
    return binary(there(directory)[newest], newest) if newest else ""


def required(wanted: str) -> str:
    """Like `interpreter`; Failed if there is none."""
    found = interpreter(wanted)
    if not found:
        raise Failed(f"Python {wanted} is not installed on the server", "deploy again: that installs it")
    return found


def unused(directory: str = DIRECTORY, venvs: str = VENVS) -> list[str]:
    """Directories of those that no virtualenv on the server is made with."""
    found = there(directory)
    if not found or not os.access(directory, os.W_OK):  # a CI key may not remove any
        return []
    links = glob.glob(f"{venvs}/bin/python")
    used = {os.path.realpath(link) for link in links}
    old = time.time() - YOUNG_SECONDS
    return sorted(
        path
        for path in found.values()
        if os.stat(path).st_mtime < old and not any(program.startswith(f"{path}/") for program in used)
    )


def remove_unused(directory: str = DIRECTORY, venvs: str = VENVS) -> None:
    import shutil

    for path in unused(directory, venvs):
        shutil.rmtree(path)
    for path in glob.glob(f"{directory}/cpython-*"):
        if os.path.islink(path) and not os.path.exists(path):  # of a minor version
            os.unlink(path)


@dataclass(frozen=True)
class ManagedPython(Resource):
    """A Python of a version ("3.12" or "3.12.4"), installed by uv, which checks its hash. mirror: "" for uv's own."""

    version: str
    uv: str
    mirror: str = ""

    @property
    def title(self) -> str:
        return f"Python {self.version}: installed"

    @property
    def shares(self) -> str:
        return "Python"

    def check(self, system: System) -> list[Drift]:
        return [] if interpreter(self.version) else [Drift("Python", "absent", self.version)]

    def apply(self, system: System) -> None:
        os.makedirs(DIRECTORY, 0o755, exist_ok=True)
        environment = uv_environment() | {"UV_PYTHON_DOWNLOADS": "manual", "HOME": DIRECTORY}
        environment |= {"UV_PYTHON_INSTALL_MIRROR": self.mirror} if self.mirror else {}
        argv = [self.uv, "python", "install", "--no-bin", "--no-cache", "--install-dir", DIRECTORY, self.version]
        system.operator.progress(20, f"Python {self.version}")
        try:
            system.run(argv, environment=environment)
        except Failed as failure:
            if "No download found" in failure.detail or "no download" in failure.detail.lower():
                what = f"uv has no Python {self.version} for this server"
                raise Failed(what, "set `python` in deploy.toml to another version", failure.detail) from failure
            what = f"Python {self.version} could not be downloaded"
            hint = (
                "can the server reach the place? A mirror can be set: `python_mirror` in deploy.toml,"
                f"\nor {MIRRORED} in /etc/uv/uv.toml on the server; or use the server's own Python"
            )
            raise Failed(what, hint, failure.detail) from failure
        os.sync()
