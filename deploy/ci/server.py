"""The server's side of CI keys, as root: takes inputs, makes the plan itself, carries it out as every plan is.

systemd starts one of these for each connection to the app's socket, see templates/systemd/ci@.service.j2. It believes
nothing but which app it is for; which key it is, it hears from the relay, which is root's file.
"""

import ipaddress
import os
import queue
import re
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..agent import history, layout
from ..agent.constants import RELEASE_ID
from ..agent.dataclass import replace
from ..agent.locks import Holder
from ..agent.loop import Conversation, Run, by_itself, converse
from ..agent.overrule import KEYS_CHANGED, TAKEN_OVER
from ..agent.questions.facts import missing, releases, survey
from ..agent.resources.access.keys import keys_in
from ..agent.wire import Cancelled, Failed, Refused, Stopped
from ..config.reader import App
from ..errors import DeployError, HostError
from ..plan import decide
from ..plan.decide import Brought, By, Decision
from ..plan.facts import Facts
from ..plan.provision import require_provisioned
from . import VERBS, inputs, limits
from .frames import Malformed, Pace, read_line, read_message, skip_payload

if TYPE_CHECKING:
    from ..agent.events import End, Hello, Reply

IDLE_SECONDS = 60  # between two messages
LOOK_SECONDS = 0.2
SEND_SECONDS = 20  # who does not read what we say for so long, is not told any more
ASKED = ("facts", "releases")  # module and name of the one question that a key may ask
REVOKED = "this key was revoked"
NOT_OURS = "this is not the protocol of a CI key"


