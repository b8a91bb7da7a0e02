"""The agent running on a host: plan out, events in.

Its source travels in the first bytes of the channel and runs from memory; nothing of it is left on the server.
"""

import json
import os
import threading
from collections.abc import Callable, Iterable, Set
from typing import Any, ParamSpec, TypeVar

from ..agent import layout
from ..agent.events import End, Event
from ..agent.wire import BEAT_SECONDS, Plan, Secret, frame
from ..errors import HostError, Interrupted
from .channel import Channel, HostLink
from .failures import dropped, failure, not_started
from .payload import PROMPT, READY, Status, command, core, install_python_command, modules_for, payload, plain, sources
from .slim.prepared import Prepared

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
        ask_password: Callable[[str], Secret | None],
        interrupted: threading.Event,
        *,
        may_install: bool,
    ) -> None:
        self.link = link
        self.ask_password = ask_password
        self.interrupted = interrupted
        self.may_install = may_install
        self.password = link.password
        self.running: Channel | None = None
        self.modules: set[str] = set()
        self.ci = ""  # the app whose CI key let us in: then the server makes the plans
        self._opened: Channel | None = None
        self._starting: Channel | None = None  # the first request is on its way
        self._looked: Channel | None = None  # what has looked, and would become the agent
        self._start_or_cancel = threading.Lock()  # either nothing is sent, or `cancel` comes behind it
        self._closed = threading.Event()

    @property
    def ours(self) -> bool:
        """Whether what answers is the agent that we sent, which takes more modules, and ends if it hears nothing."""
        return not self.ci

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

    def _start(self, first: bytes, modules: set[str]) -> Channel:
        """Start the agent and send the first request along, so that starting costs no round trip of its own."""
        code = payload(frozenset(modules))
        started, self._looked = self._looked, None
        if started is None:
            started = self._begin(code + first)
        else:
            self._send_first(started, code + first)
            if started.line() is None:
                raise dropped(*started.end(), self.where)
        self.modules = set(core() | modules)
        if self.ours:
            threading.Thread(target=self._beat, args=(started,), daemon=True).start()
        return started

    def _begin(self, first: bytes, retry: bool = True) -> Channel:
        """What runs on the server once it has said hello. first: what it reads first, its own source before all."""
        root = self.link.user == "root"
        started, self._opened = self._opened, None
        if started is None:
            started = self.link.start(command(root, self.password is not None))
        if not root and self.password is not None:
            self._answer_prompt(started, self.password)
        self._send_first(started, first)
        hello = started.line()
        if hello is not None:
            self.ci = self._greeted(hello)
            return started
        status, errors = started.end()
        if status in (Status.NO_PYTHON, Status.PARTIAL_PYTHON) and retry:
            self._install_python(root)
            return self._begin(first, retry=False)
        if self._may_ask(status, errors):
            return self._begin(first, retry)
        raise not_started(status, errors, self.link.user, self.password, self.where)

    def _send_first(self, started: Channel, first: bytes) -> None:
        with self._start_or_cancel:
            self._require_wanted()
            started.send(first)
            self._starting = started

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
        if "ci" in said and said["protocol"] != layout.PROTOCOL:
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

    def _answer_prompt(self, started: Channel, password: Secret) -> None:
        """Answer sudo's prompt, if it has one; before it comes, the password could land in the agent's own input."""

        def said(text: str) -> bool:
            return text.encode() in started.errors

        with started.spoke:
            started.spoke.wait_for(lambda: said(PROMPT) or said(READY) or started.closed, SUDO_SECONDS)
            prompted = said(PROMPT)
        if prompted:
            started.send(password.value.encode() + b"\n")
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
            raise not_started(status, plain(errors) or "\n".join(said[-15:]), self.link.user, self.password, self.where)

    def send(self, message: Any) -> None:
        if self.running is not None:
            self.running.send(frame(message))

    def request(
        self,
        message: dict[str, Any],
        on_event: Callable[[Event], None] = lambda event: None,
        behind: Iterable[bytes] = (),
        soon: frozenset[str] = frozenset(),
    ) -> Any:
        """Ask, hand every event to `on_event`, and return the answer: a `Reply` or an `End`, as the request has it.

        behind: bytes that follow the question without waiting for anything. soon: modules for what is asked next, which
        are sent together with the first question of a conversation.
        Raises StepFailed for an end that is not "ok", and ConnectionFailed where the link drops before the end.
        """
        running = self._ask(message, soon)
        for blob in behind:
            self.send(blob)
        return self._answer(running, on_event)

    def _answer(self, running: Channel, on_event: Callable[[Event], None]) -> Any:
        while (line := running.line()) is not None:
            event = json.loads(line)
            if event["event"] in ("looked", "whole"):
                return event
            if event["event"] == "end" and event["state"] != "ok":
                on_event(event)
                raise failure(event, self.where)
            on_event(event)
            if event["event"] in ("end", "reply"):
                return event
        raise dropped(*running.end(), self.where)

    def _ask(self, message: dict[str, Any], soon: frozenset[str]) -> Channel:
        needed = modules_for(message)
        if message["request"] != "ask":  # a look, also at what has just been done
            self._require_wanted()
        if self.running is None:
            more = set() if self.link.user == layout.ci_user(message.get("app", "")) else soon - needed
            self.running = self._start(frame(message) + frame_of(more), needed)
            self.modules |= more
            return self.running
        lacking = needed - self.modules if self.ours else set()
        self.running.send(frame_of(lacking) + frame(message))
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
        message = {"request": "plan", "plan": plan, "units": plan.units, "asks": plan.asks}
        message |= {"check": check, "run": run, "wait": wait, "halt": halt()}
        return self.carry(message, on_event, blobs, ahead)

    def look(
        self, look: Prepared, *, check: bool, run: dict[str, Any], on_event: Callable[[Event], None]
    ) -> End | None:
        """How a plan ends on a server that is as planned, see `agent.look`; None where the plan has to be carried out.

        The events come only at its end, all or none.
        """
        if halt() or self.running is not None or self._looked is not None:
            return None
        run = {key: run[key] for key in ("app", "verb")}
        request = {"request": "plan", "check": check, "run": run, **look.request}
        started = self._begin(look.code + frame(request))
        if self.ours:
            self._looked = started
        else:
            self.running = started
        answer = self._answer(started, on_event)
        if answer["event"] != "looked":
            return None
        *steps, end = look.events(answer)
        for event in (*steps, end):
            on_event(event)
        ended: End = end
        return ended

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
        with self._start_or_cancel:
            told = self.running or self._starting
            if told is not None:
                told.send(frame({"request": "cancel"}))

    def close(self) -> None:
        """Take leave: the agent ends, and knows that its last end was heard."""
        self._closed.set()
        if self.running is not None:
            self.running.send_last(frame({"request": "bye"}))
        elif self._looked is not None:
            self._looked.send_last(b"")


def frame_of(modules: Set[str]) -> bytes:
    """What brings more modules; nothing for none."""
    return frame({"request": "modules", "sources": sources(modules)}) if modules else b""


def halt() -> str:
    """Where a test has a run stand still, see `agent.halting`."""
    return os.environ.get("ASHORE_HALT", "")
