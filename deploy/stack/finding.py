"""What is found out about an app before it is on a server."""

from typing import Literal

from ..agent.dataclass import dataclass

Level = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """level: "error" if it will not work on a server, "warning" if it may not, "ok" for what was checked and is well.

    fix: the line or command that fixes it. where: a file of the source, with the line: "shop/db.py:12".
    """

    level: Level
    what: str
    fix: str = ""
    where: str = ""

    @property
    def text(self) -> str:
        """For one line."""
        return self.what + (f" ({self.where})" if self.where else "") + (f": {self.fix}" if self.fix else "")
