"""Changes of SSH access: a change that could lock the operator out is undone unless a new login works.

A backup is on disk before anything is changed. The agent restores it, or a timer, or the next boot, even if the agent
is killed, the connection is lost or the power is cut. They all run `templates/ssh/undo.sh.j2`.
"""

import glob
import os
import threading
import time
from contextlib import suppress

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Failed, Resource, Stopped
from ..files import replace, sync_directory, text_of

UNDO = "/var/lib/ashore/undo"
ARMED, UNDOING = f"{UNDO}/armed", f"{UNDO}/undoing"
SERVICE, TIMER, AGAIN = "ashore-undo.service", "ashore-undo.timer", "ashore-undo-again.timer"
HOST_KEYS = "/etc/ssh/ssh_host_*_key.pub"


@dataclass(frozen=True)
class Guarded(Resource):
    """Steps that could lock the operator out: they stay only if a new login works while the old one is open.

    keeps: paths to restore besides the steps' own. undo_seconds: when the timer restores them, if nobody has;
    prove_seconds, less than that: how long the new login may take.
    """

    name: str
    steps: tuple[Resource, ...]
    keeps: tuple[str, ...] = ()
    undo_seconds: int = 40
    prove_seconds: int = 20

    guards = True

    @property
    def title(self) -> str:
        return self.name

    @property
    def units(self) -> tuple[str, ...]:
        return tuple(unit for step in self.steps for unit in step.units)

    @property
    def asks(self) -> tuple[tuple[str, ...], ...]:
        return tuple(argv for step in self.steps for argv in step.asks)

    def check(self, system: System) -> list[Drift]:
        unproved = pending() and not system.memory.proof
        drifts = [Drift("an earlier change", "not confirmed", "undone, then applied again")] if unproved else []
        for step in self.steps:
            drifts += [Drift(f"{step.title}: {d.what}", d.found, d.wanted, d.diff) for d in step.check(system)]
        return drifts

    def apply(self, system: System) -> None:
        if pending():  # left by a run that died: we hold its lock
            undo(system)
            system.forget()
        remember([*paths_of(self.steps), *self.keeps, *keys_of_operators()], system)
        arm(system, self.undo_seconds)
        try:
            with system.alone("access"):  # the undo waits for the end of this, while we live
                for step in self.steps:
                    if step.check(system):
                        step.apply(system)
                        system.forget()
            system.observer.at(f"proof: {self.name}")
        except BaseException:
            undo(system)
            system.forget()
            raise
        system.memory.proof = Proof(self, system)

    def prove(self, system: System) -> None:
        """Ask the operator's side to log in again; Failed if that fails, or no answer comes."""
        keys = [text_of(path) or "" for path in sorted(glob.glob(HOST_KEYS))]
        system.operator.emit({"event": "prove", "step": self.name, "keys": keys})
        deadline = time.monotonic() + self.prove_seconds
        answer = None
        while time.monotonic() < deadline:
            answer = system.operator.answer(deadline - time.monotonic())
            if answer is None or (isinstance(answer, dict) and answer.get("step") == self.name):
                break
            if isinstance(answer, dict) and answer["request"] == "cancel":
                raise Stopped
        if answer is None:
            why, hint = f"no new login was reported within {self.prove_seconds} s, or the connection was lost", ""
        elif answer["ok"]:
            return
        else:
            why, hint = answer["why"], answer["hint"]
        raise Failed(
            f"after this change, a new login failed: {why}",
            "the change was undone, and your login works as before; " + (hint or "run the same command again"),
        )


class Proof:
    """A new login, waited for while steps are applied that have nothing to do with how one gets in.

    If it does not work, the change is undone at once, whatever the steps are at.
    """

    def __init__(self, step: Guarded, system: System) -> None:
        self.step, self.system = step, system
        self.error: BaseException | None = None
        self.ended_at = 0.0  # of time.monotonic
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @property
    def ended(self) -> bool:
        return not self.thread.is_alive()

    def settle(self) -> None:
        """Wait for it; raises where the change was undone."""
        self.thread.join()
        if self.error is not None:
            self.system.forget()
            raise self.error

    def _run(self) -> None:
        try:
            self.step.prove(self.system)
            disarm(self.system)
        except BaseException as error:
            self.error = error
            try:
                undo(self.system)
            except BaseException as worse:
                self.error = worse
        self.ended_at = time.monotonic()


