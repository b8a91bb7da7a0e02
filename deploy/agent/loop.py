"""The agent's conversation: requests in on stdin, events out on stdout, one lock, one end.

Once it has a plan it needs nobody: the link may drop, it finishes (or undoes) and notes how it ended for the next
command to show. Until then it waits for its operator for as long as it hears of them: a link can die without a word.
"""

import gc
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO

from . import history, operators
from .engine import blame, carry_out
from .locks import Holder, Locks, described
from .outgoing import Outgoing
from .overrule import LOCK_BROKEN, Breaking, Overrule, broken_by
from .resources import KINDS
from .system import System
from .wire import Cancelled, Entry, Plan, Stopped, read_frame, unpack

if TYPE_CHECKING:
    from .events import End, Event, Hello, Reply

Run = dict[str, Any]
WHOLE_HOST = ("provision", "remove")  # one at a time on a server: they change what apps share, such as the firewall
WITHOUT_LOCK = ("ci.key",)  # taking a key away must not wait for what that key is at
DOUBT_SECONDS = 10  # having heard nothing for so long, a run that waits for its operator may lose its lock to another
SILENT_SECONDS = 30  # after so long it gives up by itself; and a command of `fab run` is ended
LINGER_SECONDS = 900  # for an operator who comes back to hear how it ended: without a lock, and nothing is to be done
LEAVE_SECONDS = 10  # for what is still to be written when the operator's side has ended
LOOK_SECONDS = 0.2
LATE = (
    "cancel",
    "proved",
)  # between two requests: nothing to stop, nobody who waits for it. Bytes: the rest of an upload


