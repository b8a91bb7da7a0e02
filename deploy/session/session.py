"""One command line: its stage, the agents on that stage's hosts, and Ctrl-C.

`fab provision deploy` is two tasks on one connection, so one Session keeps it for the life of the process.
"""

import getpass
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabric import Connection

from ..agent.dataclass import dataclass, field
from ..agent.wire import Secret
from ..config.reader import FILE, App, Config, Stage, load
from ..connection.channel import HostLink
from ..connection.host_keys import ASKING
from ..connection.ssh import SshLink, connection, greeted, restored_at_exit, send_ahead, terminal_question, trust
from ..errors import NOTHING, ConfigError, DeployError, HostError, Interrupted, NotReached, Unread
from ..screen.prompts import unseen
from ..screen.screen import Screen
from . import interrupts

if TYPE_CHECKING:
    from ..connection.agent import Agent

DEFAULT_STAGE = "production"
GREETING_SECONDS = 0.5
Job = Callable[["Host"], Any]


@dataclass(frozen=True)
class Options:
    """The options that change how a verb runs, see `cli.options`."""

    check: bool = False
    force: bool = False
    wait: bool = False
    break_lock: bool = False


@dataclass
class Host:
    """One server of this run, and the agent on it after connecting."""

    name: str
    made: Connection
    stage: Stage
    named: bool = False  # by -H, there and then
    agent: "Agent | None" = None
    error: DeployError | Unread | None = None
    connected: threading.Event = field(default_factory=threading.Event)  # or failed to
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def reached_at(self) -> str:
        """The server's address as this machine reaches it; "" through a jump host, whose view is another."""
        return self.agent.link.peer if self.agent is not None else ""

    @property
    def key(self) -> tuple[str, str, int]:
        return self.made.user, self.made.host, self.made.port


def agent_of(host: Host) -> "Agent":
    assert host.agent is not None, "`reaching` connects before it runs the job"
    return host.agent


