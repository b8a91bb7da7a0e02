"""What a code-only deploy of each example costs: `python -m benchmarks.releases examples`."""

import shutil
import subprocess
import time
from datetime import datetime, timezone
from statistics import median

from .engine import FAB, HOST, REPO, Bench, bench

MILLISECONDS, REPEATS, PATIENCE_SECONDS = 100, 5, 60
# Example: the name of its app, a file of code, and a path that answers 200.
EXAMPLES = {
    "hello": ("hello", "app.py", "/"),
    "factory": ("guestbook", "guestbook/__init__.py", "/healthz"),
    "fastapi": ("chat", "main.py", "/healthz"),
    "django": ("board", "board/views.py", "/healthz"),
}
# On the server: from `systemctl start` of a release that does not run to its first 200, on its own socket.
START_UP = """
import socket, subprocess, sys, time
unit, place, path, host = sys.argv[1:]
began = time.monotonic()
starting = subprocess.Popen(["systemctl", "start", unit])
while True:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(place)
            head = f"GET {path} HTTP/1.0\\r\\nHost: {host}\\r\\nX-Forwarded-Proto: https\\r\\n\\r\\n"
            connection.sendall(head.encode())
            if connection.recv(100).split()[1] == b"200":
                break
    except (OSError, IndexError):
        pass
    time.sleep(0.005)
print(time.monotonic() - began)
starting.wait()
subprocess.run(["systemctl", "stop", unit], check=True)
"""


def by_example() -> list[str]:
    """A row for each example, of medians."""
    rows = []
    with bench() as at:
        for example, (name, code, path) in EXAMPLES.items():
            prepare(at, example)
            for words in ("provision", "deploy"):
                at.fab(words)
            seconds: dict[str, list[float]] = {"deploy": [], "start": [], "connection": []}
            for number in range(REPEATS):
                with (at.project / code).open("a", encoding="utf-8") as file:
                    file.write(f"# {number}\n")
                at.relay.seconds = MILLISECONDS / 1000
                seconds["deploy"].append(to_traffic(at, name))
                seconds["connection"].append(at.fabric_cli().seconds)
                at.relay.seconds = 0
                seconds["start"].append(start_up(at, name, path))
            rows.append(row(example, *map(median, seconds.values())))
            print(rows[-1], flush=True)
    return rows


def prepare(at: Bench, example: str) -> None:
    shutil.rmtree(at.project)
    shutil.copytree(REPO / "examples" / example, at.project, ignore=shutil.ignore_patterns("__pycache__"))
    config = at.project / "deploy.toml"
    app = config.read_text("utf-8").partition("[stages")[0].replace("[app]\n", "[app]\nwatch_seconds = 0\n", 1)
    stage = f'[stages.production]\nhosts = ["admin@{HOST}"]\ndomain = "{example}.example"\ntls = "off"\n'
    config.write_text(app + stage, "utf-8")


def to_traffic(at: Bench, name: str) -> float:
    """Seconds from typing `fab deploy` until another release has the traffic."""
    current = at.machine.root / "srv" / name / "current"
    before, began = current.readlink(), time.monotonic()
    environment = {"HOME": str(at.home), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    argv = [str(FAB), "-r", str(REPO), "deploy"]
    with subprocess.Popen(
        argv,
        cwd=at.project,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        while current.readlink() == before:
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise SystemExit(f"fab deploy of {name} brought no other release")
            time.sleep(0.005)
        seconds = time.monotonic() - began
        output = process.communicate()[0]
    if process.returncode not in (0, 3):
        raise SystemExit(f"fab deploy of {name} exited with {process.returncode}:\n{output.decode()}")
    return seconds


def start_up(at: Bench, name: str, path: str) -> float:
    releases = at.on_server("ls", f"/srv/{name}/releases").split()
    older, host = sorted(releases)[-2], f"{next(each for each, (app, *_) in EXAMPLES.items() if app == name)}.example"
    arguments = (f"{name}@{older}.service", f"/run/{name}/{older}/http.sock", path, host)
    return float(at.on_server("python3", "-", *arguments, stdin=START_UP))


def row(example: str, deploy: float, start: float, connection: float) -> str:
    half = start + 4 * MILLISECONDS / 1000
    cells = (f"{deploy:.2f} s", f"{start:.2f} s", f"{deploy / half:.2f} ×", f"{deploy / (connection + start):.2f} ×")
    return f"| {example} | {' | '.join(cells)} |"


TITLE = "## Examples"


def section(rows: list[str]) -> str:
    table = "\n".join(rows)
    return f"""{TITLE}

`python -m benchmarks.releases examples`, {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC. A deploy of one
changed file of code, from the command to the traffic, at {MILLISECONDS} ms; medians of {REPEATS}. Beside it: the
app's own start-up and four round trips, and what nothing goes below, an SSH connection by Fabric and the start-up.
Django's runs `manage.py migrate` as well, which starts Django once more.

| example | deploy | start-up | in start-ups + 4 round trips | in connections by Fabric + start-ups |
|---|---|---|---|---|
{table}
"""
