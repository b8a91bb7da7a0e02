"""Source tree → release: which files travel, their manifest, and their bytes as one stream."""

import hashlib
import os
import re
import subprocess
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .agent.resources.uploads import escaping
from .agent.wire import Entry
from .errors import SourceError

RUBBISH = {
    ".git", ".hg", ".svn", ".venv", "venv", "env", "node_modules", "__pycache__", ".pytest_cache", ".mypy_cache",
    ".ruff_cache", ".tox", ".nox", ".idea", ".vscode", ".DS_Store", "instance", "htmlcov", ".coverage",
}  # fmt: skip
RUBBISH_ENDINGS = (".pyc", ".pyo", ".sqlite3", ".sqlite3-wal", ".sqlite3-shm", ".swp", "~")
SECRETS = re.compile(
    r"\.env(\.(?!example|sample|template|dist).*)?|\.netrc|\.pgpass|\.pypirc|id_(rsa|dsa|ecdsa|ed25519)"
    r"|.*\.(p12|pfx|jks|kdbx|keystore)"
)
PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]")
DATABASE = re.compile(rb"SQLite format 3\x00|\x00\x01\x00\x00Standard (Jet|ACE) DB")
HEAD_BYTES = 64 << 10
BLOCK = 256 << 10


@dataclass(frozen=True)
class Source:
    """What a release is made of. `commit` is git's, with +dirty where files differ from it; "" without git."""

    directory: Path
    entries: tuple[Entry, ...]
    commit: str = ""
    notes: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(entry.size for entry in self.entries)


def collect(directory: Path, include: tuple[str, ...], anyway: tuple[str, ...] = ()) -> Source:
    """The files that git tracks, as they are in the work tree, below `include`; without git, all but rubbish.

    A file that looks like a secret or a database, and is not in `anyway`, does not travel: SourceError where git tracks
    it (somebody meant it to), a note where not.
    """
    for path in include:
        if not (directory / path).exists():
            raise SourceError(
                f"app.include names {path}, which is not there", where=str(directory), hint="fix deploy.toml"
            )
    tracked = git_files(directory)
    names = list(walk(directory)) if tracked is None else sorted(tracked)
    chosen = [
        name for name in names if not include or any(name == top or name.startswith(f"{top}/") for top in include)
    ]
    looked_at = [
        entry(directory, name, (tracked or {}).get(name, "")) for name in chosen if os.path.lexists(directory / name)
    ]
    odd = {found.path: why for found, why in looked_at if why and found.path not in anyway}
    if odd and tracked is not None:
        raise SourceError(
            "what git tracks here should be on no server:",
            where=str(directory),
            state="nothing was uploaded",
            detail="\n".join(f"{name}: {why}" for name, why in odd.items()),
            hint="`git rm --cached` it, and change what it gave away, since git's history still has it.\n"
            "Values that the app needs go to the server by `fab env.set`; what has to travel, into app.include_anyway",
        )
    notes = [f"left out: {', '.join(f'{name} ({why})' for name, why in odd.items())}"] if odd else []
    entries = tuple(found for found, _ in looked_at if found.path not in odd)
    if not entries:
        raise SourceError(
            "there are no files to deploy" + (": git tracks none of them" if tracked is not None else ""),
            where=str(directory),
            hint="`git add` the app's files (what git does not track is not deployed)" if tracked is not None else "",
        )
    if wrong := escaping(entries):
        raise SourceError(
            f"the source has a name that would leave the release: {wrong}",
            where=str(directory),
            state="nothing was uploaded",
            hint="remove the link, or point it inside the source with a relative target",
        )
    if tracked is None:
        return Source(directory, entries, "", tuple(notes))
    untracked = git(directory, "ls-files", "--others", "--exclude-standard", "-z", "--", *include).split("\0")[:-1]
    if untracked:
        shown = ", ".join(untracked[:3]) + (", …" if len(untracked) > 3 else "")
        notes.append(f"not deployed, as git does not track {'it' if len(untracked) == 1 else 'them'}: {shown}")
    return Source(directory, entries, commit(directory, include), tuple(notes))


def git(directory: Path, *words: str, accept: tuple[int, ...] = (0,)) -> str:
    ran = subprocess.run(["git", *words], cwd=directory, capture_output=True)
    if ran.returncode not in accept:
        raise SourceError(
            f"`git {' '.join(words)}` exited with {ran.returncode}",
            where=str(directory),
            detail=ran.stderr.decode(errors="replace").strip(),
        )
    return ran.stdout.decode("utf-8", errors="surrogateescape")


