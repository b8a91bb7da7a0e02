"""What it takes to change the release that serves: `python -m benchmarks.releases`, or `make benchmark`.

Needs what the sandbox needs: Linux and root. Medians, each figure and its peer in turns. Prints a table, writes
RELEASES.md, and exits with 1 where a bound is exceeded. `python -m benchmarks.releases runners` measures the runners
only, `… examples` the examples, and leaves the rest of RELEASES.md as it is.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median

from . import examples
from .engine import DOMAIN, FAB, REPO, Bench, bench
from .load import Answers, Steady
from .report import Report
from .runners import by_runner, section, with_section
from .throughput import throughput

DISTANCES = (0, 100)  # round-trip times in milliseconds
REPEATS = 5
PATIENCE_SECONDS = 30
TREE_FILES, TREE_FILE_BYTES = 5000, 20_000
# What an app at work imports, beside Flask.
ORDINARY = ("flask-sqlalchemy", "flask-migrate", "flask-login", "flask-wtf", "requests", "sentry-sdk", "boto3")
PHASE_SWITCHES, PHASES = 4, 3
VISITORS, VISITS_PER_SECOND = 8, 100


def serving(at: Bench) -> str:
    """The release that answers visitors, "" where none does just now."""
    visitor = HTTPConnection(at.machine.address, timeout=5)
    try:
        visitor.request("GET", "/healthz", headers={"Host": DOMAIN})
        return str(json.loads(visitor.getresponse().read())["release"])
    except (OSError, HTTPException, ValueError, KeyError):
        return ""
    finally:
        visitor.close()


def to_traffic(at: Bench, *words: str) -> float:
    """Seconds from typing `fab WORDS` until a visitor is answered by another release than before."""
    before, began = serving(at), time.monotonic()
    environment = {"HOME": str(at.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    process = subprocess.Popen(
        [str(FAB), "-r", str(REPO), *words],
        cwd=at.project,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    # The link on the server's disk, because a visitor who asks all the time slows down what is measured.
    current = at.machine.root / "srv/visitors/current"
    while current.readlink().name == before or serving(at) in (before, ""):
        if time.monotonic() - began > PATIENCE_SECONDS:
            raise SystemExit(f"fab {' '.join(words)} brought no other release")
        time.sleep(0.005)
    seconds = time.monotonic() - began
    output = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"fab {' '.join(words)} exited with {process.returncode}:\n{output.decode()}")
    return seconds


def start_up(at: Bench) -> float:
    """The app's own: what an older release of it takes from its start to its first answer."""
    current = serving(at)
    older = [name for name in at.on_server("ls", "/srv/visitors/releases").split() if name != current][-1]
    arguments = (f"visitors@{older}.service", f"/run/visitors/{older}/http.sock", "/healthz", DOMAIN)
    return float(at.on_server("python3", "-", *arguments, stdin=examples.START_UP))


def switching(at: Bench, report: Report) -> None:
    """A deploy of a small change, and a rollback, from the command to the first answer of the other release.

    Beside it stands what nothing goes below, an SSH connection by Fabric and the start: of the sample app, which starts
    in no time, and of an app that imports what apps at work do. That one is to have traffic within twice its start and
    four round trips, too. Without a distance that has no bound: Fabric and the login alone take as long as a start.
    """
    for milliseconds in DISTANCES:
        deploy, rollback, own, connection = switched(at, milliseconds)
        what, peer = f"deploy of one changed file, to traffic, {milliseconds} ms", "fab -H … -- true, and the start"
        report.claim(what, deploy, peer, connection + own, None)
        what = f"rollback, to traffic, {milliseconds} ms"
        report.limit(what, rollback, 2 + own, f"s, with 2 s + start-up ({own:.2f} s)")
    with (at.project / "webapp" / "requirements.txt").open("a", encoding="utf-8") as requirements:
        requirements.writelines(f"{name}\n" for name in ORDINARY)
    with (at.project / "webapp" / "__init__.py").open("a", encoding="utf-8") as code:
        code.write(f"import {', '.join(name.replace('-', '_') for name in ORDINARY)}  # noqa\n")
    for _ in range(2):
        at.change_one_file()
        at.fab("deploy")
    for milliseconds in DISTANCES:
        deploy, _, own, connection = switched(at, milliseconds)
        what = f"the same of an app with {len(ORDINARY)} usual imports, {milliseconds} ms"
        report.claim(what, deploy, "fab -H … -- true, and the start", connection + own, 1.4)
        peer = f"its start-up ({own:.2f} s) + 4 round trips"
        report.claim(what, deploy, peer, own + 4 * milliseconds / 1000, 2 if milliseconds else None)


