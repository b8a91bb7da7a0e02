"""What a deploy reads on the operator's machine, and the bytes that are uploaded."""

from collections.abc import Callable, Iterator
from pathlib import Path

from ..agent.dataclass import dataclass
from ..agent.events import Event
from ..config.reader import App, Config
from ..errors import SourceError
from ..stack.frameworks import PLAIN, framework_of
from ..stack.frameworks.base import Framework, Reading
from ..stack.runners import runner
from . import requirements
from .callables import served_by
from .tree import SourceTree, collect, stream

AHEAD_BYTES = 256 << 10  # smaller uploads are sent without waiting for a request


@dataclass(frozen=True)
class Local:
    """app: with what its source completes. requirements: text of each requirements file by its path.

    notes: of the framework, about the app.
    """

    app: App
    source: SourceTree
    requirements: dict[str, str]
    framework: Framework = PLAIN
    notes: tuple[str, ...] = ()

    def size_bytes(self, indices: list[int]) -> int:
        return sum(self.source.entries[index].size for index in indices)

    def blobs(self, indices: list[int], show: Callable[[Event], None]) -> Iterator[bytes]:
        """The bytes of files of the source, by their indices, as they are to be sent."""
        sent, total = 0, self.size_bytes(indices) or 1
        for blob in stream(self.source, indices):
            yield blob
            sent += len(blob)
            show({"event": "progress", "percent": min(100, 100 * sent / total), "what": "upload"})


def require_wsgi(directory: Path, app: App) -> None:
    """Refuse, before anything is uploaded, an app that the runner cannot serve as the kit has it.

    An app with settings of its own for the runner may have another kind of worker.
    """
    own = runner().own_file
    served = None if own and (directory / own).exists() else served_by(directory, app.wsgi)
    if served and not served.is_wsgi:
        what = f"{app.wsgi} is a {served.framework} app, which speaks ASGI; Ashore serves WSGI apps so far"
        raise SourceError(what, served.path, "nothing was changed", "set wsgi to a WSGI app, such as one of Flask's")


def gather(config: Config, app: App) -> Local:
    source = collect(config.directory, app.include, app.include_anyway)
    reading = Reading(config.directory, frozenset(entry.path for entry in source.entries))
    framework = framework_of(app, reading)
    app = framework.completed(app, reading)
    read: dict[str, str] = {}
    waiting = [app.requirements]
    while waiting:
        path = waiting.pop()
        read[path] = requirements.text_of(config.directory, path)
        waiting += [name for name in requirements.included(path, read[path]) if name not in read]
    requirements.check(source.entries, read, runner().package)
    require_wsgi(config.directory, app)
    return Local(app, source, read, framework, tuple(framework.notes(app, reading)))
