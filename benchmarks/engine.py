"""What the engine costs, against peers in the same run: `python -m benchmarks.engine`, or `make benchmark`.

Needs what the sandbox needs: Linux and root. Medians of several runs with the tools in turn, so that a busy machine
weighs on all alike. Prints a table, writes RESULTS.md, and exits with 1 where a bound is exceeded.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

from deploy import sandbox
from deploy.config import reader as config
from deploy.errors import WOULD_CHANGE
from deploy.plan import provision as plans

from .relay import Relay, Traffic
from .report import Report
from .script import script

REPO = Path(__file__).resolve().parents[1]
FAB = Path(sys.executable).parent / "fab"
MACHINE = "b-engine"
HOST = "127.20.30.40"  # the relay's, so that ports 22 and 80 are free to stand for the server's
DISTANCES = (0, 50, 150)  # round-trip times in milliseconds
DOMAIN = "visitors.example"
REPEATS, FRESH_REPEATS, START_REPEATS = 5, 3, 15
MEMORY_MIB = 64
FABRIC_SCRIPT = """
import sys
from fabric import Connection
from paramiko import RejectPolicy
address, user, key, known_hosts = sys.argv[1:]
keys = {"key_filename": key, "look_for_keys": False, "allow_agent": False}
with Connection(address, user, connect_kwargs=keys) as connection:
    connection.client.load_host_keys(known_hosts)
    connection.client.set_missing_host_key_policy(RejectPolicy())
    connection.run("true", in_stream=False)
