"""`fab` as a person types it, servers as their visitors see them, and ways to break both."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from deploy import sandbox

REPO = Path(__file__).resolve().parents[2]
FAB = Path(sys.executable).parent / "fab"
SNAPSHOT = "e-live"
DOMAIN = "visitors.example"  # not the address: that differs between the machines made from one snapshot


def wait_for(condition: Callable[[], object], what: str, seconds: float = 30) -> object:
    """Poll until the condition holds, and return what it gave."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while time.monotonic() < deadline:
        if found := condition():
            return found
        pause.wait(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


@dataclass
class Ran:
    """A finished command."""

    status: int
    out: str
    err: str
    seconds: float

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def events(self) -> list[dict]:
        return [json.loads(line) for line in self.out.splitlines()]


class Project:
    """A directory as an app's developer has it: the sample app, in git, with a deploy.toml for one server."""

    def __init__(self, directory: Path, machine: sandbox.Machine) -> None:
        self.directory, self.machine = directory, machine
        self.home = directory.parent / "home"
        (self.home / ".ssh").mkdir(parents=True, mode=0o700)
        directory.mkdir(parents=True)
        shutil.copytree(REPO / "webapp", directory / "webapp", ignore=shutil.ignore_patterns("__pycache__"))
        self.hosts, self.domains = [f"admin@{machine.address}"], [DOMAIN]
        self.write_config()
        self.write_ssh_config(f"Host *\n  IdentityFile {machine.key_file}\n")
        self.know_host()
        self.git("init", "-q")
        self.commit("first")

    def write_config(
        self, app: str = "", stage: str = "", name: str = "visitors", wsgi: str = "webapp:create_app()"
    ) -> None:
        (self.directory / "deploy.toml").write_text(
            f'[app]\nname = "{name}"\nwsgi = "{wsgi}"\nrequirements = "webapp/requirements.txt"\n'
            f'static = {{ "/static/" = "webapp/static" }}\nhealth_path = "/healthz"\nhealth_seconds = 10\n{app}\n'
            f"[stages.production]\nhosts = {json.dumps(self.hosts)}\ndomains = {json.dumps(self.domains)}\n{stage}\n"
        )

    def write_ssh_config(self, text: str) -> None:
        (self.home / ".ssh" / "config").write_text(text)

    def know_host(self) -> None:
        key = (self.machine.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
        (self.home / ".ssh" / "known_hosts").write_text(f"{self.machine.address} {key[0]} {key[1]}\n")

    def git(self, *words: str) -> str:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        return subprocess.run(
            ["git", *who, *words], cwd=self.directory, check=True, capture_output=True, text=True
        ).stdout

    def commit(self, message: str = "change") -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message, "--allow-empty")

    def append(self, path: str, text: str) -> None:
        with (self.directory / path).open("a") as file:
            file.write(text)

    def start(self, *words: str, **options: object) -> subprocess.Popen:
        """`fab WORDS` in this directory, not at a terminal, with a home of its own."""
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        return subprocess.Popen(
            [str(FAB), "-r", str(REPO), *words],
            cwd=self.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )

    def fab(self, *words: str, status: int | None = 0) -> Ran:
        """`fab WORDS`, run to its end; its exit status must be `status` unless that is None."""
        began = time.monotonic()
        process = self.start(*words)
        out, err = process.communicate(timeout=180)
        ran = Ran(process.returncode, out, err, time.monotonic() - began)
        assert "\nTraceback (most" not in f"\n{err}", err
        if status is not None and ran.status != status:
            pytest.fail(f"fab {' '.join(words)} exited with {ran.status}\n{ran.text}\n{Server(self.machine).journal()}")
        return ran

    def deployed(self) -> str:
        """Deploy, and return the ID of the release that serves."""
        self.fab("deploy")
        return Server(self.machine).current


@dataclass
class Answers:
    statuses: list[int | str] = field(default_factory=list)
    slowest: float = 0.0


@dataclass
class Server:
    """A sandbox machine as the tests judge it: from outside, and as its root."""

    machine: sandbox.Machine

    def run(self, *argv: str, check: bool = True) -> str:
        """A command on the server as root, by SSH."""
        ssh = [
            "ssh",
            "-i",
            self.machine.key_file,
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ]
        words = " ".join("'" + word.replace("'", "'\\''") + "'" for word in ("sudo", *argv))
        target = f"{self.machine.user}@{self.machine.address}"
        ran = subprocess.run([*ssh, "-q", target, words], capture_output=True, text=True, timeout=120)
        assert not check or ran.returncode == 0, f"{argv}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    def script(self, text: str, check: bool = True) -> str:
        return self.run("sh", "-ec", text, check=check)

    def get(
        self, path: str = "/", host: str = DOMAIN, headers: dict[str, str] | None = None
    ) -> tuple[int, str, dict[str, str]]:
        connection = HTTPConnection(self.machine.address, timeout=15)
        try:
            connection.request("GET", path, headers={"Host": host, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), dict(answer.getheaders())
        finally:
            connection.close()

    def release(self) -> str:
        """The release that answers visitors."""
        return json.loads(self.get("/healthz")[1])["release"]

    @property
    def current(self) -> str:
        return os.path.basename(os.readlink(self.machine.root / "srv/visitors/current"))

    def journal(self) -> str:
        return self.script("journalctl -n 40 --no-pager; cat /var/log/nginx/error.log || true", check=False)

    def state(self) -> str:
        """Everything that a dry run or a refusal must not have changed."""
        return self.script(
            "find /etc /srv /usr/local /home /var/lib/dpkg/status /run/visitors -xdev"
            " -printf '%p %m %u %g %s %l %C@\\n' 2>/dev/null | sort;"
            " systemctl list-units --plain --no-legend --type=service --state=active | awk '{print $1}' | grep -v @ ",
            check=False,
        )

    @contextmanager
    def requests(self, path: str = "/", clients: int = 6) -> Iterator[Answers]:
        """Visitors, half of them keeping their connection, for as long as the block lasts."""
        answers, stop, lock = Answers(), threading.Event(), threading.Lock()

        def visit(keep: bool) -> None:
            connection = HTTPConnection(self.machine.address, timeout=15)
            while not stop.is_set():
                began = time.monotonic()
                try:
                    connection.request(
                        "GET", path, headers={"Host": DOMAIN} | ({} if keep else {"Connection": "close"})
                    )
                    answer = connection.getresponse()
                    answer.read()
                    status: int | str = answer.status
                except (OSError, HTTPException) as error:
                    status = repr(error)
                    connection.close()
                with lock:
                    answers.statuses.append(status)
                    answers.slowest = max(answers.slowest, time.monotonic() - began)
                if not keep:
                    connection.close()
                stop.wait(0.01)
            connection.close()

        threads = [threading.Thread(target=visit, args=(number % 2 == 0,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: len(answers.statuses) > clients, "first answers")
            yield answers
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def quiet(text: str) -> None:
    """What the sandbox says while it works is of no interest to a test."""


@contextmanager
def machine(name: str, **options: object) -> Iterator[sandbox.Machine]:
    made = sandbox.reset(name, say=quiet, **options)
    try:
        yield made
    finally:
        sandbox.destroy(name)


def answers(server: Server) -> bool:
    try:
        return server.get("/healthz")[0] == 200
    except (OSError, HTTPException):
        return False


def settled(made: sandbox.Machine, directory: Path) -> sandbox.Machine:
    """The machine, once its app answers and /etc/hosts has its own name in place of the snapshot's."""
    wait_for(lambda: answers(Server(made)), "the sample app after boot")
    Project(directory / "project", made).fab("provision")
    return made


def interrupt(process: subprocess.Popen) -> None:
    """Ctrl-C."""
    os.killpg(process.pid, signal.SIGINT)


class Relay:
    """A TCP relay to a server's sshd, to cut a link in the middle."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                inside, _ = self.listener.accept()
            except OSError:
                return
            outside = socket.create_connection((self.address, 22))
            self.sockets += [inside, outside]
            for source, target in ((inside, outside), (outside, inside)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
        except OSError:
            pass

    def cut(self) -> None:
        self.listener.close()
        for end in self.sockets:
            end.shutdown(socket.SHUT_RDWR)
            end.close()


def change_app(project: Project, line: str) -> None:
    file = project.directory / "webapp" / "__init__.py"
    file.write_text(file.read_text() + f"\n{line}\n")
    project.commit()
