"""Ashore as people get it: a wheel on a machine with nothing of ours, a user who is not root, an app of their own.

Two desks beside a bare server: the developer's, Debian 12 with pipx, and a colleague's, Debian 13 with uv.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from standing import REPO, Server, machine

from deploy import sandbox
from deploy.version import VERSION

LATER = f"{VERSION}.1"
PAGE = "Hello from my server"
APP = f'from flask import Flask\n\napp = Flask(__name__)\n\n\n@app.get("/")\ndef index():\n    return "{PAGE}"\n'
BUILT = (
    "deploy",
    "templates",
    "docs",
    "requirements.txt",
    "requirements.lock",
    "README.md",
    "LICENSE",
    "pyproject.toml",
)


@dataclass
class Desk:
    """A machine that somebody works at, as the user dev."""

    server: Server

    def typed(self, line: str, status: int = 0) -> str:
        """What a command line prints, in dev's login shell in the app's directory; its exit status must be this."""
        script = f"cd ~/hello 2>/dev/null || cd; {line}"
        ssh = ["ssh", "-q", "-i", self.server.machine.key_file]
        ssh += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        ssh += [f"dev@{self.server.machine.address}", f'export PATH="$HOME/.local/bin:$PATH"; {script}']
        ran = subprocess.run(ssh, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
        assert ran.returncode == status, f"{line}: {ran.returncode}\n{ran.stdout}{ran.stderr}"
        return ran.stdout + ran.stderr

    def write(self, name: str, text: str) -> None:
        path = self.server.machine.root / "home/dev" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.server.script("chown -R dev:dev /home/dev")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of this version, and one of a later version."""
    found = {}
    for version in (VERSION, LATER):
        source = tmp_path_factory.mktemp("source")
        for name in BUILT:
            copy = shutil.copytree if (REPO / name).is_dir() else shutil.copy
            copy(REPO / name, source / name)
        (source / "deploy" / "version.py").write_text(f'VERSION = "{version}"\n')
        subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=source, check=True)
        (found[version],) = (source / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def target() -> Iterator[Server]:
    """The server: bare, reached by root's key of nobody yet."""
    with machine("target") as made:
        yield Server(made)


def desk(made: sandbox.Machine, target: Server, wheels: dict[str, Path], packages: str) -> Desk:
    """The machine with a user dev, who may log in to the server, and with these packages of Debian."""
    server = Server(made)
    key = (target.machine.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
    server.script(
        "export DEBIAN_FRONTEND=noninteractive\napt-get -q update\n"
        f"apt-get -q -y install --no-install-recommends {packages}\n"
        "useradd --create-home --shell /bin/bash dev\n"
        "install -d -o dev -g dev -m 700 /home/dev/.ssh\n"
        "cp /home/admin/.ssh/authorized_keys /home/dev/.ssh/\n"
        "ssh-keygen -q -t ed25519 -N '' -f /home/dev/.ssh/id_ed25519\n"
        f"echo '{target.machine.address} {key.strip()}' >/home/dev/.ssh/known_hosts\n"
        "chown -R dev:dev /home/dev"
    )
    public = server.script("cat /home/dev/.ssh/id_ed25519.pub").strip()
    target.script(f"echo '{public}' >>/home/admin/.ssh/authorized_keys")
    for wheel in wheels.values():
        shutil.copy(wheel, made.root / "home/dev")
    return Desk(server)


@pytest.fixture(scope="module")
def developer(target: Server, wheels: dict[str, Path]) -> Iterator[Desk]:
    with machine("desk") as made:
        at = desk(made, target, wheels, "pipx git openssh-client")
        at.typed(f"pipx install ~/{wheels[VERSION].name}")
        at.write("hello/app.py", APP)
        at.write("hello/requirements.txt", "flask\n")
        at.typed("git config --global user.email dev@example.com; git config --global user.name dev")
        at.typed("git init -q . && git add . && git commit -qm First")
        yield at


def test_a_new_user_gets_an_app_of_their_own_to_its_live_page(developer: Desk, target: Server):
    assert developer.typed("ashore --version") == f"Ashore {VERSION}\n"
    said = developer.typed("ashore deploy", status=1)
    assert "error: there is no deploy.toml here" in said and "ashore init" in said
    host = f"admin@{target.machine.address}"
    said = developer.typed(f"ashore init --host {host} && git add . && git commit -qm deploy.toml")
    assert 'wsgi = "app:app"' in said and "ashore provision deploy" in said and "fab" not in said
    said = developer.typed("ashore provision deploy")
    assert "built from requirements.txt and gunicorn" in said and "what is running it?" in said
    assert "error" not in said and "fab " not in said
    status, page, _ = target.get("/", host=target.machine.address)
    assert (status, page) == (200, PAGE)
    assert "0 would change" in developer.typed("ashore provision --check")
    assert "nothing new" in developer.typed("ashore deploy")


def test_a_new_version_deploys_nothing_new_and_an_old_one_undoes_nothing(
    developer: Desk, target: Server, wheels: dict[str, Path]
):
    developer.typed("ashore provision deploy")
    release = target.script("readlink /srv/hello/current")
    developer.typed(f"pipx install --force ~/{wheels[LATER].name}")
    assert developer.typed("ashore --version") == f"Ashore {LATER}\n"
    said = developer.typed("ashore deploy")
    assert "nothing new" in said and f"provisioned by Ashore {VERSION}, and this is {LATER}" in said
    said = developer.typed("ashore provision")
    assert "provisioned: 1 changed" in said and "changed  file /srv/hello/provisioned" in said
    assert "and this is" not in developer.typed("ashore deploy")

    developer.typed(f"pipx install --force ~/{wheels[VERSION].name}")
    said = developer.typed("ashore deploy")
    assert "nothing new" in said and f"provisioned by Ashore {LATER}, and this is {VERSION}" in said
    said = developer.typed("ashore provision", status=1)
    assert f"provisioned by Ashore {LATER}, and this is {VERSION}: it would undo what is new" in said
    assert "pipx upgrade ashore" in said and "nothing was changed" in said
    assert target.script("readlink /srv/hello/current") == release
    assert target.get("/", host=target.machine.address)[0] == 200
    developer.typed("ashore provision --force")


def test_a_colleague_joins_by_a_clone_and_sees_what_is_running(
    developer: Desk, target: Server, wheels: dict[str, Path], tmp_path: Path
):
    developer.typed("ashore provision deploy")
    commit = developer.typed("git rev-parse --short=7 HEAD").strip()
    with machine("colleague", release="trixie") as made:
        at = desk(made, target, wheels, "git openssh-client python3-venv")
        at.typed("python3 -m venv ~/tool && ~/tool/bin/pip -q install uv")
        at.typed(f"~/tool/bin/uv tool install -q ~/{wheels[VERSION].name}")
        shutil.copytree(developer.server.machine.root / "home/dev/hello", made.root / "home/dev/hello")
        at.server.script("chown -R dev:dev /home/dev")
        said = at.typed("ashore releases")
        assert "current" in said and commit in said and "dev@" in said
        assert "nothing new" in at.typed("ashore deploy")
