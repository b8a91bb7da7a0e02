"""A Python package that a virtualenv must contain."""

import glob
import os

from ...dataclass import dataclass
from ...system import upstream
from ...wire import Failed, Value


@dataclass(frozen=True)
class Package(Value):
    """What runs an app, as a package of Python's. since: the first version that will do, (25, 1). title: for people.

    usual: the requirement for an app that names none. older: a version, and what those before it need and do not name.
    """

    name: str
    title: str
    since: tuple[int, ...]
    usual: str = ""
    older: tuple[tuple[int, ...], str] = ((), "")

    @property
    def least(self) -> str:
        return ".".join(map(str, self.since))

    def require(self, venv: str, requirements: str) -> None:
        """Failed for a virtualenv that could not run the app. requirements: where its packages are named."""
        if not os.path.exists(f"{venv}/bin/{self.name}"):
            raise Failed(f"{requirements} does not install {self.name}", f"add a line `{self.name}` to {requirements}")
        for path in glob.glob(f"{venv}/lib/python*/site-packages/{self.name}-*.dist-info"):
            version = os.path.basename(path).removesuffix(".dist-info").partition("-")[2]
            if upstream(version)[: len(self.since)] < self.since:
                raise Failed(
                    f"{requirements} installs {self.title} {version}, but Ashore needs {self.least} or later",
                    f"require {self.name}>={self.least} in {requirements}",
                )
