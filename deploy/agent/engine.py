"""Carrying out a plan: look at all of it, then apply what drifts, one step after the other."""

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

from .resources.files import link_target, replace
from .system import SHORT, System
from .wire import Cancelled, Drift, Failed, Plan, Refused, Resource

if TYPE_CHECKING:
    from .events import DriftShown, End, Step, StepState

ROOM = "free some space (`df -h`, `df -i`, `journalctl --vacuum-size=200M`), then "
DISK = "check the server's disk (`dmesg`, `findmnt`); once it is readable and writable, "
REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), ROOM),
    **dict.fromkeys((errno.EROFS, errno.EIO), DISK),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN), SHORT),
}


def carry_out(plan: Plan, system: System, *, check: bool, before: Callable[[], None]) -> "End":
    """Run a plan and tell how it ended; one event a step on the way, by `system.operator.emit`.

    All steps are looked at before the first is applied, so that what must be refused is refused before anything
    was changed. `before` runs once, just before the first change.
    """
    emit = system.operator.emit
    every = (*plan.steps, *plan.finish)
    began, before_run = time.monotonic(), link_target(plan.current)
    changed = 0
    applying = False
    step: Resource = every[0]
    main = True
    try:
        first = []
        for step in every:
            looked = time.monotonic()
            first.append((step.check(system), time.monotonic() - looked))
        drifting = any(drifts for drifts, _ in first)
        for number, (step, (drifts, seconds)) in enumerate(zip(every, first, strict=True)):
            main = main and number < len(plan.steps)
            if check or not drifting:
                changed += bool(drifts)
                emit(told(step, "would change" if drifts else "ok", drifts, seconds))
                continue
            system.observer.before(number, step.title)
            if main:
                system.operator.stop_if_cancelled()
            settle(system, wait=step.guards)
            began_step = time.monotonic()
            if applying:  # an earlier step may have changed what this one looks at
                drifts = step.check(system)
            if drifts:
                if not applying:
                    before()
                    applying = True
                emit({"event": "start", "step": step.title})
                put_right(step, system)
                changed += 1
            if system.memory.proof and system.memory.proof.step is step:
                system.memory.proof.drifts, system.memory.proof.began = drifts, began_step
                continue
            emit(told(step, "changed" if drifts else "ok", drifts, time.monotonic() - began_step))
        settle(system, wait=True)
        if drifting and not check:
            system.observer.before(len(every), "")
        end: End = {"event": "end", "state": "ok"}
    except Exception as error:  # whatever it was: undo, and say so
        if system.memory.proof and system.memory.proof.error is error:
            step = system.memory.proof.step
        else:
            with suppress(Exception):  # if that failed, too, it is undone
                settle(system, wait=True)
        end = blame(error) | {"step": step.title, "applied": applying, "switched": not main}
        end["repointed"] = link_target(plan.current) != before_run
        if applying and main:
            end["undo_errors"] = undo(plan, system)
    if system.memory.probe:
        end["probe"] = system.memory.probe.end()
    if plan.current:
        end["serves"] = link_target(plan.current)
    return end | {"changed": changed, "seconds": time.monotonic() - began}


def settle(system: System, *, wait: bool) -> None:
    """Tell of a step whose proof has come meanwhile. wait: also of one whose proof is yet to come."""
    proof = system.memory.proof
    if proof and (wait or proof.ended):
        proof.settle()
        system.memory.proof = None
        system.operator.emit(told(proof.step, "changed", proof.drifts, proof.ended_at - proof.began))


def put_right(step: Resource, system: System) -> None:
    with system.alone(step.shares) if step.shares else nullcontext():
        system.ran = False
        step.apply(system)
        if system.ran or step.units:  # a file that was written changes no unit, and asking anew takes 10 ms
            system.forget()
        try:
            left = step.check(system)
        except Exception:
            require_kept(step, system)
            raise
    if left:
        require_kept(step, system)
        drift = left[0]
        raise Failed(
            f"{step.title}: not in effect after it was applied ({drift.what}: {drift.found}, wanted {drift.wanted})"
        )


def require_kept(step: Resource, system: System) -> None:
    """Raise the reason, if a step is not as it was applied because its proof failed and it was undone meanwhile."""
    proof = system.memory.proof
    if proof and proof.step is step:
        proof.settle()


def undo(plan: Plan, system: System) -> list[str]:
    """Restore what a failed plan had changed, as far as it says; returns what could not be restored.

    The steps end where one fails: those after it take away what may still be needed. The next run clears up.
    """
    errors = []
    system.operator.cancelled = lambda: None
    system.forget()
    for path, kept in system.memory.replaced.items() if plan.restore else ():
        try:
            if kept is not None:  # what was not there before, the plan's own undo removes in its turn
                replace(path, *kept, 0, 0)
        except OSError as error:
            errors.append(f"{path}: {error.strerror}")
    for step in plan.undo:
        system.observer.at(f"undo: {step.title}")
        try:
            drifts = step.check(system)
            if drifts:
                put_right(step, system)
                system.operator.emit(told(step, "undone", drifts, 0.0))
        except Exception as error:  # whatever it was
            blamed = blame(error)
            errors.append(blamed.get("stands") or f"{step.title}: {blamed['what']}")
            if not is_so(step, system):
                break
    return errors


def is_so(step: Resource, system: System) -> bool:
    """Whether a step that failed has come to its end all the same, as a rename does whose fsync failed."""
    try:
        system.forget()
        return not step.check(system)
    except Exception:
        return False


def told(step: Resource, state: "StepState", drifts: list[Drift], seconds: float) -> "Step":
    shown: list[DriftShown] = [
        {"what": d.what, "found": str(d.found), "wanted": str(d.wanted), "diff": d.diff} for d in drifts
    ]
    return {"event": "step", "step": step.title, "state": state, "seconds": round(seconds, 3), "drift": shown}


def blame(error: Exception) -> "End":
    """What the operator is told of an exception; one that we did not foresee brings its frames, as our bug.

    It loads nothing: what is told of may be a server on which no file can be read.
    """
    if isinstance(error, Refused):
        end: End = {"event": "end", "state": "refused", "what": error.what, "hint": error.hint, "detail": error.detail}
        if isinstance(error, Failed):
            end["state"] = "failed"
        if isinstance(error, Cancelled):
            end["state"], end["by_operator"] = "cancelled", error.by_operator
        return end | {"stands": error.stands} if error.stands else end
    if isinstance(error, OSError) and error.strerror:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = f"{error.strerror}: {error.filename or 'on the server'}"
        return {
            "event": "end",
            "state": "failed",
            "what": "the server's disk is full" if full else what,
            "hint": f"{REMEDIES.get(error.errno or 0, '')}run the same command again",
            "detail": what,
        }
    return {
        "event": "end",
        "state": "failed",
        "what": "Ashore's agent failed; this is a bug",
        "hint": "please report the lines above",
        "detail": "\n".join([*frames(error), f"{type(error).__name__}: {error}"]),
    }


def frames(error: BaseException) -> Iterator[str]:
    """Where an exception came from, the outermost call first."""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        yield f"{code.co_filename}:{trace.tb_lineno}, in {code.co_name}"
        trace = trace.tb_next