def pending() -> bool:
    return os.path.exists(ARMED) or os.path.exists(UNDOING)


def paths_of(steps: tuple[Resource, ...]) -> list[str]:
    """The files of the steps and of their parts."""
    found = []
    for step in steps:
        for value in (step, *vars(step).values()):
            path = getattr(value, "path", None)
            if isinstance(path, str):
                found.append(path)
    return list(dict.fromkeys(found))


def keys_of_operators() -> list[str]:
    """The authorized_keys files of the current login and of root."""
    import pwd

    found = []
    for name in dict.fromkeys((os.environ.get("SUDO_USER") or "root", "root")):
        with suppress(KeyError):
            found += [f"{pwd.getpwnam(name).pw_dir}/.ssh/authorized_keys{more}" for more in ("", "2")]
    return found


def remember(paths: list[str], system: System) -> None:
    """Back up these files and our table of the firewall."""
    import shutil

    from .firewall import LIST_TABLE

    shutil.rmtree(UNDO, ignore_errors=True)  # left by an undo that has ended
    os.makedirs(f"{UNDO}/files", 0o700)
    absent = [path for path in paths if not os.path.lexists(path)]
    for path in paths:
        if os.path.lexists(path):
            os.makedirs(os.path.dirname(f"{UNDO}/files{path}"), 0o700, exist_ok=True)
            copied = shutil.copy2(path, f"{UNDO}/files{path}", follow_symlinks=False)
            info = os.lstat(path)
            os.chown(copied, info.st_uid, info.st_gid, follow_symlinks=False)
    rules = f"table inet ashore\ndelete table inet ashore\n{system.printed(LIST_TABLE)}"
    replace(f"{UNDO}/table.nft", rules.encode(), 0o600, 0, 0)
    for name, listed in (("absent", absent), ("paths", paths)):
        replace(f"{UNDO}/{name}", "".join(f"{path}\n" for path in listed).encode(), 0o600, 0, 0)


def arm(system: System, seconds: int) -> None:
    stop_timer(system)
    replace(ARMED, b"", 0o600, 0, 0)
    os.sync()  # a boot must find all of it, too
    options = [f"--on-active={seconds}", "--timer-property=AccuracySec=100ms", f"--unit={SERVICE}"]
    try:
        system.run(["systemd-run", "--quiet", *options])
    except Failed:
        os.unlink(ARMED)
        raise


def disarm(system: System) -> None:
    """Keep the change. Renaming `armed` decides: the timer may have done so first."""
    try:
        os.rename(ARMED, f"{UNDO}/proved")
    except FileNotFoundError:
        what = "the new login took too long: the server has already undone the change"
        raise Failed(what, "run the same command again") from None
    sync_directory(UNDO)
    stop_timer(system)
    forget()


def undo(system: System) -> None:
    """Restore everything, unless that was already done."""
    if pending():
        try:
            system.run(["systemctl", "start", SERVICE])
        except Failed as failed:
            raise Failed(
                f"SSH access could not be restored: {failed.what}",
                f"keep this login open; `journalctl -u {SERVICE}` on the server shows why; the server keeps trying",
                failed.detail,
            ) from failed
        if pending():
            raise Failed(
                "SSH access could not be restored",
                f"keep this login open; `journalctl -u {SERVICE}` on the server shows why",
            )
    stop_timer(system)
    forget()


def stop_timer(system: System) -> None:
    system.run(["systemctl", "stop", TIMER, AGAIN], accept=(0, 5))  # 5: one has fired and gone


def forget() -> None:
    import shutil

    shutil.rmtree(UNDO, ignore_errors=True)
