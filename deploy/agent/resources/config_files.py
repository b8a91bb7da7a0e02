"""Files that a program reads together: either all are as planned and accepted, or none is changed."""

import os
from contextlib import suppress

from ..dataclass import dataclass
from ..system import System
from ..wire import Drift, Failed, Refused, Resource
from .files import Absent, File, Link


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