class Endpoint(Conversation):
    """One connection of one key. `key` and `origin` are the relay's word."""

    def __init__(self, stdin: BinaryIO, stdout: BinaryIO, app: str, idle_seconds: float = IDLE_SECONDS) -> None:
        super().__init__(stdin, stdout)
        self.app, self.idle_seconds = app, idle_seconds
        self.keys = layout.ci_keys(app)
        self.key = self.origin = ""
        self.malformed = False
        self.pace = Pace()
        self.handlers = {
            "survey": self.look_around,
            "ask": self.list_releases,
            "ci_deploy": self.deploy,
            "ci_rollback": self.rollback,
        }

    def holder(self, run: Run) -> Holder:
        return {**super().holder(run), "ci": self.key}

    def outrank(self, app: str, run: Run, wait: bool) -> Callable[[Holder], bool]:
        return lambda holder: False  # one key waits for another, and all wait for operators

    def obey(self) -> None:
        """From now on, an operator's agent can have us end by a signal, see `agent.overrule`."""
        signal.signal(TAKEN_OVER, lambda *_: self.overrule("an operator is working on the app now, and comes first"))
        signal.signal(KEYS_CHANGED, lambda *_: self.look_at_keys())

    def look_at_keys(self) -> None:
        self.overrule("" if self.known() else REVOKED)

    def overrule(self, why: str) -> None:
        self.overruled = self.overruled or why

    def silence(self) -> float:
        """A key's client does not say that it is there: `next_message` and `Pace` have bounds of their own."""
        return 0.0

    def listen(self) -> None:
        with suppress(OSError):
            try:
                self._greet(read_line(self.stdin, 200).decode("ascii", "replace").split())
                skip_payload(self.stdin)
                while (message := read_message(self.stdin, self.pace.count)) is not None:
                    if isinstance(message, dict) and message["request"] == "cancel":
                        self.cancelled.set()
                    self.messages.put(message)
            except Malformed:
                self.malformed = True
        self.gone.set()
        self.messages.put(None)

    def _greet(self, words: list[str]) -> None:
        if len(words) != 2:
            raise Malformed
        self.key = words[0]
        with suppress(ValueError):
            self.origin = str(ipaddress.ip_address(words[1]))

    def next_message(self) -> Any:
        """What comes next; queue.Empty where nothing does within `idle_seconds`, Cancelled where we are overruled."""
        deadline = time.monotonic() + self.idle_seconds
        while not self.overruled:
            try:
                return self.messages.get(timeout=min(LOOK_SECONDS, self.idle_seconds))
            except queue.Empty:
                if time.monotonic() > deadline:
                    raise
                self.pace.require()
        raise Cancelled(self.overruled)

    def next_blob(self) -> Any:
        self.pace.begin()
        try:
            message = self.next_message()
        except queue.Empty:
            raise Failed("the upload stalled", "deploy again") from None
        self.pace.require()  # also where single bytes come often
        if message is None:
            self.messages.put(None)  # `serve` is to meet the end, too
        if isinstance(message, dict) and message["request"] == "cancel":
            raise Stopped(" during the upload")
        return message

    def request(self) -> Any:
        """The next message; None at the end, after a long silence, and where we are overruled."""
        try:
            message = self.next_message()
        except queue.Empty:
            return None
        except Cancelled as overruled:
            self.fail(overruled)
            return None
        if message is None and self.malformed:
            self.fail(Refused(NOT_OURS))
        return message

    def part(self) -> None:
        """What an operator did, an operator is to hear of."""
        if (history.unheard(self.app) or {}).get("who", "").startswith(f"{layout.ci_user(self.app)} "):
            history.heard(self.app)

    def fail(self, error: Exception) -> None:
        super().fail(Refused(error.what, error.hint, error.detail) if isinstance(error, DeployError) else error)

    def reply(self, request: str, words: dict[str, Any]) -> "Reply | End":
        """By one of the handlers of a CI key, which check each of their words themselves."""
        self.require_key()
        handler = self.handlers.get(request)
        if handler is None or (request == "ask" and (words.get("module"), words.get("question")) != ASKED):
            run = words.get("run")
            raise self.no(run["verb"] if isinstance(run, dict) and isinstance(run.get("verb"), str) else request)
        answer: Reply | End = handler(words)
        return answer

    def no(self, what: str) -> Refused:
        asked = f" (it asked for: {what})" if re.fullmatch(r"[a-z.]{1,20}( on| off)?", what) else ""
        may = f"this key may only deploy, roll back and list the releases of {self.app}"
        return Refused(f"{may}{asked}", "connect as an operator: root, or a user with sudo")

    def known(self) -> bool:
        return self.key in {key["id"] for key in keys_in(self.keys)}

    def require_key(self) -> None:
        """It is still one: a connection may be older than a `fab ci.key --revoke`."""
        if not self.known():
            raise Refused(REVOKED, "an operator can create another: `fab ci.key`")

    def require_app(self, app: Any) -> None:
        if app != self.app:
            raise Refused(f"this key is only for {self.app}", "each app has its own keys")

    def look_around(self, message: dict[str, Any]) -> "Reply":
        kinds = {"app": str, "app_directory": str, "lock": (dict, type(None)), "wait": bool}
        kinds |= {"manifest": (list, type(None)), "compare": bool}
        app, _, lock, _, manifest, compare = inputs.fields(message, kinds)
        if lock is not None and lock.get("verb") not in VERBS:
            raise self.no(str(lock.get("verb")))
        self.require_app(app)
        home = layout.home(self.app)
        reply: Any = {"event": "reply", **survey(self.app, home)}  # no lock before there is something to do
        if manifest is not None:
            self.manifest = inputs.manifest(manifest)
            reply |= missing(home, self.manifest, compare)
        return reply  # type: ignore[no-any-return]

    def list_releases(self, message: dict[str, Any]) -> "Reply":
        kinds: dict[str, Any] = {"module": str, "question": str, "app": str, "app_directory": str}
        self.require_app(inputs.fields(message, kinds)[2])
        found = releases(self.app, layout.home(self.app))
        shown = ("release", "commit", "outcome", "why", "verb", "who", "started")
        found["history"] = [
            {key: run[key] for key in shown if key in run} for run in found["history"] if run["outcome"] != "ok"
        ]
        return {"event": "reply", "answer": found}

    def deploy(self, message: dict[str, Any]) -> "End":
        kinds = {"app": dict, "requirements": dict, "commit": str, "who": str, "check": bool, "wait": bool}
        table, texts, commit, who, check, wait = inputs.fields(message, kinds | {"force": bool})[:6]
        self.require_not_forced(message)
        app = self.app_of(table)
        commit = inputs.word(commit, inputs.COMMIT, "a commit of git's")
        if not self.manifest:
            raise Refused(NOT_OURS)
        brought = Brought(tuple(self.manifest), inputs.requirements(texts, app, self.manifest), commit)
        by, facts = self.start("deploy", who, app, check, wait)
        self.require_allowed(app)
        lacking = missing(layout.home(self.app), self.manifest, False)["missing"]
        news = decide.uploaded(len(lacking), len(self.manifest))
        return self.finish(decide.deploy(app, by, facts, brought, news), by, facts, check, wait)

    def rollback(self, message: dict[str, Any]) -> "End":
        kinds = {"app": dict, "release": str, "who": str, "check": bool, "wait": bool, "force": bool}
        table, wanted, who, check, wait, _ = inputs.fields(message, kinds)
        self.require_not_forced(message)
        app = self.app_of(table)
        if wanted:
            inputs.word(wanted, RELEASE_ID, "the ID of a release")
        last = history.unheard(self.app) or {}  # before `start`, which forgets a run that was cut off
        by, facts = self.start("rollback", who, app, check, wait)
        if not facts.current and not facts.good:
            raise Refused(f"{self.app} has no release yet", "fab deploy")
        made = decide.rollback(app, by, facts, wanted, last, facts.hostname)
        self.require_allowed(made.app)
        return self.finish(made, by, facts, check, wait)

    def require_not_forced(self, message: dict[str, Any]) -> None:
        if message["force"]:
            raise Refused("a CI key may not replace files edited by hand (--force)", "an operator has to check them")

    def limits(self) -> limits.Limits:
        return limits.read(Path(layout.ci_record(self.app)).read_text("utf-8"))

    def app_of(self, table: dict[str, Any]) -> App:
        """The app, at the path that an operator has given it."""
        return replace(inputs.app_of(table, self.app), mount=self.limits().site.path.rstrip("/"))

    def require_allowed(self, app: App) -> None:
        more = limits.beyond(app, self.limits())
        if more:
            what = f"this would give {self.app} more of the server than an operator has allowed"
            raise Refused(what, inputs.OPERATOR, "\n".join(more))

    def start(self, verb: str, who: str, app: App, check: bool, wait: bool) -> tuple[By, Facts]:
        """Take the lock, and look at the server as it is now."""
        claimed = f" ({who})" if re.fullmatch(inputs.NAME, who, re.ASCII) else ""
        who = f"{layout.ci_user(self.app)} {self.key[:8]}{claimed}"
        self.begin(self.app, None if check else {"verb": verb, "who": who}, wait=wait)
        self.require_key()  # again: it may have been for `--revoke` that we waited
        facts = Facts.of(survey(self.app, layout.home(self.app)), app.proxy)
        try:
            require_provisioned(app, self.limits().site, facts, facts.hostname)
        except HostError as error:
            raise Refused(error.what, "an operator has to run `fab provision ci.key`") from None
        return By(who, datetime.now(timezone.utc), self.limits().site, confined=True), facts

    def finish(self, made: Decision, by: By, facts: Facts, check: bool, wait: bool) -> "End":
        release, plan = made.release, made.plan
        self.emit(
            {
                "event": "planned",
                "release": release.id,
                "record": release.record,
                "site": limits.site_to_json(release.site),
                "new": release.id not in facts.records,
            }
        )
        run = decide.run_of(made.app, release, facts) | {"verb": plan.verb, "who": by.who, "from": self.origin}
        system = self.look(plan.units, plan.asks)
        system.operator.unwanted = self.gone.is_set
        try:
            end = self.carry_out(plan, system, check=check, run=run, wait=wait)
        finally:
            self.pace.end()
        return {**end, "done": made.done}


def main(app: str) -> None:
    """Serve the connection that systemd gives us as standard input."""
    link = socket.socket(fileno=os.dup(0))
    link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND_SECONDS, 0))
    kit = Path(__file__).resolve().parents[2].name.removeprefix("ci-")
    hello: Hello = {"event": "hello", "ci": app, "protocol": layout.PROTOCOL, "kit": kit}
    endpoint = Endpoint(sys.stdin.buffer, by_itself(), app)
    endpoint.obey()
    converse(endpoint, hello)
