"""Static files of a release, compressed beforehand: the proxy sends them as they are."""

import os
import shutil
import subprocess
from collections.abc import Iterator

from ...dataclass import dataclass
from ...system import ENVIRONMENT, System
from ...wire import Drift, Resource
from ..files import required_ids

WORTH = {
    "css",
    "js",
    "mjs",
    "json",
    "svg",
    "xml",
    "txt",
    "html",
    "htm",
    "map",
    "wasm",
    "ttf",
    "otf",
    "eot",
    "ico",
    "md",
}
LEAST_BYTES = 1000  # what is smaller fits into one packet anyway
LEAST_GAIN = 0.95
GZIP, BROTLI = ".gz", ".br"


@dataclass(frozen=True)
class Packed(Resource):
    """The static directories of a release with compressed files: `packed/NAME`, and Brotli's in `static.br/NAME`.

    They are hard links to the files of the source, with a .gz beside each that is worth it, by gzip; a .gz or .br that
    the source has is used. Other .br are made if the server has the command `brotli`. links: see `StaticLinks`. before:
    the directory of a release that may have the same files, or "".
    """

    directory: str
    group: str
    links: tuple[tuple[str, str], ...]
    before: str = ""

    @property
    def title(self) -> str:
        return f"static files of {os.path.basename(self.directory)}: compressed"

    def check(self, system: System) -> list[Drift]:
        return [Drift(name, "absent", "present") for name, _ in self.links if not os.path.isdir(self._packed(name))]

    def apply(self, system: System) -> None:
        known = dict(compressed_in(self.before)) if self.before else {}
        for number, (name, path) in enumerate(self.links):
            system.operator.progress(100 * number / len(self.links), path)
            self._pack(system, name, f"{self.directory}/source/{path}", known)

    def _packed(self, name: str) -> str:
        return f"{self.directory}/packed/{name}"

    def _pack(self, system: System, name: str, source: str, known: dict[tuple[int, str], str]) -> None:
        gid = required_ids("root", self.group)[1]
        partial, brotli = f"{self.directory}/packed.partial", f"{self.directory}/static.br/{name}"
        for path in (partial, brotli):
            shutil.rmtree(path, ignore_errors=True)  # left by an interrupted run
            made(path, gid)
        for path in files_below(source, f"{self.directory}/source"):
            system.operator.stop_if_cancelled()
            target, real = f"{partial}/{path}", os.path.realpath(f"{source}/{path}")
            made(os.path.dirname(target), gid)
            if os.path.isdir(real):
                os.symlink(real, target)
                continue
            if not os.path.lexists(target):  # a .gz of the source's own comes with its file
                os.link(real, target)
            if not worth(path, real):
                continue
            for ending, where in ((GZIP, f"{target}{GZIP}"), (BROTLI, f"{brotli}/{path}")):
                self._compress(real, ending, where, known, gid)
        made(f"{self.directory}/packed", gid)
        os.sync()
        shutil.rmtree(self._packed(name), ignore_errors=True)
        os.rename(partial, self._packed(name))

    def _compress(self, real: str, ending: str, where: str, known: dict[tuple[int, str], str], gid: int) -> None:
        """Put the compressed form of a file there, if there is one."""
        made(os.path.dirname(where), gid)
        if os.path.lexists(where):
            return
        own = f"{real}{ending}"
        have = own if os.path.isfile(own) and not os.path.islink(own) else known.get((os.stat(real).st_ino, ending), "")
        if have:
            os.link(have, where)
            return
        data = gzipped(real) if ending == GZIP else brotlied(real)
        if data and len(data) < LEAST_GAIN * os.path.getsize(real):
            with open(os.open(where, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), "wb") as file:
                file.write(data)
                os.fchown(file.fileno(), 0, gid)


def worth(path: str, real: str) -> bool:
    return path.rpartition(".")[2].lower() in WORTH and os.path.getsize(real) >= LEAST_BYTES


def files_below(top: str, source: str) -> Iterator[str]:
    """Paths of files in a directory, and of links in it that lead to something in the source."""
    for entry in sorted(os.scandir(top), key=lambda entry: entry.name) if os.path.isdir(top) else ():
        if entry.is_symlink() and not os.path.realpath(entry.path).startswith(f"{os.path.realpath(source)}/"):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from (f"{entry.name}/{path}" for path in files_below(entry.path, source))
        elif os.path.exists(entry.path):
            yield entry.name


def made(path: str, gid: int) -> None:
    """A directory with all above it, for root and the group."""
    if not os.path.isdir(path):
        made(os.path.dirname(path), gid)
        os.mkdir(path, 0o750)
        os.chown(path, 0, gid)


def compressed_in(release: str) -> Iterator[tuple[tuple[int, str], str]]:
    """(inode of a file, ending) → path of its compressed form, of a release's: an unchanged file has the same inode."""
    for top, _, names in os.walk(f"{release}/packed"):
        below = os.path.relpath(top, f"{release}/packed")
        for name in names:
            path = f"{top}/{name}"
            for ending, found in ((GZIP, f"{path}{GZIP}"), (BROTLI, f"{release}/static.br/{below}/{name}")):
                if os.path.isfile(found):
                    yield (os.stat(path).st_ino, ending), found


def gzipped(path: str) -> bytes:
    import gzip

    with open(path, "rb") as file:
        return gzip.compress(file.read(), 9, mtime=0)


def brotlied(path: str) -> bytes:
    """By the command of Debian's package; nothing without it."""
    if not os.path.exists("/usr/bin/brotli"):
        return b""
    argv = ["/usr/bin/brotli", "--stdout", "--quality=11", path]
    return subprocess.run(argv, capture_output=True, env=ENVIRONMENT).stdout
