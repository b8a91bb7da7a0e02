"""An agent that says what a test has written for it: a program that stands in for `sh -c …` on a host.

It reads the payload, says hello, and answers each request by a script, a JSON file:
{"facts": {…}, "asks": {"releases": …}, "plan": {…}, "hello": {…}, "login": exit status of a second login}.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deploy.agent.resources import KINDS
from deploy.agent.wire import Plan, pack, read_frame, unpack


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
            if "plan" in message and "kind" not in message["plan"]:  # a first look: there is always something to do
                emit({"event": "whole"})
                if not (size := stdin.readline()):
                    return
                stdin.read(int(size))
                emit({"event": "hello"})
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
            failed = {"state": "failed", "what": "it broke", "hint": "fix it", "detail": "", "step": step.title}
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
    main(*sys.argv[1:])
