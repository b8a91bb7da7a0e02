"""The files of a release in dist/, for a person to publish: `make release`. Publishes nothing."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class State:
    """What a release would be made of."""

    version: str
    commit: str
    changed: tuple[str, ...]  # files that are not as in the commit, or that git does not know
    tagged: str  # the commit that has this version's tag; "" for none
    section: str  # of this version in CHANGELOG.md


def git(root: Path, *words: str) -> str:
    """What git says; "" where it fails, as for a tag that does not exist."""
    ran = subprocess.run(["git", *words], cwd=root, capture_output=True, encoding="utf-8")
    return ran.stdout.rstrip("\n")


def look(root: Path) -> State:
    found = re.search(r'^VERSION = "([^"]+)"', (root / "deploy" / "version.py").read_text("utf-8"), re.M)
    assert found, "deploy/version.py names no version"
    version = found[1]
    return State(
        version,
        git(root, "rev-parse", "HEAD"),
        tuple(line[3:] for line in git(root, "status", "--porcelain").splitlines()),
        git(root, "rev-parse", "--verify", "--quiet", f"v{version}^{{commit}}"),
        section((root / "CHANGELOG.md").read_text("utf-8"), version),
    )


def section(changelog: str, version: str) -> str:
    """A version's part of the changelog, with its heading; "" if there is none, or nothing below the heading."""
    for part in re.split(r"^(?=## )", changelog, flags=re.M):
        heading, _, body = part.partition("\n")
        if re.match(rf"## \[?{re.escape(version)}(?![\w.+-])", heading) and body.strip():
            return part.strip() + "\n"
    return ""


def refusal(state: State) -> str:
    """Why no release can be made, and what to do about it; "" if it can."""
    if not state.commit:
        return "there is no commit: make a release in a clone of the repository"
    if state.changed:
        shown = ", ".join(state.changed[:5]) + (", …" if len(state.changed) > 5 else "")
        return f"there are files that are not as in the commit: {shown}\ncommit them, or move them away"
    if not state.section:
        return f"CHANGELOG.md has no section of {state.version}\nwrite it: ## {state.version}, DATE"
    if state.tagged not in ("", state.commit):
        where = f"the tag v{state.version} is of another commit, {state.tagged[:12]}"
        return f"{where}\na version is released once: raise VERSION in deploy/version.py"
    return ""


def build(root: Path, dist: Path, epoch: str) -> None:
    """The wheel and the sdist, dated like their commit, so that anybody can build the same bytes."""
    words = [sys.executable, "-m", "hatchling", "build", "-d", str(dist)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch}
    subprocess.run(words, cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL)


def parts(root: Path, version: str, epoch: str) -> str:
    """The packages of requirements.lock as CycloneDX: the SBOM of what an operator installs."""
    words = ["-W", "ignore", "-m", "cyclonedx_py", "requirements", "--pyproject", "pyproject.toml"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch}
    listed = subprocess.run(
        [sys.executable, *words, "--output-reproducible", "requirements.lock"],
        cwd=root,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
    )
    found = json.loads(listed.stdout)
    found["metadata"]["component"]["version"] = version  # which pyproject.toml leaves to deploy/version.py
    return json.dumps(found, indent=2, sort_keys=True) + "\n"


def sums(directory: Path) -> str:
    """The files' checksums, for `sha256sum -c`."""
    files = sorted(directory.iterdir())
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)


def make(root: Path, state: State) -> Path:
    """The directory with the files; what was in it before is removed."""
    dist, epoch = root / "dist", git(root, "log", "-1", "--format=%ct")
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir()
    build(root, dist, epoch)
    shutil.copyfile(root / "requirements.lock", dist / f"requirements-{state.version}.lock")
    (dist / f"ashore-{state.version}.cdx.json").write_text(parts(root, state.version, epoch), "utf-8", newline="\n")
    (dist / f"CHANGELOG-{state.version}.md").write_text(state.section, "utf-8", newline="\n")
    (dist / "SHA256SUMS").write_text(sums(dist), "utf-8", newline="\n")
    return dist


def main() -> None:
    state = look(ROOT)
    if why := refusal(state):
        sys.exit(f"error: {why}")
    dist = make(ROOT, state)
    print(f"Ashore {state.version}, commit {state.commit[:12]}; nothing is published:")
    for path in sorted(dist.iterdir()):
        print(f"  {path.relative_to(ROOT).as_posix():<40} {path.stat().st_size / 1000:8.1f} kB")
    if "unreleased" in state.section.partition("\n")[0]:
        print("note: CHANGELOG.md still calls this version unreleased")
    if not state.tagged:
        print(f"to mark the commit: git tag -a v{state.version} -m 'Ashore {state.version}'")


if __name__ == "__main__":
    main()
