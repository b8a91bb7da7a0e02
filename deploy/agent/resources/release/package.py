"""A Python package that a virtualenv must contain."""

import glob
import os

from ...dataclass import dataclass
from ...system import upstream
from ...wire import Failed, Value


@dataclass(frozen=True)
class Package(Value):
    """What runs an app, as a package of Python's. since: the first version that will do, (25, 1). title: for people.

    usual: the requirements for an app that does not name it, one a line. older: a version, and what those before it
    need and do not name. program: what is started, if that has another name.
    """

    name: str
    title: str
    since: tuple[int, ...]
    usual: str = ""
    older: tuple[tuple[int, ...], str] = ((), "")
    program: str = ""

    @property
    def least(self) -> str:
        return ".".join(map(str, self.since))

    @property
    def executable(self) -> str:
        return self.program or self.name

    def require(self, venv: str, requirements: str) -> None:
        """Failed for a virtualenv that could not run the app. requirements: where its packages are named."""
        if not os.path.exists(f"{venv}/bin/{self.executable}"):
            raise Failed(f"{requirements} does not install {self.name}", f"add a line `{self.name}` to {requirements}")
        for path in glob.glob(f"{venv}/lib/python*/site-packages/{self.name.replace('-', '_')}-*.dist-info"):
            version = os.path.basename(path).removesuffix(".dist-info").partition("-")[2]
            if upstream(version)[: len(self.since)] < self.since:
                raise Failed(
                    f"{requirements} installs {self.title} {version}, but Ashore needs {self.least} or later",
                    f"require {self.name}>={self.least} in {requirements}",
                )
