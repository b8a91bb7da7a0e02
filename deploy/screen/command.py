"""The kit's command in what a person reads: `fab` in a fabfile's directory, `ashore` where it was installed.

The kit's texts say `fab`, also those that come from a server, and become what was typed where they are shown.
"""

import re
import sys
from pathlib import PurePath

INSTALLED = "ashore"
FAB = re.compile(r"(?<![\w./:@-])fab(?= (?:-{1,2}[A-Za-z]|[a-zA-Z]))")


def command_name() -> str:
    """ashore@0.2 is `pipx install --suffix`'s."""
    typed = PurePath(sys.argv[0]).name.partition("@")[0].removesuffix(".exe")
    return INSTALLED if typed == INSTALLED else "fab"


def as_typed(text: str) -> str:
    """The text with the command that this process was started by."""
    return text if command_name() == "fab" else FAB.sub(INSTALLED, text)
