"""One command line: its stage, the agents on that stage's hosts, and Ctrl-C.

`fab provision deploy` is two tasks on one connection, so somebody must hold it in between: `fabfile.py` makes one
Session for the life of the process.
"""

import getpass
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fabric import Connection

from .config import FILE, Config, Stage, load
from .errors import ConfigError, DeployError, Interrupted
from .host_keys import ASKING
from .remote import Agent
from .screen import Screen
from .transport import connection, opened, terminal_question, trust

DEFAULT_STAGE = "production"
SWITCH_SECONDS = 0.0005  # ten times Python's own: planning must not keep the SSH handshake waiting
Job = Callable[["Host"], Any]


@dataclass
class Host:
    """One server of this run, and the agent on it once the connection stands."""

    name: str
    made: Connection
    stage: Stage
    named: bool = False  # by -H, there and then
    agent: Agent | None = None
    error: DeployError | BrokenPipeError | None = None
    connected: threading.Event = field(default_factory=threading.Event)  # or failed to
    done: threading.Event = field(default_factory=threading.Event)

    @property
    def reached_at(self) -> str:
        """The server's address as this machine reaches it; "" through a jump host, whose view is another."""
        if self.made.gateway or self.agent is None:
            return ""
        peer = str(self.agent.connection.transport.sock.getpeername()[0])
        return peer.removeprefix("::ffff:").partition("%")[0]

    @property
    def key(self) -> tuple[str, str, int]:
        return self.made.user, self.made.host, self.made.port


def operator() -> str:
    """Who is at work, for the lock and the release's record."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def wait_for(events: Iterable[threading.Event]) -> None:
    """Not Thread.join: a Ctrl-C in it can make a thread look ended that is not. Bounded, for Windows' sake."""
    for event in events:
        while not event.wait(0.5):
            pass


@dataclass
class Session:
    stage_name: str = DEFAULT_STAGE
    sandbox: Stage | None = None  # set by the task `sandbox`, once the machine is up
    agents: dict[tuple[str, str, int], Agent] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)

    def config(self) -> Config:
        return load(Path.cwd())

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
        return [Host(link.host, link, stage) for link in made]

    def on_each(
        self, hosts: Sequence[Host], job: Job, screen: Screen, *, prepare: Callable[[], None], may_install: bool
    ) -> None:
        """Run the job on all hosts at once, each in a thread; `prepare` runs here while they connect.

        Raises the first host's error after all have ended, the others' having been shown.
        """
        ready = threading.Event()
        sys.setswitchinterval(SWITCH_SECONDS)

        def work(host: Host) -> None:
            try:
                host.agent = self._agent(host, may_install)
                host.connected.set()
                host.agent.open()
                ready.wait()
                job(host)
            except (DeployError, BrokenPipeError) as error:
                host.error = error
            except Exception:  # a bug of ours must not look like success
                host.error = DeployError(
                    "the kit failed (a bug of ours)",
                    host.name,
                    hint="report the lines above",
                    detail=traceback.format_exc(),
                )
            finally:
                host.connected.set()
                host.done.set()

        try:
            for host in hosts:
                threading.Thread(target=work, args=(host,), daemon=True).start()
            prepare()
            ready.set()
            wait_for(host.done for host in hosts)
        except KeyboardInterrupt:
            self._stop(hosts, screen)
        failed = [host.error for host in hosts if host.error]
        for host in hosts:
            if host.error:
                agent = self.agents.pop(host.key, None)
                if agent is not None:
                    agent.close()  # it lets go of the lock, and knows that its failure was heard
        for error in failed[1:]:
            if isinstance(error, DeployError):
                screen.error(error)
        if failed:
            raise failed[0]

    def _agent(self, host: Host, may_install: bool) -> Agent:
        agent = self.agents.get(host.key)
        if agent is None or not agent.connection.is_connected:
            agent = Agent(opened(host.made), self._password, may_install=may_install)
            self.agents[host.key] = agent
        agent.may_install = may_install
        return agent

    def _password(self, where: str) -> str | None:
        """sudo's password, asked for once for all hosts of the run."""
        if terminal_question() is None:
            return None
        with ASKING:
            user = where.partition("@")[0]
            if user not in self.passwords:
                self.passwords[user] = getpass.getpass(f"sudo password of {where}: ")
            return self.passwords[user]

    def _stop(self, hosts: Sequence[Host], screen: Screen) -> None:
        """Ctrl-C: ask the servers to stop and undo, and wait for how that ends; a second Ctrl-C leaves them to it."""
        told = [host for host in hosts if host.agent is not None and host.agent.running is not None]
        if not told:
            raise Interrupted("interrupted", state="nothing was changed") from None
        screen.say(
            "Ctrl-C: the server ends its step, then undoes a release without traffic (again: do not wait for it)"
        )
        try:
            for host in told:
                if host.agent is not None:
                    host.agent.cancel()
            wait_for(host.done for host in hosts)
        except KeyboardInterrupt:
            raise Interrupted(
                "interrupted twice",
                state="the server ends its step, undoes what is not switched to, and lets go of the lock",
                hint="the next command shows how it ended",
            ) from None

    def close(self) -> None:
        for agent in self.agents.values():
            agent.close()
        self.agents.clear()
