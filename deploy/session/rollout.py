"""The hosts of one command: all are checked before the first is changed; then they are changed one after the other.

So a release has the same ID on all of them, a problem on one is known before another is changed, and after a failure
the following hosts are not changed.
"""

import threading
from collections.abc import Sequence
from datetime import datetime

from ..agent.events import LastRun
from ..errors import NOTHING, ConnectionFailed, DeployError, HostError, NotReached
from ..plan.facts import Facts
from .session import Host, by_state

LOOK_SECONDS = 0.1
Key = tuple[str, str, int]


class Rollout:
    """Shared by the threads of the hosts. now: the time of the command line."""

    def __init__(self, hosts: Sequence[Host], now: datetime, interrupted: threading.Event) -> None:
        self.hosts, self.now, self.interrupted = list(hosts), now, interrupted
        self.facts: dict[Key, Facts] = {}
        self.lasts: dict[Key, LastRun] = {}
        self.turns: list[Key] = []  # hosts whose turn has come
        self.left_as: dict[Key, str] = {}
        self.news = threading.Condition()

    def looked(self, host: Host, facts: Facts, last: LastRun) -> None:
        """Report the facts of a host, and wait for its turn. last: the previous run, if nobody was told how it ended.

        Raises NotReached if another host failed, or Ctrl-C was pressed.
        """
        before = self.hosts[: self.hosts.index(host)]
        with self.news:
            self.facts[host.key], self.lasts[host.key] = facts, last
            self.news.notify_all()
            while len(self.facts) < len(self.hosts) or not all(other.done.is_set() for other in before):
                self._require_all_well(host)
                self.news.wait(LOOK_SECONDS)
            self._require_all_well(host)
            self.turns.append(host.key)

    def _require_all_well(self, host: Host) -> None:
        if self.interrupted.is_set() or any(other.error for other in self.hosts):
            raise NotReached("another host failed, or Ctrl-C was pressed", host.name, NOTHING)

    def elsewhere(self, host: Host) -> tuple[Facts, ...]:
        return tuple(self.facts[other.key] for other in self.hosts if other is not host)

    def target(self, wanted: str) -> str:
        """The release that a rollback goes back to on every host; `wanted`, or the newest that is good on all of them.

        "" where there is one host, which decides by itself.
        """
        if len(self.hosts) == 1:
            return wanted
        again = [last["release"] for last in self.lasts.values() if last.get("verb") == "rollback"]
        wanted = wanted or max(again, default="")
        ready = {other.name: _ready(self.facts[other.key], bool(wanted)) for other in self.hosts}
        common = sorted(set.intersection(*ready.values()))
        newest = max(facts.current for facts in self.facts.values())  # "" where somebody has removed all the links
        there = f"on all hosts: {', '.join(common) or 'none'} (`fab releases`)"
        if wanted and wanted not in common:
            lacking = ", ".join(name for name, releases in ready.items() if wanted not in releases)
            raise HostError(f"there is no release {wanted} to go back to on {lacking}", lacking, NOTHING, there)
        older = [release for release in common if release < newest or not newest]
        if not wanted and not older:
            what = f"no good release {f'before {newest} ' if newest else ''}is on all hosts"
            raise HostError(what, ", ".join(ready), NOTHING, "fab releases")
        return wanted or older[-1]

    def leave(self, host: Host, text: str) -> None:
        self.left_as[host.key] = text

    def state(self, error: DeployError) -> str:
        """The state line of an error, if there are several hosts: how each of them is now."""
        if len(self.hosts) == 1:
            return error.state
        changed = any(host.key in self.turns and not host.error for host in self.hosts)
        if not self.turns or (error.state == NOTHING and not changed):
            return f"{NOTHING} on any host"
        own = "" if error.state == NOTHING else f"{error.state}\n"
        return own + by_state(self.hosts, [self._state_of(host) for host in self.hosts])

    def _state_of(self, host: Host) -> str:
        current = self.facts[host.key].current if host.key in self.facts else ""
        on = f", on {current}" if current else ""
        if host.key not in self.turns:
            return f"not reached{on}"
        if isinstance(host.error, ConnectionFailed):
            return f"connection lost; it was on {current}" if current else "connection lost"
        return self.left_as.get(host.key, f"unchanged{on}" if host.error else "done")


def _ready(facts: Facts, named: bool) -> set[str]:
    """The releases that a host can go back to, and the one it serves. named: include releases that were rolled back."""
    states = ("good", "rolled back") if named else ("good",)
    return {facts.current} - {""} | {name for name, record in facts.records.items() if record["state"] in states}
