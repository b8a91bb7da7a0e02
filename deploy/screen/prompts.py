"""Questions at the operator's terminal, and those whose answers are not shown."""

import getpass
import sys

from ..agent.wire import Secret
from ..errors import DeployError


def asked(question: str, unanswered: DeployError) -> str:
    """The typed line without spaces around it; raises `unanswered` at Ctrl-D."""
    sys.stderr.write(question)
    sys.stderr.flush()
    line = sys.stdin.readline()
    if not line:
        sys.stderr.write("\n")
        raise unanswered
    return line.strip()


def unseen(prompt: str, unanswered: DeployError) -> Secret:
    """The typed text; raises `unanswered` at Ctrl-D."""
    try:
        return Secret(getpass.getpass(prompt))
    except EOFError:
        sys.stderr.write("\n")  # the cursor is still behind the question
        raise unanswered from None
