"""What a package's version decides; dpkg's record is given, the files are real."""

import os
import signal
from pathlib import Path

import pytest

from deploy.agent.resources.files import Absent, File
from deploy.agent.resources.host import packages
from deploy.agent.resources.host.packages import SinceVersion
from deploy.agent.resources.serving.services import Service
from deploy.agent.system import System
from deploy.agent.wire import Plan
from deploy.connection import payload


class Server(System):
    """A system with Nginx in this version."""

    def __init__(self, nginx: str) -> None:
        super().__init__()
        self.nginx = nginx

    def version(self, package: str) -> str:
        return self.nginx if package == "nginx" else ""


@pytest.fixture
def step(tmp_path: Path) -> SinceVersion:
    return SinceVersion("nginx", "1.25.1", File(str(tmp_path / "new"), "new"), File(str(tmp_path / "old"), "old"))


@pytest.mark.parametrize(
    ("nginx", "made"), [("1.25.1-1", ["new"]), ("1:1.26.3-3+deb13u1", ["new"]), ("1.22.1-9", ["old"]), ("", [])]
)
def test_the_installed_version_chooses_the_step(tmp_path: Path, step: SinceVersion, nginx: str, made: list[str]):
    server = Server(nginx)
    assert bool(step.check(server)) == bool(made)
    step.apply(server)
    assert [path.name for path in tmp_path.iterdir()] == made


def test_an_older_package_needs_no_other_step(tmp_path: Path):
    step = SinceVersion("nginx", "1.25", File(str(tmp_path / "new"), "new"))
    assert step.check(Server("1.22.1-9")) == []
    step.apply(Server("1.22.1-9"))
    assert list(tmp_path.iterdir()) == []


def test_what_the_chosen_step_needs_travels_and_is_asked_for():
    step = SinceVersion("nginx", "1.25", Service("a.service"), Absent("/b"))
    assert step.units == ("a.service",)
    assert "agent.resources.serving.services" in payload.modules_for({"request": "plan", "plan": Plan("x", (step,))})


def test_apt_is_read_to_its_end_whatever_it_writes_and_whatever_it_starts(monkeypatch: pytest.MonkeyPatch):
    script = 'echo "pmstatus:nginx:50.0:x" >&"${2#*=}"; head -c 300000 /dev/zero; sleep 300 >&"${2#*=}" & echo $! >&2'
    monkeypatch.setattr(packages, "APT", ("bash", "-c", script, "apt-get"))
    monkeypatch.setattr("deploy.agent.system.AFTER_SECONDS", 0.1)
    monkeypatch.setattr(packages, "AFTER_SECONDS", 0.1)
    said: list[dict] = []
    packages.apt(System(emit=said.append), ["install", "nginx"], "packages")
    progress, output = said
    os.kill(int(output["text"].lstrip("\0")), signal.SIGKILL)
    assert progress == {"event": "progress", "percent": 75.0, "what": "packages"}
