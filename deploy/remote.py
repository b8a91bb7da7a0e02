"""The agent running on a host: plan out, events in.

Its source travels in the first bytes of the channel and runs from memory; nothing of it is left on the server.
"""

import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from fabric import Connection

from .agent.wire import Plan, frame
from .ci import PROTOCOL
from .errors import ConnectionFailed, HostError, StepFailed
from .payload import BOOT, CORE, modules_for, payload, source
from .transport import Command, address

Event = dict[str, Any]
NO_PYTHON, NO_SUDO, OLD_PYTHON, PARTIAL_PYTHON = 90, 91, 92, 93
PROMPT = "ashore-asks-for-the-password:"


def command(root: bool, password: bool) -> str:
    """The line that starts the agent. Constant but for how it becomes root; what varies travels on stdin."""
    checks = f"command -v python3 >/dev/null || exit {NO_PYTHON}; "
    if root:
        return f"sh -c '{checks}exec python3 -ISc \"{BOOT}\"'"
    how = f'sudo -S -p "{PROMPT}"' if password else "sudo -n"
    return f"sh -c '{checks}command -v sudo >/dev/null || exit {NO_SUDO}; exec {how} python3 -ISc \"{BOOT}\"'"


def install_python_command(root: bool, password: bool) -> str:
    """The one raw command of the kit: a server without Python 3 gets it, so that the agent can run."""
    script = "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -y -q install python3"
    check = f"command -v apt-get >/dev/null || exit {NO_PYTHON}"
    become = "" if root else f'sudo -S -p "{PROMPT}" ' if password else "sudo -n "
    return f"sh -c '{check}; exec {become}sh -c \"{script}\"'"


