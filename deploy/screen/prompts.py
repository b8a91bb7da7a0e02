"""Questions at the operator's terminal whose answers are not shown."""

import getpass
import sys

from ..agent.wire import Secret
from ..errors import DeployError


def unseen(prompt: str, unanswered: DeployError) -> Secret:
    """The typed text; raises `unanswered` at Ctrl-D."""
    try:
        return Secret(getpass.getpass(prompt))
    except EOFError:
        sys.stderr.write("\n")  # the cursor is still behind the question
        raise unanswered from None
