"""The agent's conversation: requests in on stdin, events out on stdout, one lock, one end.

Once it has a plan it needs nobody: the link may drop, it finishes (or undoes) and notes how it ended for the next
command to show.
"""

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any, BinaryIO

from . import history, operators
from .engine import blame, carry_out
from .locks import Holder, Locks
from .overrule import Overrule
from .resources import KINDS
from .system import System
from .wire import BY_US, Cancelled, Entry, Plan, read_frame, unpack

Run = dict[str, Any]
WITHOUT_LOCK = ("ci.key",)  # taking a key away must not wait for what that key is at


class Conversation:
    def __init__(self, stdin: BinaryIO, stdout: BinaryIO) -> None:
        self.stdin, self.stdout = stdin, stdout
        self.messages: queue.Queue[Any] = queue.Queue(maxsize=16)
        self.cancelled = threading.Event()
        self.gone = threading.Event()
        self.locks = Locks()
        self.told: set[str] = set()  # apps whose last run this operator has heard the end of
        self.waiting_for = ""
        self.manifest: list[Entry] = []
        self.writing = threading.Lock()

    def emit(self, event: dict[str, Any]) -> None:
        """One event to the operator; to nobody, once the link is gone."""
        with self.writing, suppress(OSError, ValueError):
            self.stdout.write(json.dumps(event, separators=(",", ":")).encode() + b"\n")
            self.stdout.flush()

    def stopping(self) -> str:
        """Why what is under way is to stop, in words; "" as long as it is not."""
        return BY_US if self.cancelled.is_set() else ""

    def listen(self) -> None:
        while (message := read_frame(self.stdin)) is not None:
            if isinstance(message, dict) and message.get("request") == "cancel":
                self.cancelled.set()
            self.messages.put(message)
        self.gone.set()
        self.messages.put(None)

    def next_blob(self) -> Any:
        message = self.messages.get()
        if message is None:
            self.messages.put(None)  # `serve` is to meet the end, too
        if isinstance(message, dict) and message.get("request") == "cancel":
            raise Cancelled(f"{BY_US} during the upload")
        return message

    def answer(self, seconds: float) -> Any:
        """The operator's next message; None where none comes within that time, or the link is gone."""
        with suppress(queue.Empty):
            message = self.messages.get(timeout=max(0, seconds))
            if message is None:
                self.messages.put(None)
            return message
        return None

    def serve(self) -> None:
        for message in iter(self.messages.get, None):
            if isinstance(message, bytes):
                continue  # the rest of an upload that was given up
            if message["request"] == "bye":
                for app in self.told:
                    history.heard(app)
                return
            if message["request"] in ("cancel", "proved"):
                continue  # it came between two requests: nothing to stop, nobody who waits for it
            if message["request"] == "modules":
                sys.modules["__main__"].SOURCES.update(message["sources"])
                continue
            self.cancelled.clear()
            try:
                self.emit(getattr(self, "answer_" + message.pop("request"))(**message))
            except Exception as error:  # told to the operator as the request's end
                self.fail(error)

    def fail(self, error: Exception) -> None:
        self.locks.release()
        self.emit({"event": "end", "step": "", "applied": False, "switched": False, "changed": 0} | blame(error))

    def answer_survey(
        self, app: str, app_directory: str, lock: Run | None, wait: bool, manifest: list[Any] | None, compare: bool
    ) -> Run:
        """lock: who wants to do what, {"verb", "who"}; None only to look. manifest: of the source that may travel."""
        from .facts import missing, survey

        self.begin(app, lock, wait=wait)
        reply = {"event": "reply", **survey(app, app_directory)}
        if manifest is not None:
            self.manifest = [Entry(*item) for item in manifest]
            reply |= missing(app_directory, manifest, compare)
        return reply

    def answer_ask(self, module: str, question: str, **words: Any) -> Run:
        """What `agent.MODULE.QUESTION(**words)` answers: a look that takes no lock."""
        found = getattr(import_module(f"{__package__}.{module}"), question)(**words)
        return {"event": "reply", "answer": found}

    def answer_logs(self, **wanted: Any) -> Run:
        from .journal import follow

        return follow(self.emit, lambda: self.gone.is_set() or self.cancelled.is_set(), **wanted)

    def answer_run(self, app: str, command: list[str], tty: Run | None) -> Run:
        from .oneoff import run

        return run(self.emit, self.messages, lambda: self.gone.is_set() or self.cancelled.is_set(), app, command, tty)

    def answer_plan(self, plan: dict[str, Any], units: list[str], check: bool, run: Run, wait: bool, halt: str) -> Run:
        """run: what goes into the history, {"app", "verb", "who", …}; a verb "provision" wants the host for itself."""
        system = self.look(units)  # systemd answers while the plan is unpacked
        return self.carry_out(unpack(plan, KINDS), system, check=check, run=run, wait=wait, halt=halt)

    def look(self, units: list[str]) -> System:
        system = System(units, self.emit, self.stopping)
        system.ask_systemd()
        system.alone = lambda name: self.locks.alone(name, system.stop_if_cancelled)
        system.manifest, system.next_blob, system.answer = self.manifest, self.next_blob, self.answer
        return system

    def carry_out(self, plan: Plan, system: System, *, check: bool, run: Run, wait: bool, halt: str = "") -> Run:
        app = run["app"]
        self.begin(app, None if check else run, wait=wait)
        run = {"started": history.now(), **run}
        applied = False
        note = history.note if run["verb"] not in WITHOUT_LOCK else lambda app, run: None  # that is another run's

        def before() -> None:
            nonlocal applied
            applied = True
            note(app, {**run, "state": "running"})

        end = carry_out(plan, system, check=check, before=before, halt=halt)
        if applied:
            operators.welcome()  # the run may have made the firewall
            history.write(app, history.line(run, end))
            note(app, {**run, **{key: end.get(key, "") for key in ("state", "what", "step")}})
        self.locks.release()
        return end

    def begin(self, app: str, run: Run | None, *, wait: bool) -> None:
        """Take the locks for a run, and tell how the last one ended if nobody has heard of it. None: only to look."""
        locked = run is not None and run["verb"] not in WITHOUT_LOCK
        if run is not None and locked:
            patience = self.wait_for_lock if wait else None
            whole_host = run["verb"] == "provision"
            self.locks.take(app, self.holder(run), whole_host=whole_host, wait=patience, outrank=self.outrank(app))
        if run is not None:
            operators.welcome()
        if not locked and self.locks.busy(app):
            return  # the last run is still under way
        if app in self.told:
            return
        last = history.unheard(app)
        if last and last["state"] == "running":
            last["state"] = "cut off"
            if locked:
                history.write(app, history.cut_off(last))
                history.note(app, last)
        if last:
            self.emit({"event": "last", "run": last})
        self.told.add(app)

    def holder(self, run: Run) -> Holder:
        """What a second one is told of us."""
        return {"verb": run["verb"], "who": run["who"]}

    def outrank(self, app: str) -> Callable[[Holder], bool]:
        return Overrule(app, self.emit)

    def wait_for_lock(self, holder: str) -> bool:
        if holder != self.waiting_for:
            self.waiting_for = holder
            self.emit({"event": "waiting", "holder": holder})
        return bool(self.stopping()) or self.gone.is_set()


def main() -> None:
    """Serve one operator on this process's stdin and stdout."""
    converse(Conversation(sys.stdin.buffer, by_itself()), {"event": "hello"})


def by_itself() -> BinaryIO:
    """This process goes on whoever goes away; returns where to write to the operator."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the link dropped: the plan goes on
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o022)
    with suppress(PermissionError):  # where we lead our process group already
        os.setsid()
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray print must not break the conversation
    return stdout


def converse(conversation: Conversation, hello: Run) -> None:
    conversation.emit(hello)
    threading.Thread(target=conversation.listen, daemon=True).start()
    conversation.serve()
    with suppress(OSError):
        conversation.stdout.close()
    os._exit(0)  # the listening thread may be inside a read