class Conversation:
    def __init__(self, stdin: BinaryIO, stdout: BinaryIO) -> None:
        self.stdin, self.stdout = stdin, stdout
        self.outgoing = Outgoing(stdout)
        self.messages: queue.Queue[Any] = queue.Queue(maxsize=16)
        self.cancelled = threading.Event()
        self.gone = threading.Event()
        self.locks = Locks()
        self.told: set[str] = set()  # apps whose last run this operator has heard the end of
        self.waiting_for = ""
        self.manifest: list[Entry] = []
        self.heard_at = time.monotonic()
        self.overruled = ""  # why all that this conversation does is to end
        self.handlers: dict[str, Callable[..., Any]] = {
            "survey": self.answer_survey,
            "ask": self.answer_ask,
            "logs": self.answer_logs,
            "run": self.answer_run,
            "job": self.answer_job,
            "plan": self.answer_plan,
            "modules": self.take_modules,
        }
        self.begun: Run = {}  # what has a lock and no plan yet, as for the history

    def emit(self, event: "Event") -> None:
        """One event to the operator; to nobody, once the link is gone."""
        self.outgoing.put(event, self.lost)

    def stopping(self) -> Cancelled | None:
        """Why what is under way is to stop; None as long as it is not."""
        return Cancelled(self.overruled) if self.overruled else Stopped() if self.cancelled.is_set() else None

    def lost(self) -> bool:
        """Whether nobody waits any more for what is being looked up, or has a use for it."""
        return self.gone.is_set() or self.cancelled.is_set() or self.silence() > SILENT_SECONDS

    def heard(self) -> None:
        self.heard_at = time.monotonic()

    def silence(self) -> float:
        """For how many seconds nothing was heard of the operator's side, which speaks every BEAT_SECONDS."""
        return time.monotonic() - self.heard_at

    def listen(self) -> None:
        while (message := read_frame(self.stdin, self.heard)) is not None:
            if isinstance(message, dict) and message.get("request") == "cancel":
                self.cancelled.set()
            if not (isinstance(message, dict) and message.get("request") == "alive"):
                self.messages.put(message)
        self.gone.set()
        self.messages.put(None)

    def obey(self) -> None:
        """From now on, another operator can have us end by a signal, see `agent.overrule`."""
        signal.signal(LOCK_BROKEN, lambda *_: self.give_way())

    def give_way(self) -> None:
        if self.locks.held:
            self.overruled = broken_by(self.locks.holder["app"], self.locks.directory)

    def next_message(self) -> Any:
        """What the operator says next, None at the end; Cancelled where that was waited for in vain, or is to end."""
        began = time.monotonic()
        while True:
            with suppress(queue.Empty):
                message = self.messages.get(timeout=LOOK_SECONDS)
                self.locks.tell_silence(False)
                return message
            silence = min(self.silence(), time.monotonic() - began)
            self.locks.tell_silence(silence > DOUBT_SECONDS)
            if self.overruled and self.locks.held:
                raise Cancelled(self.overruled)
            if silence > (SILENT_SECONDS if self.locks.held else LINGER_SECONDS):
                why = "it is suspended, or the connection is lost"
                raise Cancelled(f"nothing was heard from the operator for {silence:.0f} s: {why}")

    def next_blob(self) -> Any:
        message = self.next_message()
        if message is None:
            self.messages.put(None)  # `serve` is to meet the end, too
        if isinstance(message, dict) and message.get("request") == "cancel":
            raise Stopped(" during the upload")
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
        while (message := self.request()) is not None:
            if isinstance(message, bytes) or message["request"] in LATE:
                continue
            if message["request"] == "bye":
                self.part()
                return
            try:
                if (reply := self.reply(message.pop("request"), message)) is not None:
                    self.emit(reply)
            except Exception as error:  # told to the operator as the request's end
                self.fail(error)

    def reply(self, request: str, words: dict[str, Any]) -> Any:
        """What the handler of a request answers; None for nothing."""
        return self.handlers[request](**words)

    def part(self) -> None:
        """The operator takes leave, and has heard how the last runs ended."""
        for app in self.told:
            history.heard(app)

    def take_modules(self, sources: dict[str, str]) -> None:
        """Modules for what comes next. They are loaded at once: the operator's side may still be planning."""
        sys.modules["__main__"].SOURCES.update(sources)
        gc.disable()  # to compile them makes no garbage, and to look for it takes a fifth of the time
        with suppress(Exception):  # what is wrong with them is told when they are needed
            for name in sources:
                import_module(name)
        gc.enable()

    def request(self) -> Any:
        """The next message; None at the end, or where a run that has the lock was given up."""
        try:
            return self.next_message()
        except Cancelled as error:
            if self.locks.held and self.begun:
                history.write(self.begun["app"], history.line(self.begun, blame(error)))
            self.fail(error)
            return None

    def fail(self, error: Exception) -> None:
        self.locks.release()
        self.emit(blame(error) | {"step": "", "applied": False, "switched": False, "changed": 0})

    def answer_survey(
        self, app: str, app_directory: str, lock: Run | None, wait: bool, manifest: list[Any] | None, compare: bool
    ) -> "Reply":
        """lock: who wants to do what, {"verb", "who"}; None only to look. manifest: of the source that may travel."""
        from .questions.facts import missing, survey

        self.begin(app, lock, wait=wait)
        reply: Any = {"event": "reply", **survey(app, app_directory)}
        if manifest is not None:
            self.manifest = [Entry(*item) for item in manifest]
            reply |= missing(app_directory, manifest, compare)
        return reply  # type: ignore[no-any-return]

    def answer_ask(self, module: str, question: str, **words: Any) -> "Reply":
        """What the function QUESTION of the agent's module of that (last) name answers: a look that takes no lock."""
        home = next(name for name in sys.modules["__main__"].SOURCES if name.endswith(f".{module}"))
        return {"event": "reply", "answer": getattr(import_module(home), question)(**unpack(words, {}))}

    def answer_logs(self, **wanted: Any) -> "End":
        from .questions.journal import follow

        return follow(self.emit, self.lost, **wanted)

    def answer_run(self, app: str, command: list[str], tty: Run | None) -> "End":
        from .questions.oneoff import run

        return run(self.emit, self.messages, self.lost, app, command, tty)

    def answer_job(self, app: str, name: str) -> "End":
        from .questions.jobs import run_now

        return run_now(self.emit, self.lost, app, name)

    def answer_plan(
        self, plan: Run, units: list[str], asks: list[list[str]], check: bool, run: Run, wait: bool, halt: str
    ) -> "End":
        """run: what goes into the history, {"app", "verb", "who", …}; one of WHOLE_HOST wants the host for itself.

        halt: see `agent.halting`; "" for nobody but tests.
        """
        system = self.look(units, asks)  # the commands run while the plan is unpacked
        if halt:
            from .halting import Halting

            system.observer = Halting(halt, self.emit)
        return self.carry_out(unpack(plan, KINDS), system, check=check, run=run, wait=wait)

    def look(self, units: list[str], asks: Iterable[Iterable[str]]) -> System:
        system = System(units, self.emit, self.stopping)
        system.ask(system.states, *map(tuple, asks))
        system.alone = lambda name: self.locks.alone(name, system.operator.stop_if_cancelled)
        system.operator.manifest, system.operator.next_blob, system.operator.answer = (
            self.manifest,
            self.next_blob,
            self.answer,
        )
        return system

    def carry_out(self, plan: Plan, system: System, *, check: bool, run: Run, wait: bool) -> "End":
        app = run["app"]
        if why := self.stopping():  # that came while the plan was being made
            raise why
        self.begin(app, None if check else run, wait=wait)
        if self.waiting_for:  # another run may have changed what was asked meanwhile
            system.forget()
        self.begun = {}
        run = {"started": history.now(), **{key: value for key, value in run.items() if key != "break_lock"}}
        applied = False
        note = history.note if run["verb"] not in WITHOUT_LOCK else lambda app, run: None  # that is another run's

        def before() -> None:
            nonlocal applied
            applied = True
            note(app, {**run, "state": "running"})

        end = carry_out(plan, system, check=check, before=before)
        if applied:
            operators.welcome()  # the run may have made the firewall
            history.write(app, history.line(run, end))
            note(app, history.ended(run, end))
        self.locks.release()
        return end

    def begin(self, app: str, run: Run | None, *, wait: bool) -> None:
        """Take the locks for a run, and tell how the last one ended if nobody has heard of it. None: only to look."""
        locked = run is not None and run["verb"] not in WITHOUT_LOCK
        if run is not None and locked:
            patience = self.wait_for_lock if wait or run.get("break_lock") else None
            whole_host = run["verb"] in WHOLE_HOST
            outrank = self.outrank(app, run, wait)
            self.locks.take(app, self.holder(run), whole_host=whole_host, wait=patience, outrank=outrank)
            self.begun = {"started": history.now(), "app": app, "verb": run["verb"], "who": run["who"]}
        if run is not None:
            operators.welcome()
        if not locked and self.locks.busy(app):
            return  # the last run is still under way
        if app in self.told:
            return
        last: Any = history.unheard(app)
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

    def outrank(self, app: str, run: Run, wait: bool) -> Callable[[Holder], bool]:
        overrule, anyway = Overrule(app, self.emit), bool(run.get("break_lock"))
        breaking = Breaking(run["who"], self.emit, anyway=anyway)

        def outranked(holder: Holder) -> bool:
            if overrule(holder):
                return True
            if (wait or anyway) and breaking(holder):
                self.waiting_for = described(holder)  # this was said
            return False

        return outranked

    def wait_for_lock(self, holder: str) -> bool:
        if holder != self.waiting_for:
            self.waiting_for = holder
            self.emit({"event": "waiting", "holder": holder})
        return bool(self.stopping()) or self.lost()

    def leave(self) -> None:
        """Say what is still to be said: to one who is suspended, once they are back; to one who has gone, shortly."""
        began = time.monotonic()

        def late() -> bool:
            return time.monotonic() - began > (LEAVE_SECONDS if self.gone.is_set() else LINGER_SECONDS)

        self.outgoing.finish(late)


def main() -> None:
    """Serve one operator on this process's stdin and stdout."""
    conversation = Conversation(sys.stdin.buffer, by_itself())
    conversation.obey()
    converse(conversation, {"event": "hello"})


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


def converse(conversation: Conversation, hello: "Hello") -> None:
    conversation.emit(hello)
    threading.Thread(target=conversation.listen, daemon=True).start()
    conversation.serve()
    conversation.leave()
    os._exit(0)  # the listening thread may be inside a read, the writing one inside a write that nobody takes