def switched(at: Bench, milliseconds: int) -> tuple[float, float, float, float]:
    """Median seconds: a deploy to traffic, a rollback to traffic, the app's own start, Fabric's connection."""
    seconds: dict[str, list[float]] = {"deploy": [], "rollback": [], "start": [], "connection": []}
    for _ in range(REPEATS):
        at.relay.seconds = milliseconds / 1000
        at.change_one_file()
        seconds["deploy"].append(to_traffic(at, "deploy"))
        seconds["start"].append(start_up(at))
        seconds["rollback"].append(to_traffic(at, "rollback"))
        seconds["connection"].append(at.fabric_cli().seconds)
    at.relay.seconds = 0
    deploy, rollback, start, connection = map(median, seconds.values())
    return deploy, rollback, start, connection


def one_line_in_a_large_tree(at: Bench, report: Report) -> None:
    tree = at.project / "webapp" / "tree"
    for number in range(TREE_FILES):
        file = tree / f"{number % 50}" / f"{number}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(TREE_FILE_BYTES))
    at.fab("deploy")
    tree_kilobytes = TREE_FILES * TREE_FILE_BYTES / 1000
    for milliseconds in DISTANCES:
        at.relay.seconds = milliseconds / 1000
        at.change_one_file()
        run = at.fab("deploy")
        what = f"one line in {TREE_FILES} files of {tree_kilobytes / 1000:.0f} MB, {milliseconds} ms"
        report.limit(what, run.traffic.bytes_up / 1000, tree_kilobytes / 100, f"kB sent, in {run.seconds:.2f} s")
    shutil.rmtree(tree)
    at.relay.seconds = 0
    at.fab("deploy")


def latency(at: Bench, report: Report) -> None:
    """What visitors wait while releases switch, against a time in which the operator is as busy and nothing switches.

    Operator and server share the cores here, so `fab` itself costs visitors something; in the quiet phases
    `fab provision` runs in the same rhythm, with nothing to do.
    """
    found = {"quiet": Answers(), "switching": Answers()}
    for _ in range(PHASES):
        for name, words in (("quiet", "provision"), ("switching", "restart")):
            steady = Steady((at.machine.address, 80), DOMAIN, "/", VISITORS, VISITS_PER_SECOND)
            began = time.monotonic()
            for number in range(PHASE_SWITCHES):
                at.fab(words)
                time.sleep(max(0.0, began + 3 * (number + 1) - time.monotonic()))
            answers = steady.end()
            found[name].seconds += answers.seconds
            found[name].failures += answers.failures
    for name, answers in found.items():
        if answers.failures:
            report.exceeded.append(f"{len(answers.failures)} requests failed while {name}: {answers.failures[0]}")
    ours, peer = (found[name].percentile(99) for name in ("switching", "quiet"))
    what = f"p99 of {len(found['switching'].seconds)} requests, {PHASES * PHASE_SWITCHES} switches"
    report.claim(what, ours, "p99 without switches", peer, 1.5, milli=True)


def main() -> int:
    page = Path(__file__).with_name("RELEASES.md")
    if sys.argv[1:] == ["runners"]:
        rows, lost = by_runner()
        page.write_text(with_section(page.read_text("utf-8"), section(rows)), "utf-8")
        return 1 if lost else 0
    if sys.argv[1:] == ["examples"]:
        page.write_text(with_section(page.read_text("utf-8"), examples.section(examples.by_example())), "utf-8")
        return 0
    report = Report("What a change of the release costs", "python -m benchmarks.releases")
    with bench() as at:
        config = at.project / "deploy.toml"
        config.write_text(config.read_text("utf-8").replace("# watch_seconds = 10", "watch_seconds = 0"), "utf-8")
        for words in ("provision", "deploy"):
            at.fab(words)
        at.change_one_file()
        at.fab("deploy")
        measures: tuple[Callable[[Bench, Report], None], ...] = (
            latency,
            switching,
            one_line_in_a_large_tree,
            throughput,
        )
        for measure in measures:
            measure(at, report)
        release = at.machine.release
    rows, lost = by_runner()
    report.exceeded += [f"requests were lost: {row}" for row in lost]
    status = report.write(page, release)
    page.write_text(with_section(page.read_text("utf-8"), section(rows)), "utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
