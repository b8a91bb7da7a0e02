"""The agent running on a host: plan out, events in.

Its source travels in the first bytes of the channel and runs from memory; nothing of it is left on the server.
"""

import json
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from ..agent.events import End, Event
from ..agent.layout import PROTOCOL
from ..agent.wire import BEAT_SECONDS, Plan, frame
from ..errors import ConnectionFailed, HostError, Interrupted, StepFailed
from .channel import Channel, HostLink
from .payload import PROMPT, READY, Status, command, core, install_python_command, modules_for, payload, plain, sources

Words = ParamSpec("Words")
Answer = TypeVar("Answer")
SUDO_SECONDS = 60  # for sudo's prompt: it may ask a slow DNS for the server's own name first


class Agent:
    """One conversation with the agent on one host. `ask_password` gives sudo's password, or None where nobody can.

    interrupted: Ctrl-C was pressed; nothing new is asked of the server from then on.
    """

    def __init__(
        self,
        link: HostLink,
        ask_password: Callable[[str], str | None],
        interrupted: threading.Event,
        *,
        may_install: bool,
    ) -> None:
        self.link = link
        self.ask_password = ask_password
        self.interrupted = interrupted
        self.may_install = may_install
        self.password: str | None = link.password
        self.running: Channel | None = None
        self.modules: set[str] = set()
        self.ci = ""  # the app whose CI key let us in: then the server makes the plans
        self._opened: Channel | None = None
        self._starting: Channel | None = None  # the first request is on its way
        self._start_or_cancel = threading.Lock()  # either nothing is sent, or `cancel` comes behind it
        self._closed = threading.Event()

    @property
    def asked(self) -> bool:
        """Whether the server was asked for anything."""
        with self._start_or_cancel:
            return self._starting is not None

    @property
    def where(self) -> str:
        return self.link.where

    def open(self) -> None:
        """Have the server start its side, while this side may still be making the plan."""
        if self.running is None and self.password is None and self._opened is None:
            self._opened = self.link.start(command(self.link.user == "root", False))

    def _start(self, first: bytes, modules: set[str], retry: bool = True) -> Channel:
        """Start it and send the first request along, so that starting costs no round trip of its own."""
        root = self.link.user == "root"
        started, self._opened = self._opened, None
        if started is None:
            started = self.link.start(command(root, self.password is not None))
        if not root and self.password is not None:
            self._answer_prompt(started, self.password)
        with self._start_or_cancel:
            self._require_wanted()
            started.send(payload(frozenset(modules)) + first)
            self._starting = started
        hello = started.line()
        if hello is not None:
            self.modules = set(core() | modules)
            self.ci = self._greeted(hello)
            if not self.ci:
                threading.Thread(target=self._beat, args=(started,), daemon=True).start()
            return started
        status, errors = started.end()
        if status in (Status.NO_PYTHON, Status.PARTIAL_PYTHON) and retry:
            self._install_python(root)
            return self._start(first, modules, retry=False)
        if self._may_ask(status, errors):
            return self._start(first, modules, retry)
        raise self._cannot(status, errors)

    def _beat(self, started: Channel) -> None:
        """Tell the agent that its operator is there: it waits for nobody who is silent."""
        while not self._closed.wait(BEAT_SECONDS) and not started.closed:
            started.send(frame({"request": "alive"}))

    def _require_wanted(self) -> None:
        if self.interrupted.is_set():
            raise Interrupted("interrupted", self.where, "nothing was changed", "run the same command again")

    def _greeted(self, hello: bytes) -> str:
        """The app whose CI key this is; "" for an operator."""
        said = json.loads(hello)
        if "ci" in said and said["protocol"] != PROTOCOL:
            hint = "an operator with this version of Ashore has to run `fab ci.key` again"
            what = "the server's side of the CI key is from another version of Ashore, not compatible with this one"
            raise HostError(what, self.where, "nothing was changed", hint)
        return str(said.get("ci", ""))

    def _may_ask(self, status: int, errors: str) -> bool:
        """Whether sudo wanted a password and now has one to try."""
        if status == 1 and "password is required" in errors and self.password is None:
            self.password = self.ask_password(self.where)
            return self.password is not None
        return False

    def _answer_prompt(self, started: Channel, password: str) -> None:
        """Answer sudo's prompt, if it has one; before it comes, the password could land in the agent's own input."""

        def said(text: str) -> bool:
            return text.encode() in started.errors

        with started.spoke:
            started.spoke.wait_for(lambda: said(PROMPT) or said(READY) or started.closed, SUDO_SECONDS)
            prompted = said(PROMPT)
        if prompted:
            started.send(password.encode() + b"\n")
            started.errors = b""

    def _install_python(self, root: bool) -> None:
        if not self.may_install:
            hint = "run `fab provision`: it installs python3 first"
            raise HostError("there is no python3 on the server", self.where, "nothing was changed", hint)
        installing = self.link.start(install_python_command(root, self.password is not None))
        if not root and self.password is not None:
            self._answer_prompt(installing, self.password)
        said = []
        while (line := installing.line()) is not None:
            said.append(line.decode(errors="replace"))
        status, errors = installing.end()
        if status == Status.NO_PYTHON:
            what = "the server has neither python3 nor apt-get: it is not Debian or Ubuntu"
            raise HostError(what, self.where, "nothing was changed", "use a server with Debian or Ubuntu")
        if self._may_ask(status, errors):
            self._install_python(root)
        elif status:
            raise self._cannot(status, plain(errors) or "\n".join(said[-15:]))

    def _cannot(self, status: int, errors: str) -> HostError:
        user = self.link.user
        quoted = plain(errors)
        hint = f"connect as root, or let {user} use sudo (`usermod -aG sudo {user}`, as root)"
        if status == Status.NO_SUDO:
            what = f"{user} is not root, and sudo is not installed on the server"
        elif status == Status.OLD_PYTHON:
            what, hint = (
                f"the server's Python is {quoted}; Ashore needs 3.10 or later",
                "use Debian 12 or Ubuntu 22.04, or later",
            )
        elif "password is required" in errors:
            what = f"sudo on the server needs {user}'s password"
            hint = "run it at a terminal, where you are asked once, or use --prompt-for-sudo-password"
        elif self.password is not None and ("try again" in errors or "incorrect password" in errors):
            what, quoted = f"sudo did not accept the password of {user}", ""
            hint = "run the same command again and retype it"
        elif "sudoers" in errors or "not allowed" in errors or "may not run" in errors:
            what = f"{user} may not use sudo on the server"
        elif status == -1:
            what, hint = "the connection was lost while the agent was starting", "run the same command again"
        else:
            what, hint = f"the agent did not start (exit status {status})", "see the server's output above"
        return HostError(what, self.where, "nothing was changed", hint, quoted)

    def send(self, message: Any) -> None:
        if self.running is not None:
            self.running.send(frame(message))

    def request(
        self,
        message: dict[str, Any],
        on_event: Callable[[Event], None] = lambda event: None,
        behind: Iterable[bytes] = (),
    ) -> Any:
        """Ask, hand every event to `on_event`, and return the answer: a `Reply` or an `End`, as the request has it.

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
            "the SSH connection was lost" if status == -1 else f"the agent ended too early (exit status {status})",
            self.where,
            "the server finishes or undoes by itself what it had started",
            "run the same command again: it shows how this run ended, and finishes it",
            plain(errors),
        )

    def _ask(self, message: dict[str, Any]) -> Channel:
        needed = modules_for(message)
        if message["request"] != "ask":  # a look, also at what has just been done
            self._require_wanted()
        if self.running is None:
            self.running = self._start(frame(message), needed)
            return self.running
        lacking = set() if self.ci else needed - self.modules
        more = frame({"request": "modules", "sources": sources(lacking)}) if lacking else b""
        self.running.send(more + frame(message))
        self.modules |= lacking
        return self.running

    def ask(self, question: Callable[Words, Answer], *none: Words.args, **words: Words.kwargs) -> Answer:
        """What a function of the agent answers, called on the server: `ask(facts.releases, app=…, app_directory=…)`."""
        assert not none, "by name"
        module = question.__module__.rpartition(".")[2]
        message = {"request": "ask", "module": module, "question": question.__name__, **words}
        answer: Answer = self.request(message)["answer"]
        return answer

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
    ) -> End:
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
    ) -> End:
        """Ask for something that may want files of ours on the way, as `plan` tells of them."""

        def show(event: Event) -> None:
            if event["event"] != "missing":
                on_event(event)
            elif ahead is None:
                for blob in blobs(event["indices"]):
                    self.send(blob)

        end: End = self.request(message, show, blobs(ahead) if ahead else ())
        return end

    def cancel(self) -> None:
        told = self.running or self._starting
        if told is not None:
            told.send(frame({"request": "cancel"}))

    def close(self) -> None:
        """Take leave: the agent ends, and knows that its last end was heard."""
        self._closed.set()
        if self.running is not None:
            self.running.send_last(frame({"request": "bye"}))


def failure(end: End, where: str) -> StepFailed:
    """The error that an agent's "end" tells of; its `state` says how the plan left the server."""
    if "stands" in end:
        state = end["stands"]
    elif not end["applied"]:
        state = "nothing was changed"
    elif "serves" in end and not end["switched"]:
        state = ""  # see `session.execute.left_as`
    elif end.get("undo_errors"):
        state = "not everything could be undone:\n" + "\n".join(end["undo_errors"])
    elif end["switched"]:
        state = "the new release serves; the steps after the switch were not finished"
    else:
        state = ""
    step = f"{where}, step: {end['step']}" if end["step"] else where
    return StepFailed(end["what"], step, state, end["hint"], end["detail"])
