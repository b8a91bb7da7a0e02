"""What a deploy reads on the operator's machine, and the bytes that are uploaded."""

from collections.abc import Callable, Iterator
from pathlib import Path

from ..agent.dataclass import dataclass
from ..agent.events import Event
from ..config.reader import FILE, App, Config
from ..errors import SourceError
from ..stack.finding import Finding
from ..stack.frameworks import PLAIN, framework_of
from ..stack.frameworks.base import Framework, Reading
from ..stack.runners import runner_of
from . import requirements
from .callables import served_by
from .checks import served, whole
from .dependencies import PYTHON_FILES, Dependencies, chosen, dependencies, needed
from .pythons import wanted
from .tree import SourceTree, collect, stream

AHEAD_BYTES = 256 << 10  # smaller uploads are sent without waiting for a request


@dataclass(frozen=True)
class Local:
    """app: with what its source completes. requirements: text of each file that says what is installed by its path.
    found: what they say.

    reading: the source as it is read. findings: what that tells, see `checks`. roots: directories of it that Python
    searches.
    """

    app: App
    source: SourceTree
    reading: Reading
    requirements: dict[str, str]
    found: Dependencies
    framework: Framework = PLAIN
    findings: tuple[Finding, ...] = ()
    roots: tuple[str, ...] = ("",)

    def size_bytes(self, indices: list[int]) -> int:
        return sum(self.source.entries[index].size for index in indices)

    def blobs(self, indices: list[int], show: Callable[[Event], None]) -> Iterator[bytes]:
        """The bytes of files of the source, by their indices, as they are to be sent."""
        sent, total = 0, self.size_bytes(indices) or 1
        for blob in stream(self.source, indices):
            yield blob
            sent += len(blob)
            show({"event": "progress", "percent": min(100, 100 * sent / total), "what": "upload"})


def require_interface(directory: Path, app: App) -> None:
    """Refuse, before anything is uploaded, an app that its runner would call in a way that it does not know.

    An app with settings of its own for the runner may have another kind of worker.
    """
    if not app.served:
        return  # it is a server of its own
    own = runner_of(app).own_file
    found = None if own and (directory / own).exists() else served_by(directory, app.served)
    if not found or found.is_wsgi != app.is_asgi:
        return
    speaks, key = ("WSGI", "wsgi") if found.is_wsgi else ("ASGI", "asgi")
    what = f"{app.served} is a {found.framework} app: it speaks {speaks}"
    if app.is_asgi and not app.asgi:  # by its runner
        hint = f"remove `{'runner' if app.runner else 'worker_class'}` from {FILE}: it runs ASGI apps only"
    else:
        hint = f'in {FILE}, write `{key} = "{app.served}"` instead of `{"wsgi" if app.wsgi else "asgi"} = …`'
    raise SourceError(what, found.path, "nothing was changed", hint)


def gather(config: Config, app: App) -> Local:
    source = collect(config.directory, app.include, app.include_anyway)
    names = {entry.path for entry in source.entries}
    reading = Reading(config.directory, frozenset(names))
    framework = framework_of(app, reading)
    app = framework.completed(app, reading)
    read = read_files(config.directory, app, names)
    found = dependencies(read, names, app.extras, app.install_project)
    wanted(app.python, read)  # refuses what no Python is
    requirements.check(source.entries, found.read, found.texts, runner_of(app).package_for(app))
    require_interface(config.directory, app)
    roots, packages = whole.roots_of(app, found.recipe), "\n".join(found.texts.values())
    if app.served and (missing := served.missing_callable(app, reading, roots, packages)):
        raise SourceError(missing[0].what, missing[0].where, "nothing was changed", missing[0].fix)
    looked = whole.of_source(app, reading, framework)
    return Local(app, source, reading, read, found, framework, tuple(looked), roots)


def read_files(directory: Path, app: App, names: set[str]) -> dict[str, str]:
    """The texts that say which packages and which Python are wanted. names: of the files that are uploaded."""

    def text_of(path: str) -> str:
        return requirements.text_of(directory, path)

    others = {path: text_of(path) for path in PYTHON_FILES if path in names}
    return {**needed(chosen(app.requirements, names, others), names, text_of), **others}
