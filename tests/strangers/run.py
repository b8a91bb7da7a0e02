"""Deploys web apps that nobody here wrote to a throwaway server, and says what became of each: `make strangers`.

With names of apps and of Debian releases as arguments, only those. Else all of apps.toml, and the table in README.md is
written anew.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import tomllib

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
sys.path.insert(0, str(REPO))

from deploy import sandbox  # noqa: E402
from deploy.config.paths import caches  # noqa: E402

MACHINE = "strangers"
RELEASES = {"bookworm": "Debian 12", "trixie": "Debian 13"}
MARKED = re.compile(r"(<!-- made by `make strangers` -->\n).*", re.S)
HEAD = "| app | is | lines in deploy.toml | Debian 12 | Debian 13 |\n|---|---|---|---|---|\n"


def archive(of: str) -> Path:
    """The source distribution of a project on PyPI, fetched once."""
    name, _, version = of.partition("==")
    kept = caches() / "strangers"
    kept.mkdir(parents=True, exist_ok=True)
    pattern = re.sub(r"[-_.]+", "[-_.]", name)
    known = [
        path for path in kept.iterdir() if re.fullmatch(f"{pattern}-{re.escape(version)}\\.tar\\.gz", path.name, re.I)
    ]
    if not known:
        argv = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(kept), of]
        subprocess.run(argv, check=True)
        return archive(of)
    return known[0]


def unpacked(of: str, directory: str, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    with tarfile.open(archive(of)) as tar:
        tar.extractall(target, filter="data")
    (top,) = target.iterdir()
    return top / directory


def config(name: str, lines: str, machine: sandbox.Machine) -> str:
    stage = (
        f'[stages.production]\nhosts = ["{machine.user}@{machine.address}"]\ndomain = "{name}.example"\ntls = "off"\n'
    )
    return f'[app]\nname = "{name}"\n{lines.strip()}\n\n{stage}'


def fab(directory: Path, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [str(Path(sys.executable).parent / "fab"), "-r", str(REPO), *words]
    environment = {**os.environ, "HOME": str(home)}
    environment.pop("VIRTUAL_ENV", None)
    return subprocess.run(
        argv, cwd=directory, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def page(machine: sandbox.Machine, name: str, path: str) -> tuple[int, str]:
    connection = HTTPConnection(machine.address, timeout=30)
    connection.request("GET", path, headers={"Host": f"{name}.example"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace")


def deployed(name: str, app: dict[str, Any], machine: sandbox.Machine, work: Path) -> str:
    """What became of it: "" if it works."""
    directory = unpacked(app["of"], app.get("directory", ""), work / name)
    (directory / "deploy.toml").write_text(config(name, app["lines"], machine))
    for verb in ("provision", "deploy"):
        ran = fab(directory, work / "home", verb)
        (work / f"{name}-{machine.release}-{verb}.log").write_text(ran.stdout + ran.stderr)
        if ran.returncode not in (0, 3):
            return f"{verb}: {next(iter(ran.stderr.splitlines()), 'failed')}"
    status, text = page(machine, name, app["path"])
    return "" if status == 200 and app["says"].lower() in text.lower() else f"GET {app['path']} answers {status}"


@contextmanager
def server(release: str, work: Path) -> Iterator[sandbox.Machine]:
    made = sandbox.reset(f"{MACHINE}-{release[:8]}", say=lambda text: None, release=release)
    key = (made.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
    (work / "home/.ssh").mkdir(parents=True, exist_ok=True, mode=0o700)
    (work / "home/.ssh/config").write_text(f"Host *\n  IdentityFile {made.key_file}\n")
    (work / "home/.ssh/known_hosts").write_text(f"{made.address} {key[0]} {key[1]}\n")
    try:
        yield made
    finally:
        sandbox.destroy(made.name)


def main() -> None:
    apps = tomllib.loads((HERE / "apps.toml").read_text())
    names = set(sys.argv[1:]) - set(RELEASES)
    chosen = {name: app for name, app in apps.items() if not names or name in names}
    releases = [release for release in RELEASES if release in sys.argv] or list(RELEASES)
    work = Path(os.environ.get("STRANGERS", "/tmp/ashore-strangers"))
    results: dict[str, dict[str, str]] = {name: {} for name in chosen}
    for release in releases:
        with server(release, work) as machine:
            for name, app in chosen.items():
                began = time.monotonic()
                results[name][release] = deployed(name, app, machine, work)
                said = results[name][release] or "works"
                print(f"{release:9} {name:12} {time.monotonic() - began:5.0f} s  {said}", flush=True)
    if len(chosen) == len(apps) and len(releases) == len(RELEASES):
        table = HEAD + "".join(row(name, app, results[name]) for name, app in apps.items())
        readme = HERE / "README.md"
        readme.write_text(MARKED.sub(lambda found: found[1] + "\n" + table, readme.read_text()))
    sys.exit(any(said for result in results.values() for said in result.values()))


def row(name: str, app: dict[str, Any], result: dict[str, str]) -> str:
    lines = " ".join(f"`{line}`" for line in app["lines"].strip().splitlines()).replace("|", "\\|")
    cells = [f"{name} ({app['of']})", app["about"], lines, *(said or "works" for said in result.values())]
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    main()
