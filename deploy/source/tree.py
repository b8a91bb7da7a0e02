"""Source tree → release: which files are uploaded, their manifest, and their bytes as one stream."""

import hashlib
import os
import re
import stat
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..agent.dataclass import dataclass
from ..agent.resources.release.uploads import escaping
from ..agent.wire import Entry
from ..config.paths import OVERRIDES
from ..errors import SourceError
from .hashes import Hashes

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
KIT_S = ("deploy.toml", "fabfile.py", OVERRIDES)  # what the kit needs of a project


@dataclass(frozen=True)
class SourceTree:
    """The files of a release. `commit` is git's, with +dirty if files differ from it; "" without git."""

    directory: Path
    entries: tuple[Entry, ...]
    commit: str = ""
    notes: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(entry.size for entry in self.entries)


def collect(directory: Path, include: tuple[str, ...], anyway: tuple[str, ...] = ()) -> SourceTree:
    """The files that git tracks, as they are in the work tree, below `include`; without git, all but rubbish.

    A file that looks like a secret or a database, and is not in `anyway`, is not uploaded: SourceError if git tracks it
    (so somebody wanted to deploy it), otherwise a note. Paths of `include` that git does not track at all, such as the
    output of a build, are uploaded as they are.
    """
    include = () if "." in include else include
    for path in include:
        if not os.path.exists(directory / path):  # Path.exists raises where a name is too long
            raise SourceError(
                f"app.include names {path}, which does not exist", where=str(directory), hint="fix deploy.toml"
            )
    tracked = git_files(directory)
    names = list(walk(directory)) if tracked is None else sorted(tracked)
    chosen = [name for name in names if not include or any(within(name, top) for top in include)]
    named = [] if tracked is None else [top for top in include if not any(within(name, top) for name in names)]
    if named:
        chosen = sorted({*chosen, *(name for top in named for name in below(directory, top))})
    hashes = Hashes(directory)
    looked_at = [
        entry(directory, name, (tracked or {}).get(name, ""), hashes)
        for name in chosen
        if os.path.lexists(os.path.join(directory, name))
    ]
    hashes.save()
    odd = {found.path: why for found, why in looked_at if why and found.path not in anyway}
    if tracked is not None and not odd.keys().isdisjoint(tracked):
        raise SourceError(
            "git tracks files that should not be on a server:",
            where=str(directory),
            state="nothing was uploaded",
            detail="\n".join(f"{name}: {why}" for name, why in odd.items() if name in tracked),
            hint="remove them with `git rm --cached`, and change leaked secrets, as git's history still has them.\n"
            "Set values that the app needs with `fab env.set`; list files to upload anyway in app.include_anyway",
        )
    notes = [f"left out: {', '.join(f'{name} ({why})' for name, why in odd.items())}"] if odd else []
    entries = tuple(found for found, _ in looked_at if found.path not in odd)
    if not entries:
        raise SourceError(
            "there are no files to deploy" + (": git tracks none of them" if tracked is not None else ""),
            where=str(directory),
            hint="`git add` the app's files (files that git does not track are not deployed)"
            if tracked is not None
            else "put the app's files here, or set app.include",
        )
    if wrong := escaping(entries):
        raise SourceError(
            f"the source has a path that leads outside it: {wrong}",
            where=str(directory),
            state="nothing was uploaded",
            hint="remove the link, or point it inside the source with a relative target",
        )
    if tracked is None:
        return SourceTree(directory, entries, "", tuple(notes))
    if named:
        notes.append(f"deployed although git does not track it, because app.include names it: {', '.join(named)}")
    notes += left_here(directory, include, named)
    return SourceTree(directory, entries, commit(directory, include), tuple(notes))


def left_here(directory: Path, include: tuple[str, ...], named: list[str]) -> Iterator[str]:
    """Notes about files that are in the work tree but not in the release. named: paths that are always deployed.

    The kit's own files are none of the app's. Ignored files are reported only below paths of `app.include`, because
    somebody may want to deploy them.
    """

    def others(*which: str) -> list[str]:
        listed = git(directory, "ls-files", "--others", *which, "--exclude-standard", "-z", "--", *include)
        return [name for name in listed.split("\0")[:-1] if not any(within(name, top) for top in (*named, *KIT_S))]

    ignored = [name for name in others("--ignored", "--directory") if not is_rubbish(name)] if include else []
    for names, why in ((others(), "git does not track"), (ignored, "git ignores")):
        if names:
            shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            yield f"not deployed, because {why} {'it' if len(names) == 1 else 'them'}: {shown}"


def is_rubbish(name: str) -> bool:
    """Whether a file or directory, or one above it, is a leftover of tools."""
    return not RUBBISH.isdisjoint(name.split("/")) or name.endswith(RUBBISH_ENDINGS)


def within(name: str, top: str) -> bool:
    return name == top or name.startswith(f"{top}/")


def below(directory: Path, top: str) -> list[str]:
    """Names of the files at a path or below it, without rubbish; the path itself is none, whatever its name."""
    path = directory / top
    return list(walk(directory, top)) if path.is_dir() and not path.is_symlink() else [top]