def operator() -> str:
    """The person at this machine, for the lock and the release's record."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def wait_for(events: Iterable[threading.Event]) -> None:
    """Not Thread.join: Ctrl-C during it can make a running thread look ended. Short waits, because of Windows."""
    for event in events:
        while not event.wait(0.5):
            pass


def wait_for_greetings(hosts: Sequence[Host]) -> None:
    """Let the SSH connections exchange their keys: planning beside that holds it up by 50 ms, and fits in behind it."""
    deadline = time.monotonic() + GREETING_SECONDS
    while time.monotonic() < deadline and not all(host.connected.is_set() or greeted(host.made) for host in hosts):
        hosts[0].connected.wait(0.002)  # not time.sleep, which fails where the clock is not the machine's


@dataclass(frozen=True)
class Call:
    """One verb as it was typed, and its hosts. run: runs a job on all of them at the same time."""

    session: "Session"
    config: Config
    hosts: Sequence[Host]
    screen: Screen
    options: Options
    run: Callable[[Job], None]

    @property
    def app(self) -> App:
        return self.config.app


@contextmanager
def each_told_of(hosts: Sequence[Host], done: str) -> Iterator[None]:
    """Add the state of each host to an error. done: the state of hosts without an error."""
    try:
        yield
    except DeployError as error:
        if len(hosts) > 1:
            error.state = by_state(hosts, [_state_of(host, done) for host in hosts])
        raise


def _state_of(host: Host, done: str) -> str:
    failed = host.error.state if isinstance(host.error, DeployError) else ""
    return failed or (NOTHING if host.error or not host.done.is_set() else done)


def by_state(hosts: Sequence[Host], states: Sequence[str]) -> str:
    """One line with the states of several hosts, grouped by state."""
    told: dict[str, list[str]] = {}
    for host, text in zip(hosts, states, strict=True):
        told.setdefault(text, []).append(host.name)
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in told.items())


@dataclass
class Session:
    stage_name: str = DEFAULT_STAGE
    sandbox: Stage | None = None  # set by the task `sandbox`, once the machine is up
    agents: dict[tuple[str, str, int], "Agent"] = field(default_factory=dict)
    passwords: dict[str, Secret] = field(default_factory=dict)
    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc))  # one clock for all hosts
    interrupted: threading.Event = field(default_factory=threading.Event)  # by Ctrl-C
    would_change: bool = False  # what a dry run of this command line has found
    succeeded: bool = False  # all of the command line
    commands: frozenset[str] = frozenset()  # their names, which no stage can have
    link: Callable[[Connection, Stage], HostLink] = SshLink.to  # how a host is reached

    def config(self) -> Config:
        return load(Path.cwd(), self.commands)

    def stage(self, config: Config) -> Stage:
        return self.sandbox or config.stage(self.stage_name)

    def hosts(self, context: Any, config: Config) -> list[Host]:
        """The hosts of the stage; or the one that `fab -H` named."""
        ask = terminal_question()
        if isinstance(context, Connection):
            known = {stage.name: stage for stage in config.stages}
            stage = known.get(self.stage_name, Stage(self.stage_name, ()))
            trust(context, stage, ask)
            return [Host(context.host, context, stage, named=True)]
        stage = self.stage(config)
        if not stage.hosts:
            raise ConfigError(f"the stage {stage.name} has no hosts", FILE, hint='hosts = ["user@host"]')
        made = [connection(host, stage, context.config, ask) for host in stage.hosts]
        servers = [(link.host, link.port) for link in made]
        for number, server in enumerate(servers):
            if server in servers[:number]:
                what = f"two hosts of the stage {stage.name} are the same server: {server[0]}, port {server[1]}"
                raise ConfigError(what, FILE, hint="list it once in hosts")
        return [Host(link.host, link, stage) for link in made]

    @contextmanager
    def reaching(
        self, hosts: Sequence[Host], screen: Screen, *, may_install: bool, large: bool = True
    ) -> Iterator[Callable[[Job], None]]:
        """Connect to all hosts at once, in threads, while the body runs. Yields a function that runs a job on all.

        large: more will be uploaded than fits into the first packets of a new connection.

        That function raises the first host's error after all have ended, and shows the others'.
        """
        if self.interrupted.is_set():  # during the previous task, which could no longer be undone
            raise Interrupted("interrupted", state="the steps shown above were done, nothing else was started")
        ready = threading.Event()
        jobs: list[Job] = []

        def work(host: Host) -> None:
            try:
                host.agent = self._agent(host, may_install)
                host.connected.set()
                host.agent.open()
                ready.wait()
                if self.interrupted.is_set():
                    raise Interrupted("interrupted", host.name, "nothing was changed", "run the same command again")
                jobs[0](host)
            except (DeployError, Unread) as error:
                host.error = error
                if isinstance(error, DeployError):
                    error.host = error.host or host.name
            except Exception:  # a bug of ours must not look like success
                host.error = DeployError(
                    "Ashore failed; this is a bug",
                    host.name,
                    hint="please report the lines above",
                    detail=traceback.format_exc(),
                    host=host.name,
                )
            finally:
                host.connected.set()
                host.done.set()

        def stop() -> None:
            self.interrupted.set()
            ready.set()
            self._stop(hosts, screen)

        def run(job: Job) -> None:
            jobs.append(job)
            ready.set()
            try:
                wait_for(host.done for host in hosts)
                interrupts.too_late()
            except KeyboardInterrupt:
                stop()
            self._raise_first(hosts, screen)

        try:
            for host in hosts:
                if large and host.key not in self.agents:
                    send_ahead(host.made)
                threading.Thread(target=work, args=(host,), daemon=True).start()
            wait_for_greetings(hosts)
            yield run
        except KeyboardInterrupt:
            stop()
            self._raise_first(hosts, screen)

    def _raise_first(self, hosts: Sequence[Host], screen: Screen) -> None:
        for host in hosts:
            if host.error:
                agent = self.agents.pop(host.key, None)
                if agent is not None:
                    agent.close()  # so it releases the lock, and knows that its failure was shown
        failed = [host.error for host in hosts if host.error and not isinstance(host.error, NotReached)]
        for error in failed[1:]:
            if isinstance(error, DeployError):
                screen.error(error)
        if failed:
            raise failed[0]
        missed = [host.name for host in hosts if host.error or not host.done.is_set()]
        if missed:  # Ctrl-C, where other hosts were too far to be undone; or these were not connected yet
            hint = "run the same command again"
            raise Interrupted("interrupted", ", ".join(missed), "nothing was changed", hint)

    def _agent(self, host: Host, may_install: bool) -> "Agent":
        agent = self.agents.get(host.key)
        if agent is None or not agent.link.alive:
            link = self.link(host.made, host.stage)
            from ..connection.agent import Agent  # loaded by the verb meanwhile

            agent = Agent(link, self._password, self.interrupted, may_install=may_install)
            self.agents[host.key] = agent
        agent.may_install = may_install
        return agent

    def _password(self, where: str) -> Secret | None:
        """sudo's password, asked for once for all hosts of the run."""
        if terminal_question() is None:
            return None
        with ASKING:
            user = where.partition("@")[0]
            if user not in self.passwords:
                restored_at_exit()
                hint = f"run it again and type the password, or let {user} use sudo without one"
                unanswered = HostError("no password was typed for sudo", where, "nothing was changed", hint)
                self.passwords[user] = unseen(f"sudo password of {where}: ", unanswered)
            return self.passwords[user]

    def _stop(self, hosts: Sequence[Host], screen: Screen) -> None:
        """Ctrl-C: ask the servers to stop and undo, and wait for the result; a second Ctrl-C stops waiting."""
        try:
            told = [host.agent for host in hosts if host.agent is not None and host.agent.asked]
            if not told:
                raise Interrupted("interrupted", state="nothing was changed") from None
            if not screen.reading and not all(
                host.done.is_set() for host in hosts
            ):  # it may have come with the last line
                then = "then undoes a release that has no traffic (press Ctrl-C again to stop waiting)"
                screen.say(f"Ctrl-C: the server finishes its current step, {then}")
            for agent in told:
                agent.cancel()
            wait_for(host.done for host in hosts if host.agent in told)
        except KeyboardInterrupt:
            raise Interrupted(
                "interrupted twice",
                state="the server finishes its current step, undoes a release without traffic, and releases the lock",
                hint="the next command shows how it ended",
            ) from None

    def close(self) -> None:
        for agent in self.agents.values():
            agent.close()
        self.agents.clear()