class Agent:
    """One conversation with the agent on one host. `ask_password` gives sudo's password, or None where nobody can."""

    def __init__(self, made: Connection, ask_password: Callable[[str], str | None], *, may_install: bool) -> None:
        self.connection = made
        self.ask_password = ask_password
        self.may_install = may_install
        self.password: str | None = made.config.sudo.password
        self.running: Command | None = None
        self.modules: set[str] = set()
        self.ci = ""  # the app whose CI key let us in: then the server makes the plans
        self._opened: Command | None = None

    @property
    def where(self) -> str:
        return address(self.connection)

    def open(self) -> None:
        """Have the server start its side, while this side may still be making the plan."""
        if self.running is None and self.password is None and self._opened is None:
            self._opened = Command(self.connection, command(self.connection.user == "root", False))

    def _start(self, first: bytes, modules: set[str], retry: bool = True) -> Command:
        """Start it and send the first request along, so that starting costs no round trip of its own."""
        root = self.connection.user == "root"
        started, self._opened = self._opened, None
        if started is None:
            started = Command(self.connection, command(root, self.password is not None))
        if not root and self.password is not None:
            self._answer_prompt(started, self.password)
        started.send(payload(frozenset(modules)) + first)
        hello = started.line()
        if hello is not None:
            self.modules = set(CORE) | modules
            self.ci = self._greeted(hello)
            return started
        status, errors = started.end()
        if status in (NO_PYTHON, PARTIAL_PYTHON) and retry:
            self._install_python(root)
            return self._start(first, modules, retry=False)
        if self._may_ask(status, errors):
            return self._start(first, modules, retry)
        raise self._cannot(status, errors)

    def _greeted(self, hello: bytes) -> str:
        """The app whose CI key this is; "" for an operator."""
        said = json.loads(hello)
        if "ci" in said and said["protocol"] != PROTOCOL:
            hint = "an operator with this version of the kit runs `fab ci.key` again"
            what = "the server's side of the CI key is of another version of the kit, and does not understand this one"
            raise HostError(what, self.where, "nothing was changed", hint)
        return str(said.get("ci", ""))

    def _may_ask(self, status: int, errors: str) -> bool:
        """Whether sudo wanted a password and now has one to try."""
        if status == 1 and "password is required" in errors and self.password is None:
            self.password = self.ask_password(self.where)
            return self.password is not None
        return False

    def _answer_prompt(self, started: Command, password: str) -> None:
        """Answer sudo's prompt, if it has one: without waiting, the password could land in the agent's own input."""
        with started.spoke:
            started.spoke.wait_for(lambda: PROMPT.encode() in started.errors or started.channel.closed, 1.5)
            prompted = PROMPT.encode() in started.errors
        if prompted:
            started.send(password.encode() + b"\n")
            started.errors = b""

    def _install_python(self, root: bool) -> None:
        if not self.may_install:
            hint = "run `fab provision`: it installs python3 first"
            raise HostError("there is no python3 on the server", self.where, "nothing was changed", hint)
        installing = Command(self.connection, install_python_command(root, self.password is not None))
        if not root and self.password is not None:
            self._answer_prompt(installing, self.password)
        said = []
        while (line := installing.line()) is not None:
            said.append(line.decode(errors="replace"))
        status, errors = installing.end()
        if status == NO_PYTHON:
            raise HostError(
                "the server has neither python3 nor apt-get: it is not Debian or Ubuntu",
                self.where,
                "nothing was changed",
                "use a server with Debian or Ubuntu",
            )
        if self._may_ask(status, errors):
            self._install_python(root)
        elif status:
            raise self._cannot(status, errors or "\n".join(said[-15:]))

    def _cannot(self, status: int, errors: str) -> HostError:
        user = self.connection.user
        quoted = errors.replace(PROMPT, "").strip()
        hint = f"connect as root, or let {user} use sudo (`usermod -aG sudo {user}`, as root)"
        if status == NO_SUDO:
            what = f"{user} is not root, and there is no sudo on the server"
        elif status == OLD_PYTHON:
            what, hint = (
                f"the server's Python is {quoted}; the kit needs 3.10 or later",
                "use Debian 12 or Ubuntu 22.04, or later",
            )
        elif "password is required" in errors:
            what = f"sudo on the server wants {user}'s password"
            hint = "run it at a terminal, which asks for it once, or with --prompt-for-sudo-password"
        elif self.password is not None and ("try again" in errors or "incorrect password" in errors):
            what, quoted = f"sudo did not take the password of {user}", ""
            hint = "run again and type it once more"
        elif "sudoers" in errors or "not allowed" in errors or "may not run" in errors:
            what = f"{user} may not use sudo on the server"
        elif status == -1:
            what, hint = "the link dropped while the agent was starting", "run the same command again"
        else:
            what, hint = f"the agent did not start (exit status {status})", "the lines above are the server's"
        return HostError(what, self.where, "nothing was changed", hint, quoted)

    def send(self, message: Any) -> None:
        if self.running is not None:
            self.running.send(frame(message))

    def request(
        self,
        message: dict[str, Any],
        on_event: Callable[[Event], None] = lambda event: None,
        behind: Iterable[bytes] = (),
    ) -> Event:
        """Ask, hand every event to `on_event`, and return the answer: the event "reply" or "end".

        behind: bytes that follow the question without waiting for anything.
        Raises StepFailed for an end that is not "ok", and ConnectionFailed where the link drops before the end.
        """
        running = self._ask(message)
        for blob in behind:
            self.send(blob)
        while (line := running.line()) is not None:
            event: Event = json.loads(line)
            if event["event"] == "end" and event["state"] != "ok":
                on_event(event)
                raise failure(event, self.where)
            on_event(event)
            if event["event"] in ("end", "reply"):
                return event
        status, errors = running.end()
        raise ConnectionFailed(
            "the link to the server dropped" if status == -1 else f"the agent ended too early (exit status {status})",
            self.where,
            "what the server had been told, it finishes or undoes by itself",
            "run the same command again: it shows how this one ended, and finishes the job",
            errors.strip(),
        )

    def _ask(self, message: dict[str, Any]) -> Command:
        needed = modules_for(message)
        if self.running is None:
            self.running = self._start(frame(message), needed)
            return self.running
        lacking = set() if self.ci else needed - self.modules
        more = frame({"request": "modules", "sources": {name: source(name) for name in lacking}}) if lacking else b""
        self.running.send(more + frame(message))
        self.modules |= lacking
        return self.running

    def ask(self, module: str, question: str, **words: Any) -> Any:
        """What a function of the agent answers, by module and name: `agent.facts`, "releases"."""
        return self.request({"request": "ask", "module": module, "question": question, **words})["answer"]

    def plan(
        self,
        plan: Plan,
        *,
        check: bool,
        run: dict[str, Any],
        wait: bool,
        on_event: Callable[[Event], None],
        blobs: Callable[[list[int]], Iterable[bytes]] = lambda indices: (),
        ahead: list[int] | None = None,
    ) -> Event:
        """Have a plan carried out. run: what the server's history tells of it, see `Conversation.answer_plan`.

        blobs: the bytes of files of the manifest that the survey took, by their indices. ahead: those to send at once,
        without waiting to be asked for them.
        """
        halt = os.environ.get("ASHORE_HALT", "")  # for tests, see `engine.wait_at`
        message = {"request": "plan", "plan": plan, "units": plan.units, "check": check, "run": run, "wait": wait}
        return self.carry({**message, "halt": halt}, on_event, blobs, ahead)

    def carry(
        self,
        message: dict[str, Any],
        on_event: Callable[[Event], None],
        blobs: Callable[[list[int]], Iterable[bytes]] = lambda indices: (),
        ahead: list[int] | None = None,
    ) -> Event:
        """Ask for something that may want files of ours on the way, as `plan` tells of them."""

        def show(event: Event) -> None:
            if event["event"] != "missing":
                on_event(event)
            elif ahead is None:
                for blob in blobs(event["indices"]):
                    self.send(blob)

        return self.request(message, show, blobs(ahead) if ahead else ())

    def cancel(self) -> None:
        self.send({"request": "cancel"})

    def close(self) -> None:
        """Take leave: the agent ends, and knows that its last end was heard."""
        if self.running is not None:
            self.send({"request": "bye"})
            with suppress(OSError, EOFError):  # it has gone already
                self.running.channel.shutdown_write()


def failure(end: Event, where: str) -> StepFailed:
    """The error that an agent's "end" tells of; its `state` says how the plan left the server."""
    if "stands" in end:
        state = end["stands"]
    elif not end["applied"]:
        state = "nothing was changed"
    elif end.get("undo_errors"):
        state = "not everything could be undone:\n" + "\n".join(end["undo_errors"])
    elif end["switched"]:
        state = "the new release serves; what comes after the switch was not finished"
    else:
        state = ""
    step = f"{where}, step: {end['step']}" if end["step"] else where
    return StepFailed(end["what"], step, state, end["hint"], end["detail"])
