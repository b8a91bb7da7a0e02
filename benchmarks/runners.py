"""Each runner under load while releases switch: lost requests, what visitors wait, and what an instance takes."""

import re
from datetime import datetime, timezone

from .engine import DOMAIN, Bench, bench
from .load import Answers, Steady

SWITCHES, PHASES = 4, 2
VISITORS, VISITS_PER_SECOND = 6, 60  # of each kind: GET and POST
BODY = b"tide " * 400
ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    answer = body or b"ok"
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
"""
WSGI = """
def app(environ, start_response):
    answer = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)) or b"ok"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]
"""
RUNNERS = {
    "Gunicorn, WSGI": 'wsgi = "main:app"',
    "Granian, WSGI": 'wsgi = "main:app"\nrunner = "granian"',
    "Waitress, WSGI": 'wsgi = "main:app"\nrunner = "waitress"',
    "Uvicorn, ASGI": 'asgi = "main:app"',
    "Gunicorn with Uvicorn's workers, ASGI": 'asgi = "main:app"\nworker_class = "uvicorn"',
    "Hypercorn, ASGI": 'asgi = "main:app"\nrunner = "hypercorn"',
    "Granian, ASGI": 'asgi = "main:app"\nrunner = "granian"',
}
# The memory of an instance: what its processes have for themselves, and their part of what they share.
MEMORY = """
import glob, subprocess, sys
shown = ["systemctl", "show", "-p", "ControlGroup", "--value", f"visitors@{sys.argv[1]}.service"]
group = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.strip()
(path,) = glob.glob(f"/sys/fs/cgroup{group}/cgroup.procs") or glob.glob(f"/sys/fs/cgroup/systemd{group}/cgroup.procs")
total = 0
for pid in open(path).read().split():
    lines = open(f"/proc/{pid}/smaps_rollup").read().splitlines()
    total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
print(total / 1024)
"""


def by_runner() -> tuple[list[str], list[str]]:
    """A row of the table for each runner, and those of them that lost a request."""
    rows, lost = [], []
    with bench() as at:
        (at.project / "requirements.txt").write_text("# what runs it comes with the kit\n", "utf-8")
        configure(at, "Gunicorn, WSGI")
        at.fab("provision")
        for name in RUNNERS:
            configure(at, name)
            at.fab("deploy")
            row, failures = measured(at, name)
            print(row, flush=True)
            rows.append(row)
            lost += [f"{name}: {failures[0]}"] if failures else []
    return rows, lost


def configure(at: Bench, name: str) -> None:
    keys = RUNNERS[name]
    (at.project / "main.py").write_text(ASGI if "asgi" in keys else WSGI, "utf-8")
    config = at.project / "deploy.toml"
    stages = config.read_text("utf-8").partition("[stages.production]")[2]
    app = (
        f'[app]\nname = "visitors"\n{keys}\nwatch_seconds = 0\nworkers = 2\ninclude = ["main.py", "requirements.txt"]\n'
    )
    config.write_text(f"{app}[stages.production]{stages}", "utf-8")


def measured(at: Bench, name: str) -> tuple[str, list[str]]:
    """Quiet phases, in which `fab provision` runs in the same rhythm, and phases of switches, in turns."""
    found = {"quiet": Answers(), "switching": Answers()}
    for _ in range(PHASES):
        for phase, words in (("quiet", "provision"), ("switching", "restart")):
            load = [
                Steady((at.machine.address, 80), DOMAIN, "/", VISITORS, VISITS_PER_SECOND, body) for body in (b"", BODY)
            ]
            for _ in range(SWITCHES):
                at.fab(words)
            for steady in load:
                answers = steady.end()
                found[phase].seconds += answers.seconds
                found[phase].failures += answers.failures
    current = at.on_server("readlink", "/srv/visitors/current").strip().rpartition("/")[2]
    memory = float(at.on_server("python3", "-", current, stdin=MEMORY))
    switching, quiet = found["switching"], found["quiet"]
    p99s = [f"{1000 * answers.percentile(99):.1f} ms" for answers in (switching, quiet)]
    failures = [*switching.failures, *quiet.failures]
    cells = (name, PHASES * SWITCHES, len(switching.seconds), len(switching.failures), *p99s, f"{memory:.0f} MiB")
    return f"| {' | '.join(map(str, cells))} |", failures


TITLE = "## Runners"


def section(rows: list[str]) -> str:
    table = "\n".join(rows)
    return f"""{TITLE}

`python -m benchmarks.releases runners`, {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC. An app that does nothing, two
workers; half of the requests are POSTs of 2 kB, half of the connections are kept. Memory: of one instance after that,
its processes' own and their part of what they share.

| runner | switches | requests meanwhile | lost | p99 while switching | p99 without switches | memory |
|---|---|---|---|---|---|---|
{table}
"""


def with_section(page: str, text: str) -> str:
    """The page with this section, in place of the one of the same title, or as its last one."""
    title = re.escape(text.partition("\n")[0])
    found = re.search(rf"^{title}\n.*?(?=^## |\Z)", page, re.M | re.S)
    return (
        f"{page[: found.start()]}{text}\n{page[found.end() :]}".rstrip() + "\n"
        if found
        else f"{page.rstrip()}\n\n{text}"
    )
