"""An agent that says what a test has written for it, in a child process; and the hosts of a command line that have one.

As a program it stands in for `sh -c …` on a host: it reads the payload, says hello, and answers each request by a
script, a JSON file: {"facts": {…}, "asks": {"releases": …}, "plan": {…}, "hello": {…}, "login": exit status}.
"""

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from fabric import Config, Connection
from invoke.context import Context
from paramiko import PKey, RSAKey

from deploy.agent.defaults import PROXY
from deploy.agent.resources import KINDS
from deploy.agent.wire import Plan, pack, read_frame, unpack
from deploy.cli.options import Typed
from deploy.config.reader import Stage
from deploy.connection.channel import ChildLink
from deploy.plan.facts import Facts
from deploy.screen.console import Screen
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
        directory.mkdir(exist_ok=True)
        if not HOST_KEY:
            HOST_KEY.append(RSAKey.generate(1024))

    def link(self, made: Connection, stage: Stage) -> ChildLink:
        script = {**self.script, **self.script.get(made.host, {})}
        (self.directory / f"{made.host}.json").write_text(json.dumps(script))
        words = (sys.executable, str(Path(__file__)), str(self.directory), made.host)
        return ChildLink(words, f"{made.user}@{made.host}", HOST_KEY[0])

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
        self.session = Session(link=hosts.link)
        self.screen = Screen(as_json=as_json, out=self.out)
        self.typed = Typed(self.session, Context(Config()), self.screen, Options(**options))

    @contextmanager
    def verb(self, name: str, **words: Any) -> Iterator[tuple[ModuleType, Call]]:
        with self.typed.verb(name, **words) as found:
            yield found

    @property
    def said(self) -> str:
        return self.out.getvalue()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.said.splitlines()]


def main(directory: str, host: str, command: str) -> None:
    script = json.loads(Path(directory, f"{host}.json").read_text())
    if "zlib" not in command:  # no agent: a second login, or the installation of Python
        sys.stderr.write(script.get("said", ""))
        sys.exit(script.get("login", 0))
    stdin = sys.stdin.buffer
    stdin.read(int(stdin.readline()))
    if "start" in script:  # it does not
        sys.stderr.write(script.get("said", ""))
        sys.exit(script["start"])
    emit({"event": "hello", **script.get("hello", {})})
    with open(Path(directory, f"{host}.asked"), "a", encoding="utf-8") as asked:
        while (message := read_frame(stdin)) is not None:
            if isinstance(message, bytes):
                message = {"request": "blob", "size": len(message)}
            if message["request"] == "alive":
                continue
            asked.write(json.dumps(pack(message)) + "\n")
            asked.flush()
            if message["request"] == "bye":
                return
            answer(message, script)


def answer(message: dict[str, Any], script: dict[str, Any]) -> None:
    request = message["request"]
    if request == "survey":
        for event in script.get("before", ()):
            emit(event)
        missing = list(range(len(message["manifest"] or ())))[: script.get("missing", 99)]
        compared = {"added": ["new.py"], "changed": ["shop.py"], "removed": []} if message["compare"] else {}
        emit({"event": "reply", **script["facts"], "missing": missing, **compared})
    elif request == "ask":
        emit({"event": "reply", "answer": script["asks"][message["question"]]})
    elif request in ("logs", "run"):
        for event in script[request]:
            emit(event)
    elif request == "plan":
        carry_out(unpack(message["plan"], KINDS), message["check"], script.get("plan", {}))
    elif request in ("ci_deploy", "ci_rollback"):
        for event in script[request]:
            emit(event)


def carry_out(plan: Plan, check: bool, script: dict[str, Any]) -> None:
    """ok: nothing drifts. fails: the title of a step, or a part of it. end: more fields of the end."""
    wanted = "ok" if script.get("ok") else "would change" if check else "changed"
    end: dict[str, Any] = {"event": "end", "state": "ok", "seconds": 0.1}
    changed = 0
    for event in script.get("events", ()):
        emit(event)
        if event["event"] == "prove":
            emit({"event": "said", "text": json.dumps(read_frame(sys.stdin.buffer))})
    for step in (*plan.steps, *plan.finish):
        if script.get("fails", "\0") in step.title:
            failed = {"state": "failed", "what": "it broke", "hint": "mend it", "detail": "", "step": step.title}
            end |= failed | {"applied": changed > 0, "switched": step in plan.finish, "undo_errors": []}
            break
        emit({"event": "start", "step": step.title})
        emit({"event": "step", "step": step.title, "state": wanted, "seconds": 0.0, "drift": []})
        changed += wanted != "ok"
    if plan.current:
        end["serves"] = script.get("serves", "")
    emit({**end, "changed": changed, **script.get("end", {})})


def emit(event: dict[str, Any]) -> None:
    os.write(1, json.dumps(event).encode() + b"\n")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(*sys.argv[1:])
