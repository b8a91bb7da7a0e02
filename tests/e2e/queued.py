"""An app with a worker, a scheduler and a timer, that writes down what its processes do."""

import json
from pathlib import Path

from standing import Project, Server

from deploy import sandbox
from deploy.agent.resources.processes.units import is_job

WEB = """
import os


def app(environ, start_response):
    environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Type", "application/json")])
    return [f'{{"release": "{os.environ["RELEASE_ID"]}"}}'.encode()]
"""
# Each line of the file: what, the process, its release, its ID, the time, the number of its source.
NOTES = """
import os, signal, sys, time

NUMBER = open("number.txt").read().strip()


def note(what):
    me = f"{os.environ['PROCESS']} {os.environ['RELEASE_ID']} {os.getpid()}"
    number = open("number.txt").read().strip()
    with open(os.environ["DATA_DIR"] + "/notes", "a") as file:
        file.write(f"{what} {me} {time.time():.3f} {number}\\n")


"""
WORKER = """
from notes import *

stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
note("begins")
print("at work", flush=True)
while not stop:
    time.sleep(0.05)
note("ends")
"""
JOB = """
from notes import *

note("begins")
time.sleep(float(sys.argv[1]))
note("ends")
"""


class Queue(Project):
    """procfile, tables: of the app. number: a file that each change of the code changes."""

    procfile = "worker: python worker.py\n"
    tables = ""

    def __init__(self, directory: Path, machine: sandbox.Machine, domain: str = "queue.example") -> None:
        self.name = domain.partition(".")[0]
        super().__init__(directory, machine)
        self.domain = domain
        for name, text in {"main.py": WEB, "notes.py": NOTES, "worker.py": WORKER, "job.py": JOB}.items():
            (directory / name).write_text(text)
        (directory / "requirements.txt").write_text("")
        self.number = 0
        self.change()

    def write_config(self, app: str = "", *unused: str) -> None:
        (self.directory / "Procfile").write_text(self.procfile)
        usual = {"watch_seconds": 0, "health_seconds": 10}
        more = "\n".join(f"{key} = {value}" for key, value in usual.items() if key not in self.app)
        (self.directory / "deploy.toml").write_text(
            f'[app]\nname = "{self.name}"\nwsgi = "main:app"\n{more}\n{self.app}\n{app}\n'
            f"{self.tables}\n[stages.production]\nhosts = {json.dumps(self.hosts)}\n"
            f'domain = "{self.domain}"\ntls = "off"\n'
        )

    def change(self, **parts: str) -> None:
        """Another version of the code; parts: `procfile`, `tables` and `app`, where these change."""
        for name, text in parts.items():
            setattr(self, name, text)
        self.write_config()
        self.number += 1
        (self.directory / "number.txt").write_text(f"{self.number}\n")
        self.commit()

    @property
    def server(self) -> Server:
        return Server(self.machine)

    @property
    def serves(self) -> str:
        """The release that answers visitors."""
        return json.loads(self.server.get("/", self.domain)[1])["release"]

    @property
    def current(self) -> str:
        return self.server.run("readlink", f"/srv/{self.name}/current").strip().removeprefix("releases/")

    def units(self, *states: str) -> list[str]:
        """What runs beside the web servers, "RELEASE.NAME.NUMBER.service", in one of these states."""
        listing = ["systemctl", "list-units", "--plain", "--no-legend", "--all"]
        state = f"--state={','.join(states or ('active',))}"
        text = self.server.run(*listing, state, f"{self.name}@*.*.service", f"{self.name}@*.*.timer", check=False)
        return sorted(line.replace("●", " ").split()[0].partition("@")[2] for line in text.splitlines())

    def is_one_set(self) -> bool:
        """Whether all that runs beside the web server is of the release with the traffic, and is all of it."""
        files = self.server.script(f"cd /etc/systemd/system; ls -d {self.name}@*.*.service {self.name}@*.timer || true")
        own = [name.partition("@")[2] for name in files.split() if name.startswith(f"{self.name}@{self.current}.")]
        wanted = [name for name in own if not is_job(f"{self.name}@{name}")]
        there = self.units("active", "activating", "reloading", "deactivating")
        return [unit for unit in there if not is_job(f"{self.name}@{unit}")] == sorted(wanted)

    def notes(self, name: str = "") -> list[list[str]]:
        """What the processes have noted, of one process or job, in order: the words of each line."""
        text = self.server.run("cat", f"/var/lib/{self.name}/notes", check=False)
        rows = [line.split() for line in text.splitlines()]
        return [row for row in rows if not name or row[1].partition(".")[0] == name]
