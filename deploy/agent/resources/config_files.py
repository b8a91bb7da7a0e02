"""Files that a program reads together: either all are as planned and accepted, or none is changed."""

import os
import re
from contextlib import suppress

from ..dataclass import dataclass
from ..system import System
from ..wire import Drift, Failed, Refused, Resource
from .files import Absent, File, Link, text_of


@dataclass(frozen=True)
class ConfigFiles(Resource):
    """Files and links that a program must accept together; if its test fails, all of them are restored.

    test: the argv of the program's own check, run after the files are in place and before any reload. program: its
    name, if that is not the check's first word.
    """

    name: str
    parts: tuple[File | Link | Absent, ...]
    test: tuple[str, ...]
    program: str = ""

    @property
    def title(self) -> str:
        return self.name

    @property
    def shares(self) -> str:
        return self.program or self.test[0]  # it must not test half-written files of another run

    def check(self, system: System) -> list[Drift]:
        drifts = []
        for part in self.parts:
            drifts += [Drift(f"{part.title}: {d.what}", d.found, d.wanted, d.diff) for d in part.check(system)]
        return drifts

    def apply(self, system: System) -> None:
        changing = [part for part in self.parts if part.check(system)]
        before: list[Before] = []
        try:
            for part in changing:  # back up all of them first: without a backup, nothing may change
                before.append(Before(part.path))
            for part in changing:
                part.apply(system)
            system.run(
                self.test, hint="nothing was reloaded, and the files were restored; fix the template and run again"
            )
        except (Refused, OSError) as error:
            if lost := [text for text in (kept.restore() for kept in before) if text]:
                state = "not everything could be restored:\n" + "\n".join(lost)
                detail = error.detail if isinstance(error, Refused) else ""
                raise Failed(str(error), "repair that, then run the same command again", detail, state) from error
            raise
        for kept in before:
            kept.forget()


@dataclass(frozen=True)
class SiteFiles(ConfigFiles):
    """The files of a site. own: that with the project's own lines, one further down than in `origin` there.

    wrong: a regular expression for what the program says of an error in it, with `what` and `line`; FILE is its path.
    Where it has `word` in place of them, that is the first word of the line.
    """

    own: str = ""
    origin: str = ""
    wrong: str = ""

    def apply(self, system: System) -> None:
        try:
            super().apply(system)
        except Failed as failed:
            found = re.search(self.wrong.replace("FILE", re.escape(self.own)), failed.detail) if self.own else None
            line = self._line_of(found) if found else 0
            if not found or not line:
                raise
            what = f"{self.origin}, line {line - 1}: {found['what'] or found[0]}"
            hint = "fix that line, then run again; the site is as it was"
            raise Failed(what, hint, failed.detail, failed.stands) from failed

    def _line_of(self, found: re.Match[str]) -> int:
        """The number of the line that is wrong; 0 if it is not among the project's own."""
        if found["line"]:
            return int(found["line"])
        own = next((part.text for part in self.parts if part.path == self.own and isinstance(part, File)), "")
        lines = own.splitlines()
        numbers = [number for number, line in enumerate(lines, 1) if line.split()[:1] == [found["word"]]]
        return numbers[0] if numbers else 0


@dataclass(frozen=True)
class Including(Resource):
    """The site of another app includes the files of apps below a path of its domain. line: that does so."""

    path: str
    line: str
    app: str
    domain: str

    @property
    def title(self) -> str:
        return f"{self.domain}: a site of the app {self.app}, with other apps below it"

    def check(self, system: System) -> list[Drift]:
        if self.line not in (text_of(self.path) or ""):
            what = f"the site of {self.app} does not include apps below a path of {self.domain} yet"
            raise Refused(what, f"deploy {self.app} again with this version of Ashore, then this app")
        return []


class Before:
    """A backup of a path under a second name next to it: restoring it is a rename, which needs no space."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.kept = f"{os.path.dirname(path)}/.{os.path.basename(path)}.before"  # hidden: programs read *.conf
        self.forget()  # left by an interrupted run
        self.existed = os.path.lexists(path)
        if self.existed:
            os.link(path, self.kept, follow_symlinks=False)

    def restore(self) -> str:
        """Why it could not be restored, as text; "" after success."""
        try:
            if self.existed:
                os.replace(self.kept, self.path)
            else:
                with suppress(FileNotFoundError):
                    os.unlink(self.path)
            self.forget()  # a rename between two names of one file leaves both
        except OSError as error:
            return f"{self.path}: {error.strerror}"
        return ""

    def forget(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.kept)
