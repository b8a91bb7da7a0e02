"""`fab` as a person types it, and servers as their visitors see them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest
from visiting import Answers, visitors, wait_for

from deploy import sandbox

REPO = Path(__file__).resolve().parents[2]
FAB = Path(sys.executable).parent / "fab"
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")  # each process of a parallel run has machines of its own
SNAPSHOT = f"e{WORKER}-live"
PROXY = os.environ.get("ASHORE_TEST_PROXY", "nginx")  # all of these tests can be run with another one
DOMAIN = "visitors.example"  # not the address: that differs between the machines made from one snapshot


LEFTOVERS = (Path(__file__).parent / "leftovers.sh").read_text()


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
        self.app, self.wsgi = "", "webapp:create_app()"  # lines of [app] that stay, and what is served
        self.home = directory.parent / "home"
        (self.home / ".ssh").mkdir(parents=True, mode=0o700)
        directory.mkdir(parents=True)
        shutil.copytree(REPO / "webapp", directory / "webapp", ignore=shutil.ignore_patterns("__pycache__"))
        self.hosts, self.domain, self.tls = [f"admin@{machine.address}"], DOMAIN, "off"
        self.write_config()
        self.write_ssh_config(f"Host *\n  IdentityFile {machine.key_file}\n")
        self.know_host()
        self.git("init", "-q")
        self.commit("first")

    def write_config(self, app: str = "", stage: str = "", name: str = "visitors", wsgi: str = "") -> None:
        app, wsgi = f"{self.app}\n{app}", wsgi or self.wsgi
        proxy = {} if self.proxy == "nginx" else {"proxy": f'"{self.proxy}"'}
        for key, value in {"watch_seconds": 0, "health_seconds": 10, **proxy}.items():
            app = app if f"{key} =" in app else f"{key} = {value}\n{app}"
        (self.directory / "deploy.toml").write_text(
            f'[app]\nname = "{name}"\nwsgi = "{wsgi}"\nrequirements = "webapp/requirements.txt"\n'
            f'static = {{ "/static/" = "webapp/static" }}\nhealth_path = "/healthz"\n{app}\n'
            f"[stages.production]\nhosts = {json.dumps(self.hosts)}\n"
            f'domain = "{self.domain}"\ntls = "{self.tls}"\n{stage}\n'
        )

    def write_ssh_config(self, text: str) -> None:
        (self.home / ".ssh" / "config").write_text(text)

    def know_host(self, name: str = "") -> None:
        key = (self.machine.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
        (self.home / ".ssh" / "known_hosts").write_text(f"{name or self.machine.address} {key[0]} {key[1]}\n")

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

    proxy = PROXY
    fab_path = str(FAB)
    kit = REPO

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}

    def start(
        self,
        *words: str,
        environment: dict[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        **options: object,
    ) -> "Running":
        """`fab WORDS` in this directory, not at a terminal, with a home of its own."""
        process = Running(
            [self.fab_path, "-r", str(self.kit), *words],
            cwd=self.directory,
            env={**self.environment, **(environment or {})},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )
        process.server = Server(self.machine)
        return process

    def fab(self, *words: str, status: int | None = 0) -> Ran:
        """`fab WORDS`, run to its end; its exit status must be `status` unless that is None.

        A dry run that goes well ends with 0 or 2.
        """
        began = time.monotonic()
        process = self.start(*words)
        out, err = process.ended()
        ran = Ran(process.returncode, out, err, time.monotonic() - began)
        assert "\nTraceback (most" not in f"\n{err}", err
        well = (0, 2) if status == 0 and "--check" in words else (status,)
        if status is not None and ran.status not in well:
            pytest.fail(f"fab {' '.join(words)} exited with {ran.status}\n{ran.text}\n{Server(self.machine).journal()}")
        return ran

    def halted(self, at: str | int, *words: str) -> tuple["Running", dict | None]:
        """`fab WORDS --json`, and the event of its agent standing still before a step (a number, or part of a title).

        None in place of the event where it ended without coming to such a step.
        """
        process = self.start(*words, "--json", environment={"ASHORE_HALT": str(at)})
        for line in process.stdout:
            process.said.append(line)
            event = json.loads(line)
            if event["event"] == "halted":
                return process, event
        return process, None

    def through(self, port: int | None) -> None:
        """Reach the server by a relay's port here, or straight again."""
        self.hosts = [f"admin@127.0.0.1:{port}" if port else f"admin@{self.machine.address}"]
        self.know_host(f"[127.0.0.1]:{port}" if port else "")
        self.write_config()

    def deployed(self) -> str:
        """Deploy, and return the ID of the release that serves."""
        self.fab("deploy")
        return Server(self.machine).current