def git(directory: Path, *words: str, accept: tuple[int, ...] = (0,)) -> str:
    ran = subprocess.run(["git", *words], cwd=directory, capture_output=True)
    if ran.returncode not in accept:
        raise SourceError(
            f"`git {' '.join(words)}` exited with {ran.returncode}",
            where=str(directory),
            detail=ran.stderr.decode(errors="replace").strip(),
            hint="see git's output above; `git status` must work here",
        )
    return ran.stdout.decode("utf-8", errors="surrogateescape")


def git_files(directory: Path) -> dict[str, str] | None:
    """Map tracked name to git's mode (100644, 100755, 120000); None where there is no repository.

    SourceError if it cannot be read: without git, ignored files would be uploaded.
    """
    argv = ["git", "rev-parse", "--is-inside-work-tree"]
    try:
        inside = subprocess.run(argv, cwd=directory, capture_output=True, env={**os.environ, "LC_ALL": "C"})
    except FileNotFoundError:
        if not any((parent / ".git").exists() for parent in (directory, *directory.parents)):
            return None
        what = "this is a git repository, but git is not installed"
        raise SourceError(what, str(directory), "nothing was uploaded", "install git") from None
    if inside.returncode:
        detail = inside.stderr.decode(errors="replace").strip()
        if "not a git repository" in detail:
            return None
        hint = "do what git suggests above, then deploy again"
        raise SourceError("git cannot read this repository", str(directory), "nothing was uploaded", hint, detail)
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


def log_since(source: SourceTree, commit: str) -> list[str]:
    """One line for each commit since a release's, the newest first; none where git does not know that commit."""
    start = commit.removesuffix("+dirty")
    if not start or not source.commit:
        return []
    log = git(source.directory, "log", "--format=%h %s", f"{start}..HEAD", accept=(0, 128))  # 128: it is not known here
    back = git(source.directory, "log", "--format=%h %s (reverted)", f"HEAD..{start}", accept=(0, 128))
    dirty = ["uncommitted changes"] if source.commit.endswith("+dirty") else []
    return log.splitlines() + back.splitlines() + dirty


def walk(directory: Path, below: str = "") -> Iterator[str]:
    """Names of files and links, sorted, without rubbish and without virtualenvs of any name."""
    for found in sorted(os.scandir(directory / below), key=lambda item: item.name):
        name = f"{below}/{found.name}" if below else found.name
        if is_rubbish(found.name):
            continue
        if found.is_dir(follow_symlinks=False):
            if not os.path.exists(os.path.join(found.path, "pyvenv.cfg")):
                yield from walk(directory, name)
        elif found.is_symlink() or found.is_file():
            yield name


def entry(directory: Path, name: str, mode: str, hashes: Hashes) -> tuple[Entry, str]:
    """The manifest's line for one file, and why it should not be uploaded, "" for nearly all.

    git's mode takes precedence: Windows has no executable bit.
    """
    path = os.path.join(directory, name)  # in a tree of 20,000 files, pathlib takes longer than the disk
    try:
        info = os.lstat(path)
        if stat.S_ISLNK(info.st_mode):
            return Entry(name, "l", 0, os.readlink(path).replace("\\", "/")), ""
        if mode == "120000":  # a link, checked out as a file where links are not to be had
            return Entry(name, "l", 0, Path(path).read_text("utf-8")), ""
        if not stat.S_ISREG(info.st_mode):
            raise SourceError(
                f"{name} is not a plain file", where=str(directory), hint="do not include it in the deployed files"
            )
        found = hashes.get(name, info)
        if found is None:
            found = read(path, name)
            hashes.put(name, info, *found)
    except OSError as error:
        hint = "make it readable for your user, or exclude it (app.include)"
        raise SourceError(f"{name} cannot be read: {error.strerror}", where=str(directory), hint=hint) from error
    digest, why = found
    executable = mode == "100755" if mode else bool(info.st_mode & 0o100) and os.name != "nt"
    return Entry(name, "x" if executable else "f", info.st_size, digest), why


def read(path: str, name: str) -> tuple[str, str]:
    """A file's hash, and why it should not be uploaded."""
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
        digest = hashlib.sha256(head)
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest(), suspicion(name, head)


def suspicion(name: str, head: bytes) -> str:
    """Why a file should not be on a server, by its name and first bytes; "" if it is fine."""
    if SECRETS.fullmatch(PurePosixPath(name).name):
        return "may hold secrets"
    if b"-----BEGIN" in head and PRIVATE_KEY.search(head):
        return "a private key"
    return "a database" if DATABASE.match(head) else ""


def stream(source: SourceTree, indices: list[int]) -> Iterator[bytes]:
    """The bytes of some of the source's files, one after the other, as one zlib stream in blocks."""
    packer = zlib.compressobj(6)
    for index in indices:
        name = source.entries[index].path
        try:
            with open(source.directory / name, "rb") as file:
                while block := file.read(BLOCK):
                    if packed := packer.compress(block):
                        yield packed
        except OSError as error:
            raise SourceError(
                f"{name} can no longer be read: {error.strerror}",
                where=str(source.directory),
                state="the server undoes what it has started; the previous release serves",
                hint="do not change the source during the upload, and deploy again",
            ) from None
    yield packer.flush()
