"""Debian packages, in one apt call, and what their versions decide; and uv, which builds virtualenvs."""

import glob
import os
import sys
import threading
import time
from contextlib import suppress

from ...dataclass import dataclass
from ...system import AFTER_SECONDS, System, complaint, outputs, upstream
from ...wire import Drift, Failed, Resource
from ..files import replace

LISTS = "/var/lib/apt/lists"
LISTS_MAX_AGE_SECONDS = 24 * 3600
APT = (
    "apt-get",
    "-y",
    "-q",
    "-o",
    "DPkg::Lock::Timeout=300",  # a fresh VPS is often busy with its own first upgrade
    "-o",
    "Dpkg::Options::=--force-confold",  # a question about a changed file would wait for ever
    "-o",
    "Acquire::Retries=3",
)


@dataclass(frozen=True)
class Packages(Resource):
    names: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"packages {', '.join(self.names)}"

    def check(self, system: System) -> list[Drift]:
        return [Drift(name, "absent", "installed") for name in self.names if not system.installed(name)]

    def apply(self, system: System) -> None:
        install(system, [name for name in self.names if not system.installed(name)])


def install(system: System, names: list[str]) -> None:
    fresh = lists_are_fresh()
    if not fresh:
        apt(system, ["update"], "package lists")
    try:
        apt(system, ["install", "--no-install-recommends", *names], "packages")
    except Failed:
        if not fresh:
            raise
        apt(system, ["update"], "package lists")  # young lists can still name versions that the mirror dropped
        apt(system, ["install", "--no-install-recommends", *names], "packages")


def outside() -> list[str]:
    """What runs a command of apt outside of the box of a CI key, in which the system is read-only."""
    boxed = not os.access("/usr", os.W_OK)
    set_there = "--setenv=DEBIAN_FRONTEND=noninteractive"
    return ["systemd-run", "--quiet", "--wait", "--collect", "--pipe", set_there, "--"] if boxed else []


def lists_are_fresh() -> bool:
    """Whether apt has fetched its lists within LISTS_MAX_AGE_SECONDS; an image may ship none at all."""
    if not glob.glob(f"{LISTS}/*Packages*"):
        return False
    fetched = max(os.stat(path).st_mtime for path in (LISTS, f"{LISTS}/partial") if os.path.exists(path))
    return time.time() - fetched < LISTS_MAX_AGE_SECONDS


def apt(system: System, words: list[str], what: str) -> None:
    """apt-get with its progress reported; apt's own words are the detail of a failure."""
    read, write = os.pipe()
    through = outside()
    argv = [*through, *APT, *([] if through else ["-o", f"APT::Status-Fd={write}"]), *words]

    def follow() -> None:
        with open(read, encoding="utf-8", errors="replace") as status:
            for line in status:
                percent = apt_percent(line)
                if percent is not None:
                    system.operator.progress(percent, what)

    following = threading.Thread(target=follow, daemon=True)  # beside its outputs, which would fill their pipes
    following.start()
    try:
        process = system.start(argv, pass_fds=(write,))
    finally:
        os.close(write)
    out, err = outputs(process)
    following.join(AFTER_SECONDS)  # what a package has started may hold it open
    text = out.decode(errors="replace")
    errors = err.decode(errors="replace")
    system.operator.emit({"event": "output", "argv": argv, "text": text + errors})
    if process.returncode:
        message, detail = complaint(["apt-get", *words], process.returncode, errors or text)
        raise Failed(message, "fix what apt reports above, then run the same command again", detail)


def apt_percent(line: str) -> float | None:
    """Percent done, from a line of APT::Status-Fd: `pmstatus:NAME:45.5:…` is the second half, `dlstatus` the first."""
    kind, _, rest = line.partition(":")
    if kind not in ("pmstatus", "dlstatus"):
        return None
    try:
        percent = float(rest.split(":")[1])
    except (IndexError, ValueError):
        return None
    return percent / 2 + (50 if kind == "pmstatus" else 0)


@dataclass(frozen=True)
class SinceVersion(Resource):
    """A step for servers whose package is of this upstream version ("1.25.1") or a later one; for others, `otherwise`.

    The operator cannot decide it: on a bare server the package is installed by an earlier step of the same plan. While
    it is not installed there is nothing to be true, so a dry run on a bare server does not show either step.
    """

    package: str
    version: str
    step: Resource
    otherwise: Resource | None = None

    @property
    def title(self) -> str:
        return self.step.title

    @property
    def units(self) -> tuple[str, ...]:
        return (*self.step.units, *(self.otherwise.units if self.otherwise else ()))

    @property
    def shares(self) -> str:
        return self.step.shares

    def check(self, system: System) -> list[Drift]:
        step = self._chosen(system)
        return step.check(system) if step else []

    def apply(self, system: System) -> None:
        step = self._chosen(system)
        if step:
            step.apply(system)

    def _chosen(self, system: System) -> Resource | None:
        installed = system.version(self.package)
        if not installed:
            return None
        return self.step if upstream(installed) >= upstream(self.version) else self.otherwise


@dataclass(frozen=True)
class Uv(Resource):
    """uv in a directory of its own, a version each: /usr/local/lib/ashore/uv-VERSION/bin/uv.

    Installed with the pip wheel that Debian ships in python3-pip-whl, from the index that the server's pip is
    configured for; so no installer script, and no ensurepip (4 s). requirement: "uv==VERSION --hash=sha256:…", with the
    hash of each wheel that may be installed, whatever the index has.
    """

    version: str
    directory: str
    requirement: str

    @property
    def title(self) -> str:
        return f"uv {self.version}: installed"

    def check(self, system: System) -> list[Drift]:
        return [] if os.access(f"{self.directory}/bin/uv", os.X_OK) else [Drift("uv", "absent", self.version)]

    def apply(self, system: System) -> None:
        wheels = sorted(glob.glob("/usr/share/python-wheels/pip-*.whl"))
        if not wheels:
            raise Failed(
                "the pip wheel from the package python3-pip-whl is missing on the server", "run `fab provision` again"
            )
        import shutil
        import subprocess

        building, listed = f"{self.directory}.building", f"{self.directory}.requirement"
        shutil.rmtree(building, ignore_errors=True)  # left by an interrupted run
        os.makedirs(os.path.dirname(self.directory), exist_ok=True)
        pip = [sys.executable or "/usr/bin/python3", f"{wheels[-1]}/pip", "install", "--quiet", "--no-cache-dir"]
        options = [
            "--disable-pip-version-check",
            "--only-binary=:all:",
            "--no-deps",
            "--require-hashes",
            "--no-compile",
            "--target",
            building,
        ]
        try:
            replace(listed, self.requirement.encode(), 0o644, 0, 0)
            system.run(
                [*pip, *options, "-r", listed],
                environment={"PIP_ROOT_USER_ACTION": "ignore", "PIP_RETRIES": "3"},
                hint="can the server reach the Python package index? For a proxy or mirror, set /etc/pip.conf;\n"
                "if pip says that hashes do not match, the index did not serve the published uv",
            )
            subprocess.run([f"{building}/bin/uv", "--version"], check=True, capture_output=True)
            shutil.rmtree(self.directory, ignore_errors=True)
            os.rename(building, self.directory)
        except subprocess.SubprocessError as error:
            raise Failed(f"uv {self.version} was installed, but does not run on this server") from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
            with suppress(FileNotFoundError):
                os.unlink(listed)
