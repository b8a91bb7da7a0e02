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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, RemoteDisconnected
from pathlib import Path

import pytest

from deploy import sandbox

REPO = Path(__file__).resolve().parents[2]
FAB = Path(sys.executable).parent / "fab"
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")  # each process of a parallel run has machines of its own
SNAPSHOT = f"e{WORKER}-live"
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


# Prints a line for everything that stands about. Two runs of it see the same: it changes nothing.
LEFTOVERS = r"""
set +e
cd /srv/visitors; current=$(basename "$(readlink current)")
systemctl list-units --all --plain --no-legend 'visitors*' | awk '{print "unit", $1, $3}' \
  | grep -vE "^unit visitors@($current.service active|.* inactive)$"
ls /run/visitors | grep -v "^$current$" | sed 's/^/socket /'
ls /etc/systemd/system/multi-user.target.wants | grep visitors@ \
  | grep -v "^visitors@$current.service$" | sed 's/^/at boot /'
ls -A . | grep -vxE 'current|previous|releases|secrets.env|venvs' | sed 's/^/file /'
for release in $(ls releases); do
  grep -qsxE 'good|rolled back' releases/$release/state || echo half release $release
  test -f /etc/systemd/system/visitors@$release.service || echo release without unit $release
  ls -A releases/$release | grep -vxE 'source|env|env.json|http.sock|manifest.json|release.json|state|unit|venv' \
    | sed "s/^/in release /"
done
for unit in $(ls /etc/systemd/system | grep '^visitors@.*service$'); do
  release=${unit#visitors@}; test -d releases/${release%.service} || echo unit without release $unit
done
for venv in $(ls venvs); do
  readlink releases/*/venv | grep -q "/$venv$" || echo unused virtualenv $venv
  test -f venvs/$venv/.complete || echo half virtualenv $venv
done
find /srv/visitors /etc /usr/local /var/lib/ashore /run/ashore -xdev -name '.*.ashore' | sed 's/^/temporary /'
ls /usr/local/lib/ashore | grep building | sed 's/^/half uv /'
test ! -e /var/lib/ashore/visitors/last-run.json || echo a run that nobody has heard of
flock -n /run/ashore/app-visitors.lock true || echo locked
pgrep -fx 'python3 -ISc .*' | sed 's/^/agent /'
nginx -t -q 2>&1 | sed 's/^/nginx: /'
echo looked
"""


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
        self.hosts, self.domains = [f"admin@{machine.address}"], [DOMAIN]
        self.write_config()
        self.write_ssh_config(f"Host *\n  IdentityFile {machine.key_file}\n")
        self.know_host()
        self.git("init", "-q")
        self.commit("first")

    def write_config(self, app: str = "", stage: str = "", name: str = "visitors", wsgi: str = "") -> None:
        app, wsgi = f"{self.app}\n{app}", wsgi or self.wsgi
        for key, value in {"watch_seconds": 0, "health_seconds": 10}.items():
            app = app if key in app else f"{key} = {value}\n{app}"
        (self.directory / "deploy.toml").write_text(
            f'[app]\nname = "{name}"\nwsgi = "{wsgi}"\nrequirements = "webapp/requirements.txt"\n'
            f'static = {{ "/static/" = "webapp/static" }}\nhealth_path = "/healthz"\n{app}\n'
            f"[stages.production]\nhosts = {json.dumps(self.hosts)}\ndomains = {json.dumps(self.domains)}\n{stage}\n"
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

    fab_path = str(FAB)

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}

    def start(
        self,
        *words: str,
        environment: dict[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        **options: object,
    ) -> subprocess.Popen:
        """`fab WORDS` in this directory, not at a terminal, with a home of its own."""
        return subprocess.Popen(
            [self.fab_path, "-r", str(REPO), *words],
            cwd=self.directory,
            env={**self.environment, **(environment or {})},
            stdin=stdin,
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

    def halted(self, at: str | int, *words: str) -> tuple[subprocess.Popen, dict | None]:
        """`fab WORDS --json`, and the event of its agent standing still before a step (a number, or part of a title).

        None in place of the event where it ended without coming to such a step.
        """
        process = self.start(*words, "--json", environment={"ASHORE_HALT": str(at)})
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "halted":
                return process, event
        return process, None

    def through(self, relay: "Relay | None") -> None:
        """Reach the server by a relay, or straight again."""
        self.hosts = [f"admin@127.0.0.1:{relay.port}" if relay else f"admin@{self.machine.address}"]
        self.know_host(f"[127.0.0.1]:{relay.port}" if relay else "")
        self.write_config()

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
    def requests(self, path: str = "/", clients: int = 6, reloads: bool = False) -> Iterator[Answers]:
        """Visitors, half of them keeping their connection, for as long as the block lasts.

        reloads: Nginx may be reloaded, which closes idle connections; a request that meets that is made again on a
        fresh one, as every browser does.
        """
        answers, stop, lock = Answers(), threading.Event(), threading.Lock()

        def visit(keep: bool) -> None:
            connection = HTTPConnection(self.machine.address, timeout=15)
            while not stop.is_set():
                began = time.monotonic()
                fresh = connection.sock is None
                try:
                    connection.request(
                        "GET", path, headers={"Host": DOMAIN} | ({} if keep else {"Connection": "close"})
                    )
                    answer = connection.getresponse()
                    answer.read()
                    status: int | str = answer.status
                except RemoteDisconnected as error:
                    connection.close()
                    if reloads and not fresh:
                        continue
                    status = repr(error)
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
            with suppress(OSError):  # that side has gone already
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def change_app(project: Project, line: str) -> None:
    file = project.directory / "webapp" / "__init__.py"
    file.write_text(file.read_text() + f"\n{line}\n")
    project.commit()


def on_small_disk(server: Server, megabytes: int) -> None:
    """Move /srv/visitors onto a disk of its own with so much room left; a serving app does not notice."""
    server.script(
        "size=$(du -sm /srv/visitors | cut -f1); mkdir /mnt/small;"
        f" mount -t tmpfs -o size=$((size + {megabytes}))m,mode=0755 tmpfs /mnt/small;"
        " cp -a /srv/visitors/. /mnt/small/; chown --reference=/srv/visitors /mnt/small;"
        " chmod --reference=/srv/visitors /mnt/small; mount --bind /mnt/small /srv/visitors"
    )
