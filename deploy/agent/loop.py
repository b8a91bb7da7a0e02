"""The agent's conversation: requests in on stdin, events out on stdout, one lock, one end.

Once it has a plan it needs nobody: the link may drop, it finishes (or undoes) and notes how it ended for the next
command to show.
"""

import fcntl
import json
import os
import queue
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any, BinaryIO

from .engine import blame, carry_out
from .resources import KINDS
from .system import System
from .wire import Cancelled, Refused, read_frame, unpack

LOCK = "/run/ashore.lock"
LAST_RUN = "/var/lib/ashore/last-run.json"  # exists from a run's first change until its operator has heard the end


class Conversation:
    def __init__(self, stdin: BinaryIO, stdout: BinaryIO) -> None:
        self.stdin, self.stdout = stdin, stdout
        self.messages: queue.Queue[Any] = queue.Queue(maxsize=16)
        self.cancelled = threading.Event()
        self.gone = threading.Event()
        self.lock: Any = None
        self.writing = threading.Lock()

    def emit(self, event: dict[str, Any]) -> None:
        """One event to the operator; to nobody, once the link is gone."""
        with self.writing, suppress(OSError, ValueError):
            self.stdout.write(json.dumps(event, separators=(",", ":")).encode() + b"\n")
            self.stdout.flush()

    def listen(self) -> None:
        while (message := read_frame(self.stdin)) is not None:
            if isinstance(message, dict) and message.get("request") == "cancel":
                self.cancelled.set()
            self.messages.put(message)
        self.gone.set()
        self.messages.put(None)

    def next_blob(self) -> Any:
        message = self.messages.get()
        if isinstance(message, dict) and message.get("request") == "cancel":
            raise Cancelled("stopped by the operator during the upload")
        return message

    def serve(self) -> None:
        for message in iter(self.messages.get, None):
            if isinstance(message, bytes):
                continue  # the rest of an upload that was given up
            if message["request"] == "bye":
                self.heard()
                return
            if message["request"] == "cancel":
                continue  # it came between two requests: nothing to stop
            if message["request"] == "modules":
                sys.modules["__main__"].SOURCES.update(message["sources"])
                continue
            self.cancelled.clear()
            try:
                self.emit(getattr(self, "answer_" + message.pop("request"))(**message))
            except Exception as error:  # told to the operator as the request's end
                self.emit(
                    {"event": "end", "step": "", "applied": False, "switched": False, "changed": 0} | blame(error)
                )

    def answer_survey(self, app_directory: str, lock: str, who: str) -> dict[str, Any]:
        from .resources.host import survey

        if lock:
            self.take_lock(lock, who)
        return {"event": "reply", **survey(app_directory)}

    def answer_missing(self, app_directory: str, manifest: list[Any]) -> dict[str, Any]:
        from .resources.uploads import Entry, known_files, stored_name

        have = known_files(app_directory)
        new = {
            stored_name(e): e.size
            for e in (Entry(*m) for m in manifest)
            if e.kind != "l" and stored_name(e) not in have
        }
        return {"event": "reply", "files": len(new), "bytes": sum(new.values())}

    def answer_upload(self, app_directory: str, manifest: list[Any]) -> dict[str, Any]:
        from .resources.uploads import receive

        system = System((), self.emit, self.cancelled.is_set)
        return {"event": "reply", **receive(app_directory, manifest, self.next_blob, system)}

    def answer_logs(self, **wanted: Any) -> dict[str, Any]:
        from .journal import follow

        return follow(self.emit, lambda: self.gone.is_set() or self.cancelled.is_set(), **wanted)

    def answer_plan(self, plan: dict[str, Any], units: list[str], check: bool, who: str) -> dict[str, Any]:
        system = System(units, self.emit, self.cancelled.is_set)
        system.ask_systemd()  # it answers while the plan is unpacked and the files are looked at
        made = unpack(plan, KINDS)
        if not check:
            self.take_lock(made.verb, who)
        started = {"verb": made.verb, "who": who, "started": int(time.time())}
        applied = False

        def before() -> None:
            nonlocal applied
            applied = True
            self.note({**started, "state": "running"})

        end = carry_out(made, system, check=check, before=before)
        if applied:
            self.note({**started, "state": end["state"], "what": end.get("what", ""), "step": end.get("step", "")})
        self.release_lock()
        return end

    def take_lock(self, verb: str, who: str) -> None:
        if self.lock is not None:
            return
        lock = os.fdopen(os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o644), "r+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(busy(lock.read()), "wait for it to end, then run again") from None
        lock.truncate(0)
        lock.write(json.dumps({"verb": verb, "who": who, "since": int(time.time())}))
        lock.flush()
        self.lock = lock

    def release_lock(self) -> None:
        if self.lock is not None:
            self.lock.close()
            self.lock = None

    def note(self, run: dict[str, Any]) -> None:
        os.makedirs(os.path.dirname(LAST_RUN), 0o755, exist_ok=True)
        with suppress(OSError), open(LAST_RUN, "w", encoding="utf-8") as file:  # a full disk must not stop the undo
            json.dump(run, file)

    def heard(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(LAST_RUN)


def busy(holder: str) -> str:
    try:
        held = json.loads(holder)
        since = time.strftime("%H:%M:%S UTC", time.gmtime(held["since"]))
        return f"{held['who']} is at work on this server: `{held['verb']}`, since {since}"
    except (ValueError, KeyError):
        return "somebody else is at work on this server"


def last_run() -> dict[str, Any] | None:
    """How the last run ended that its operator has not heard the end of; None while it still runs."""
    try:
        with open(LAST_RUN, encoding="utf-8") as file:
            found: dict[str, Any] = json.load(file)
        with open(LOCK, encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except (OSError, ValueError):
        if not os.path.exists(LAST_RUN) or os.path.exists(LOCK):
            return None
    return found


def main() -> None:
    """Serve one operator on this process's stdin and stdout."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the link dropped: the plan goes on
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o022)
    with suppress(PermissionError):  # where we lead our process group already
        os.setsid()
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray print must not break the conversation
    conversation = Conversation(sys.stdin.buffer, stdout)
    conversation.emit({"event": "hello", "last": last_run()})
    threading.Thread(target=conversation.listen, daemon=True).start()
    conversation.serve()
    with suppress(OSError):
        stdout.close()
    os._exit(0)  # the listening thread may be inside a read