class Running(subprocess.Popen):
    """`fab` at work on a server."""

    PATIENCE_SECONDS = 300  # a busy machine is slow; what takes longer never ends

    def __init__(self, *words: object, **options: object) -> None:
        super().__init__(*words, **options)
        self.said: list[str] = []  # what was read of its output on the way, to show why it ended
        self.server: Server | None = None

    def ended(self) -> tuple[str, str]:
        """Its standard output and error, once it has ended; where it does not, the test fails with what goes on."""
        try:
            return self.communicate(timeout=self.PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            said = "".join([*self.said, *self.communicate()])
            pytest.fail(f"{self.args} did not end\n{said}\n{self.server.at_work()}\n{self.server.journal()}")


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
        ran = subprocess.run([*ssh, "-q", target, words], capture_output=True, text=True, timeout=600)
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
    def proxy(self) -> str:
        """The one that runs."""
        return self.script("systemctl is-active -q caddy && echo caddy || echo nginx").strip()

    @property
    def current(self) -> str:
        return os.path.basename(os.readlink(self.machine.root / "srv/visitors/current"))

    def idle(self) -> bool:
        """Whether nobody is at work on the app: its lock is free."""
        script = "exec 9>>/run/ashore/app-visitors.lock; flock -n 9 && echo free"
        return "free" in self.script(script, check=False)

    def leftovers(self) -> list[str]:
        """What a run that ended well has no business to leave: one unit runs, one starts at boot, no half releases."""
        *found, last = self.script(LEFTOVERS, check=False).splitlines()
        assert last == "looked", last
        return found

    def journal(self) -> str:
        return self.script(
            "journalctl --namespace='*' -n 40 --no-pager; cat /var/log/nginx/error.log || true", check=False
        )

    def at_work(self) -> str:
        """Its processes, and where in the kernel those of the kit wait."""
        return self.script(
            "ps -eo pid,ppid,stat,etimes,wchan:32,args --forest;"
            " for task in $(pgrep -f 'python3 -ISc' | sed 's,^,/proc/,;s,$,/task/*,'); do"
            ' cat "$task/comm" "$task/wchan" "$task/syscall"; done',
            check=False,
        )

    def state(self) -> str:
        """Everything that a dry run or a refusal must not have changed."""
        return self.script(
            "find /etc /srv /usr/local /home /var/lib/dpkg/status /run/visitors -xdev"
            " -printf '%p %m %u %g %s %l %C@\\n' 2>/dev/null | sort;"
            " systemctl list-units --plain --no-legend --type=service --state=active | awk '{print $1}' | grep -v @ ",
            check=False,
        )

    def requests(
        self, path: str = "/", clients: int = 6, reloads: bool = False, encrypted: bool = False
    ) -> AbstractContextManager[Answers]:
        """Visitors for as long as the block lasts, see `visitors`."""
        return visitors(self.machine.address, DOMAIN, path, clients, reloads, encrypted)


def quiet(text: str) -> None:
    """What the sandbox says while it works is of no interest to a test."""


@contextmanager
def machine(name: str, **options: object) -> Iterator[sandbox.Machine]:
    name = f"e{WORKER}-{name}"
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


@contextmanager
def serving(name: str, snapshot: str, factory: pytest.TempPathFactory) -> Iterator[sandbox.Machine]:
    """A machine made from a snapshot, its app answering."""
    with machine(name, snapshot=snapshot) as made:
        yield settled(made, factory.mktemp(name))


def change_app(project: Project, line: str) -> None:
    file = project.directory / "webapp" / "__init__.py"
    file.write_text(file.read_text() + f"\n{line}\n")
    project.commit()


def in_create_app(project: Project, lines: str) -> None:
    """Put lines into the sample app's factory, where `app` is made."""
    file = project.directory / "webapp" / "__init__.py"
    text = file.read_text()
    indented = "".join(f"    {line}\n" for line in lines.splitlines())
    file.write_text(text.replace("    return app\n", f"{indented}    return app\n", 1))
    project.commit()
