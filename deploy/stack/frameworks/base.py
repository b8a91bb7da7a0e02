"""The interface of a framework, and the source as it is read."""

from functools import cached_property
from pathlib import Path
from typing import Any

from ...agent.dataclass import dataclass
from ...config.reader import App
from ..finding import Finding

MOST_FILES, MOST_BYTES = 2000, 1 << 20


@dataclass
class Reading:
    """The files that are uploaded, to be read. names: their paths in the directory."""

    directory: Path
    names: frozenset[str]

    def text(self, name: str) -> str:
        """A file's text; "" for one that is not uploaded, or cannot be read."""
        if name not in self.names:
            return ""
        try:
            path = self.directory / name
            return path.read_text("utf-8", errors="replace") if path.stat().st_size <= MOST_BYTES else ""
        except OSError:
            return ""

    @cached_property
    def code(self) -> list[str]:
        """The paths of Python files, sorted; of a very large source not all."""
        return sorted(name for name in self.names if name.endswith(".py"))[:MOST_FILES]

    def below(self, directory: str) -> list[str]:
        return [name for name in self.names if name.startswith(f"{directory}/")]

    def root_of(self, module: str) -> str:
        """The directory that has the top of a dotted module name, "" for the source itself."""
        top = module.partition(".")[0]
        for root in ("", "src/"):
            if f"{root}{top}.py" in self.names or self.below(f"{root}{top}"):
                return root.rstrip("/")
        return ""


class Framework:
    """What a framework's apps need besides their code. This one, of which nothing is known, needs nothing.

    title: as people write it. migrates: a word of the command that applies its database migrations.
    """

    title = ""
    migrates = ""

    def recognises(self, app: App, reading: Reading) -> bool:
        return True

    def completed(self, app: App, reading: Reading) -> App:
        """The app with the settings that deploy.toml leaves open, and the source decides."""
        return app

    def suggested(self, app: App, reading: Reading) -> dict[str, Any]:
        """Settings of [app] for a first deploy.toml, besides those that `completed` finds."""
        return {}

    def findings(self, app: App, reading: Reading) -> list[Finding]:
        """What a person should know before the app is uploaded. app: completed."""
        return []

    def advice(self, app: App, reading: Reading) -> tuple[str, ...]:
        """Its own command that judges the settings, and a regular expression for the lines that are shown."""
        return ()

    def products(self, app: App, reading: Reading) -> tuple[str, ...]:
        """The directories that the build command makes, if it is the framework's own: see `Built`."""
        return ()

    def migrations(self, added: list[str]) -> list[str]:
        """Of the paths of files, those of database migrations, as the framework names them."""
        return []
