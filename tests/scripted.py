"""Command lines in this process, at a project whose hosts have scripted agents, see `scripted_agent`."""

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from fabric import Config, Connection
from invoke.context import Context
from paramiko import PKey, RSAKey

from deploy.agent.constants import PROXY
from deploy.agent.dataclass import asdict
from deploy.agent.resources import KINDS
from deploy.agent.wire import Plan, unpack
from deploy.cli.options import Typed
from deploy.config.reader import Stage
from deploy.connection.channel import ChildLink
from deploy.plan.facts import Facts
from deploy.screen.screen import Screen
from deploy.session.session import Call, Options, Session

ROOT = Path(__file__).resolve().parents[1]
HOST_KEY: list[PKey] = []  # made once: it takes a while


def told(facts: Facts) -> dict[str, Any]:
    """The facts as the agent's survey tells of them."""
    reply = asdict(facts)
    return {**reply, PROXY: reply.pop("proxy"), "uv": list(facts.uv)}


class Hosts:
    """The scripted agents of a command line, all by one script, and what they were asked."""

    def __init__(self, directory: Path, script: dict[str, Any]) -> None:
        self.directory, self.script = directory, script
        self.links: list[ChildLink] = []
        directory.mkdir(exist_ok=True)
        if not HOST_KEY:
            HOST_KEY.append(RSAKey.generate(1024))

    def link(self, made: Connection, stage: Stage) -> ChildLink:
        script = {**self.script, **self.script.get(made.host, {})}
        (self.directory / f"{made.host}.json").write_text(json.dumps(script))
        words = (sys.executable, str(ROOT / "tests" / "scripted_agent.py"), str(self.directory), made.host)
        self.links.append(ChildLink(words, f"{made.user}@{made.host}", HOST_KEY[0]))
        return self.links[-1]

    def requests(self, host: str = "127.0.0.1") -> list[dict[str, Any]]:
        """What a host was asked, in order; a plan as one, its upload as bytes' sizes."""
        lines = (self.directory / f"{host}.asked").read_text().splitlines()
        found = [json.loads(line) for line in lines]
        for message in found:
            if "plan" in message:
                message["plan"] = unpack(message["plan"], KINDS)
        return found

    def plan(self, host: str = "127.0.0.1") -> Plan:
        (plan,) = [message["plan"] for message in self.requests(host) if message["request"] == "plan"]
        assert isinstance(plan, Plan)
        return plan


class Typing:
    """A command line at a project with scripted hosts. `out` is what its screen has shown."""

    def __init__(self, hosts: Hosts, *, as_json: bool = False, **options: bool) -> None:
        self.out = io.StringIO()
        self.hosts = hosts
        self.session = Session(link=hosts.link)
        self.screen = Screen(as_json=as_json, out=self.out)
        self.typed = Typed(self.session, Context(Config()), self.screen, Options(**options))

    @contextmanager
    def verb(self, name: str, **words: Any) -> Iterator[tuple[ModuleType, Call]]:
        with self.typed.verb(name, **words) as found:
            yield found

    def close(self) -> None:
        """The command line ends, and so do the agents, having taken in all that was sent."""
        self.session.close()
        for link in self.hosts.links:
            for pipes in link.started:
                pipes.recv_exit_status()

    @property
    def said(self) -> str:
        return self.out.getvalue()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.said.splitlines()]