def git_files(directory: Path) -> dict[str, str] | None:
    """Map tracked name to git's mode (100644, 100755, 120000); None where there is no git or no repository."""
    try:
        inside = subprocess.run(["git", "rev-parse", "--is-inside-work-tree"], cwd=directory, capture_output=True)
    except FileNotFoundError:
        return None
    if inside.returncode:
        return None
    submodules = ["--recurse-submodules"] if (directory / ".gitmodules").exists() else []
    found = {}
    for row in git(directory, "ls-files", "-s", "-z", *submodules).split("\0")[:-1]:
        head, _, name = row.partition("\t")
        if not head.startswith("160000"):  # a submodule that is not checked out
            found[name] = head.split()[0]
    return found


def commit(directory: Path, include: tuple[str, ...]) -> str:
    head = git(directory, "rev-parse", "--short", "HEAD", accept=(0, 128)).strip()  # 128: no commit yet
    if not head or head == "HEAD":
        return ""
    dirty = git(directory, "status", "--porcelain", "--untracked-files=no", "--", *include)
    return f"{head}+dirty" if dirty else head


def log_since(source: Source, commit: str) -> list[str]:
    """One line for each commit since a release's, the newest first; none where git does not know that commit."""
    start = commit.removesuffix("+dirty")
    if not start or not source.commit:
        return []
    log = git(source.directory, "log", "--format=%h %s", f"{start}..HEAD", accept=(0, 128))  # 128: it is not known here
    back = git(source.directory, "log", "--format=%h %s (taken back)", f"HEAD..{start}", accept=(0, 128))
    dirty = ["and changes that are not committed"] if source.commit.endswith("+dirty") else []
    return log.splitlines() + back.splitlines() + dirty


def walk(directory: Path, below: str = "") -> Iterator[str]:
    """Names of files and links, sorted, without rubbish and without virtualenvs of any name."""
    for found in sorted(os.scandir(directory / below), key=lambda item: item.name):
        name = f"{below}/{found.name}" if below else found.name
        if found.name in RUBBISH or found.name.endswith(RUBBISH_ENDINGS):
            continue
        if found.is_dir(follow_symlinks=False):
            if not os.path.exists(os.path.join(found.path, "pyvenv.cfg")):
                yield from walk(directory, name)
        elif found.is_symlink() or found.is_file():
            yield name


def entry(directory: Path, name: str, mode: str) -> tuple[Entry, str]:
    """The manifest's line for one file, and why it should not travel, "" for nearly all.

    git's mode counts where there is one: Windows has no executable bit.
    """
    path = directory / name
    try:
        if path.is_symlink():
            return Entry(name, "l", 0, os.readlink(path).replace("\\", "/")), ""
        if mode == "120000":  # a link, checked out as a file where links are not to be had
            return Entry(name, "l", 0, path.read_text("utf-8")), ""
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            digest = hashlib.sha256(head)
            while block := file.read(BLOCK):
                digest.update(block)
            info = os.fstat(file.fileno())
    except OSError as error:
        raise SourceError(f"{name} cannot be read: {error.strerror}", where=str(directory)) from error
    executable = mode == "100755" if mode else bool(info.st_mode & 0o100) and os.name != "nt"
    return Entry(name, "x" if executable else "f", info.st_size, digest.hexdigest()), suspicion(name, head)


def suspicion(name: str, head: bytes) -> str:
    """Why a file should be on no server, by its name and first bytes; "" where nothing speaks against it."""
    if SECRETS.fullmatch(PurePosixPath(name).name):
        return "may hold secrets"
    if b"-----BEGIN" in head and PRIVATE_KEY.search(head):
        return "a private key"
    return "a database" if DATABASE.match(head) else ""


def stream(source: Source, indices: list[int]) -> Iterator[bytes]:
    """The bytes of some of the source's files, one after the other, as one zlib stream in blocks."""
    packer = zlib.compressobj(6)
    for index in indices:
        with open(source.directory / source.entries[index].path, "rb") as file:
            while block := file.read(BLOCK):
                if packed := packer.compress(block):
                    yield packed
    yield packer.flush()