"""


@dataclass(frozen=True)
class Run:
    """A command that has ended: wall time, peak memory of its process, and what went through the relay.

    The memory is never below this process's own, which the child shares until its exec.
    """

    seconds: float
    memory_mib: float
    traffic: Traffic
    output: str


@dataclass
class Runs:
    """The runs of each tool, by name."""

    of: dict[str, list[Run]] = field(default_factory=dict)

    def take(self, tools: dict[str, Callable[[], Run]], repeats: int) -> None:
        for _ in range(repeats):
            for name, tool in tools.items():
                self.of.setdefault(name, []).append(tool())

    def seconds(self, name: str) -> float:
        return median(run.seconds for run in self.of[name])

    def memory_mib(self, name: str) -> float:
        return max(run.memory_mib for run in self.of[name])

    def kilobytes_up(self, name: str) -> float:
        return median(run.traffic.bytes_up for run in self.of[name]) / 1000

    def connections(self, name: str) -> int:
        return max(run.traffic.connections for run in self.of[name])


class Bench:
    """The server, the relay in front of it, and the developer's directory and home."""

    def __init__(self, directory: Path, relay: Relay) -> None:
        self.relay = relay
        self.home, self.project = directory / "home", directory / "project"
        self.known_hosts = self.home / ".ssh" / "known_hosts"
        self.known_hosts.parent.mkdir(parents=True, mode=0o700)
        shutil.copytree(REPO / "webapp", self.project / "webapp", ignore=shutil.ignore_patterns("__pycache__"))
        stage = f'hosts = ["admin@{HOST}"]\ndomain = "{DOMAIN}"\ntls = "off"\n'
        text = (REPO / "deploy.toml").read_text("utf-8").partition("[stages.production]")[0]
        (self.project / "deploy.toml").write_text(f"{text}[stages.production]\n{stage}", "utf-8")
        self.machine = self.fresh()
        options = f"IdentityFile {self.machine.key_file}\nIdentitiesOnly yes\nUserKnownHostsFile {self.known_hosts}\n"
        (self.known_hosts.parent / "config").write_text(f"Host *\n{options}", "utf-8")

    def fresh(self) -> sandbox.Machine:
        """A server without anything of ours, and with new host keys."""
        machine = sandbox.reset(MACHINE, say=lambda text: None)
        self.relay.server = machine.address
        key = (machine.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text("ascii")
        self.known_hosts.write_text(f"{HOST} {key}", "ascii")
        return machine

    def run(self, *argv: str | Path, stdin: str = "", statuses: tuple[int, ...] = (0,)) -> Run:
        """Run it to its end; its exit status must be one of `statuses`."""
        before, began = self.relay.traffic, time.monotonic()
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        with tempfile.TemporaryFile("w+") as told, tempfile.TemporaryFile("w+") as said:
            told.write(stdin)
            told.seek(0)
            process = subprocess.Popen(
                argv, cwd=self.project, env=environment, stdin=told, stdout=said, stderr=subprocess.STDOUT
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            output = said.read()
        if process.returncode not in statuses:
            raise SystemExit(f"{argv} exited with {process.returncode}:\n{output}")
        return Run(seconds, usage.ru_maxrss / 1024, self.relay.traffic.since(before), output)

    def fab(self, *words: str) -> Run:
        return self.run(FAB, "-r", REPO, *words)

    def fabric_cli(self) -> Run:
        return self.run(FAB, "-H", f"admin@{HOST}", "--", "true")

    def fabric_script(self) -> Run:
        arguments = (HOST, "admin", self.machine.key_file, str(self.known_hosts))
        return self.run(sys.executable, "-c", FABRIC_SCRIPT, *arguments)

    def shell_script(self) -> Run:
        loaded = config.load(self.project)
        text = script(plans.provisioning(loaded.app, loaded.stages[0]))
        ssh = ("ssh", "-F", str(self.known_hosts.parent / "config"), f"admin@{HOST}")
        return self.run(*ssh, "sudo sh -s", stdin=text)

    def on_server(self, *argv: str, stdin: str = "") -> str:
        """A command on the server as root, straight and not through the relay; its output."""
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null")
        words = [word for option in options for word in ("-o", option)]
        command = ["ssh", "-q", "-i", self.machine.key_file, *words, f"admin@{self.machine.address}", "sudo", *argv]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout

    def require_answer(self) -> None:
        visitor = HTTPConnection(HOST, timeout=5)
        visitor.request("GET", "/healthz", headers={"Host": DOMAIN})
        status = visitor.getresponse().status
        visitor.close()
        if status != 200:
            raise SystemExit(f"the deployed app answers {status}")

    def change_one_file(self) -> None:
        with (self.project / "webapp" / "__init__.py").open("a", encoding="utf-8") as file:
            file.write(f"# {time.monotonic_ns()}\n")


@contextmanager
def bench() -> Iterator[Bench]:
    relay = Relay(HOST, (22, 80))
    with tempfile.TemporaryDirectory() as directory:
        try:
            yield Bench(Path(directory), relay)
        finally:
            relay.close()
            sandbox.destroy(MACHINE)


def starting(at: Bench, report: Report) -> None:
    runs = Runs()
    runs.take({"list": lambda: at.fab("--list"), "version": lambda: at.fab("--version")}, START_REPEATS)
    report.claim("fab --list", runs.seconds("list"), "fab --version", runs.seconds("version"), 1.5)


def fresh(at: Bench, report: Report) -> None:
    """Ends with a server that `fab provision` has made."""
    for milliseconds, bound in ((150, 1.1), (0, 1.15)):
        runs = Runs()
        for _ in range(FRESH_REPEATS):
            for name, tool in (("script", at.shell_script), ("provision", lambda: at.fab("provision"))):
                at.relay.seconds = 0
                at.fresh()
                at.relay.seconds = milliseconds / 1000
                runs.take({name: tool}, 1)
                if name == "script":
                    same_work(at)
        ours, script_seconds = runs.seconds("provision"), runs.seconds("script")
        report.claim(f"fresh provision, {milliseconds} ms", ours, "shell script over ssh", script_seconds, bound)
        report.memory(f"fresh provision, {milliseconds} ms", runs.memory_mib("provision"), MEMORY_MIB)


def same_work(at: Bench) -> None:
    """The kit must find nothing left to do after the shell script, but reloads that it does not know of."""
    at.relay.seconds = 0
    ran = at.run(FAB, "-r", REPO, "provision", "--check", "--json", statuses=(0, WOULD_CHANGE))
    events = [json.loads(line) for line in ran.output.splitlines()]
    left = [event["step"] for event in events if event["event"] == "step" and event["state"] != "ok"]
    if [step for step in left if not step.startswith(("nginx: running", "SSH: login by key", "firewall: only"))]:
        raise SystemExit(f"the shell script left undone: {', '.join(left)}")


def without_changes(at: Bench, report: Report) -> None:
    for milliseconds in DISTANCES:
        at.relay.seconds = milliseconds / 1000
        runs = Runs()
        tools = {
            "provision": lambda: at.fab("provision"),
            "cli": at.fabric_cli,
            "script": at.fabric_script,
        }
        runs.take(tools, 2 * REPEATS)
        runs.take({"deploy": lambda: at.fab("deploy")}, REPEATS)  # without a peer; the server is busy behind it
        ours, name = runs.seconds("provision"), f"no-op provision, {milliseconds} ms"
        report.claim(name, ours, "fab -H … -- true", runs.seconds("cli"), 1.2)
        report.claim(name, ours, 'a script: Connection.run("true")', runs.seconds("script"), 1.2)
        report.limit(f"{name}, all that is sent", runs.kilobytes_up("provision"), 14, "kB")
        for verb in ("provision", "deploy"):
            report.cost(f"no-op {verb}, {milliseconds} ms", runs, verb)
            report.memory(f"no-op {verb}, {milliseconds} ms", runs.memory_mib(verb), MEMORY_MIB)


def with_changes(at: Bench, report: Report) -> None:
    for milliseconds in DISTANCES:
        at.relay.seconds = milliseconds / 1000
        runs = Runs()
        for _ in range(FRESH_REPEATS):
            at.change_one_file()
            runs.take({"deploy": lambda: at.fab("deploy")}, 1)
        report.cost(f"deploy of one changed file, {milliseconds} ms", runs, "deploy")
        report.memory(f"deploy of one changed file, {milliseconds} ms", runs.memory_mib("deploy"), MEMORY_MIB)


def main() -> int:
    report = Report("What the engine costs", "python -m benchmarks.engine")
    with bench() as at:
        for measure in (starting, fresh):
            measure(at, report)
        at.relay.seconds = 0
        at.fab("deploy")
        at.require_answer()
        for measure in (without_changes, with_changes):
            measure(at, report)
        release = at.machine.release
    return report.write(Path(__file__).with_name("RESULTS.md"), release)


if __name__ == "__main__":
    sys.exit(main())
