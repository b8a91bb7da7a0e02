"""The keys of [processes.NAME] and [timers.NAME]: what an app runs besides answering visitors."""

import re

from ..agent.constants import RUNNERS
from ..agent.dataclass import dataclass, field
from .keys import attributes, key
from .values import LINE, flag, number, one_of, word

NAME = r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?"  # part of the names of units
SIGNALS = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH")
SERVERS = re.compile(rf"\b({'|'.join((*RUNNERS, 'daphne'))})\b(.*)")
TARGET = re.compile(r"[A-Za-z_][\w.]*(:\w+(\(\))?)?")
COMMAND, LIMITS, STOP, WHEN = "Command", "Limits", "Stop", "Schedule"


@dataclass(frozen=True)
class Process:
    """What runs as long as its release does, such as a worker of a queue: a table [processes.NAME].

    The process "web" is a server of its own, which answers visitors on $PORT; of its keys there is only `command`.
    """

    name: str
    command: str = key("", LINE, COMMAND, example="celery -A shop worker", unset="that of the Procfile")
    """The command, for bash. It runs in the release's source as the app's user, in the app's sandbox, with the
    release's environment and the programs of its packages.

    If it ends, it is started again. Its signals go to the last program of the command, which must not go to the
    background. $PROCESS is the name and number of the process, such as "worker.1". A Procfile in
    the project's directory may have it, too; what deploy.toml says comes first. The process "web" is for an app that
    is a server of its own, such as Streamlit: it is set instead of `wsgi` and `asgi`, and must listen on the port
    $PORT of 127.0.0.1 or of all addresses. Nobody but the proxy and the app itself can connect to that port.
    """
    count: int = key(1, number(0, 100), COMMAND, example=2)
    """How many of it run. `fab scale NAME=COUNT` changes that without a deploy."""
    singleton: bool = key(False, flag, COMMAND, example=True)
    """Whether no two of it may run at a time, as with a scheduler: a deploy stops the old one before it starts the new
    one. false: a deploy starts the new ones before it stops the old ones.
    """
    memory_percent: int = key(
        0, number(0, 100), LIMITS, example=20, unset="an equal share of app.memory_percent; so for 0"
    )
    """How much of the server's memory one of it may use, in percent.

    The processes of a release share `memory_percent` of [app]: what they do not claim is shared out equally among the
    web process and all others that claim nothing. Above its limit, the kernel ends the process.
    """
    stop_signal: str = key("SIGTERM", one_of(SIGNALS), STOP, example="SIGINT")
    """The signal that asks it to stop."""
    stop_seconds: int = key(30, number(1, 86_400), STOP, example=600)
    """How many seconds it has to stop, such as for the job that it is at. Then it is killed.

    A deploy does not wait for it, except for a singleton.
    """


@dataclass(frozen=True)
class Timer:
    """A command that runs at certain times, and never twice at a time: a table [timers.NAME]."""

    name: str
    command: str = field(metadata=attributes(LINE, COMMAND, example="flask cleanup"))
    """The command, for bash. It runs like a process, of the release that has the traffic when it begins."""
    schedule: str = field(
        metadata=attributes(
            word(r"[A-Za-z0-9*/.,:~@ _+-]{1,100}", "a time like 03:00 or hourly"), WHEN, example="03:00 Europe/Berlin"
        )
    )
    """When it runs, as systemd writes it: "hourly", "03:00", "Mon 09:30 Europe/Berlin", "*:0/15" for each quarter of
    an hour. Without a time zone, it is in UTC.

    If the server was off at that time, it runs after the boot. If the command still runs at its next time, it runs
    again once it has ended. `systemd-analyze calendar "…"` explains a schedule. `fab timers` shows when it last ran,
    how that ended, and when it runs next.
    """
    max_seconds: int = key(3600, number(1, 604_800), WHEN, example=600)
    """After how many seconds it is stopped. It counts as failed then."""
    memory_percent: int = key(
        0, number(0, 100), LIMITS, example=20, unset="an equal share of app.memory_percent; so for 0"
    )
    """How much of the server's memory it may use, in percent."""


def target_of(command: str) -> str:
    """What a known server is told to serve, "shop:app" or "shop.wsgi"; "" for another command."""
    found = SERVERS.search(command)
    words = [word for word in found[2].split() if TARGET.fullmatch(word)] if found else []
    named = [word for word in words if ":" in word] or [word for word in reversed(words) if "." in word] or words[-1:]
    return named[0] if named else ""
