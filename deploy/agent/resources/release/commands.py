"""Commands as the app: its user, a release's environment, the same sandbox."""

import re
import subprocess
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from ...dataclass import dataclass
from ...system import ENVIRONMENT, System, read_outputs
from ...wire import Cancelled, Drift, Failed, Resource

OF_THE_SERVICE = re.compile(
    # What makes it the service: how it starts, says that it is ready, is stopped and started anew; and its socket's
    # directory, which would be removed when the command ends.
    r"Type|NotifyAccess|Exec\w+|Restart\w*|RuntimeDirectory\w*|KillMode|KillSignal|Timeout\w+|SyslogIdentifier|PIDFile"
    r"|RemainAfterExit|GuessMainPID|NonBlocking|Sockets|WatchdogSec|BusName|SuccessExitStatus|FileDescriptorStoreMax"
)
READ_ONLY = ("ReadOnlyPaths", "/var/lib/%p")  # by data-limit.sh, while the app's data takes too much: room is made here
STOP_SECONDS = 10
LINES = 25
KEPT_BYTES = 64 << 10


def service_section(text: str) -> list[tuple[str, str]]:
    """(key, value) of a unit's [Service] section in their order, from `systemctl cat`: drop-ins follow the unit."""
    found, section = [], ""
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and line[0] not in "#;":
            key, _, value = line.partition("=")
            found.append((key.strip(), value.strip()))
    return found


def properties(text: str, release: str) -> list[str]:
    """The options of `systemd-run` that give a transient unit the user, environment and sandbox of a release's unit."""
    known = {"%i": release, "%I": release}  # a transient unit has another name, and so would have another %i
    found = []
    section = service_section(text)
    # Without the temporary files of the service, it gets those that the TemporaryFileSystem= of the unit makes.
    bound = [(key, value) for key, value in section if key == "BindPaths" and "%i/tmp/" in value]
    left_out = [READ_ONLY, *bound, ("PrivateTmp", "yes")] if bound else [READ_ONLY]
    for key, value in section:
        if not OF_THE_SERVICE.fullmatch(key) and (key, value) not in left_out:
            found += ["-p", f"{key}={re.sub('%[iI%]', lambda match: known.get(match[0], match[0]), value)}"]
    return found


def transient(text: str, app: str, release: str, unit: str, command: list[str], options: tuple[str, ...]) -> list[str]:
    """The argv that runs a command as a transient unit like the release's, whose `text` is."""
    path = f"/srv/{app}/releases/{release}/venv/bin:{ENVIRONMENT['PATH']}"
    run = ["systemd-run", "--quiet", "--wait", "--collect", f"--unit={unit}", *options]
    extra = ["-p", f"Environment=PATH={path}", "-p", f"TimeoutStopSec={STOP_SECONDS}", "-p", f"SyslogIdentifier={app}"]
    return [*run, *properties(text, release), *extra, "--", *command]


def unit_text(app: str, release: str) -> str:
    """The unit of a release with its drop-ins, as systemd reads it."""
    argv = ["systemctl", "cat", "--no-pager", f"{app}@{release}.service"]
    ran = subprocess.run(argv, capture_output=True, env=ENVIRONMENT)
    if ran.returncode:
        what = f"the unit {app}@{release}.service is not on the server"
        raise Failed(what, "fab deploy restores it", ran.stderr.decode(errors="replace"))
    return ran.stdout.decode(errors="replace")


def stop(unit: str) -> None:
    """End a transient unit, if there is one, and wait until it has ended."""
    for verb in ("stop", "reset-failed"):
        subprocess.run(["systemctl", verb, unit], capture_output=True, env=ENVIRONMENT)


def end(process: "subprocess.Popen[bytes]", unit: str) -> None:
    """End what `systemd-run --wait` runs as a unit; also where it is only about to make that."""
    while process.poll() is None:
        stop(unit)
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2)


def follow(
    process: "subprocess.Popen[bytes]", look: Callable[[], None], each: Callable[[str], None] = lambda line: None
) -> tuple[str, str]:
    """As `system.read_outputs`, with `each` called for each line; returns the last KEPT_BYTES of its two outputs."""
    kept, rest = [b"", b""], [b"", b""]

    def take(number: int, data: bytes) -> None:
        kept[number] = (kept[number] + data)[-KEPT_BYTES:]
        *lines, rest[number] = (rest[number] + data).split(b"\n")
        if not data or len(rest[number]) > KEPT_BYTES:
            lines += [rest[number]] if rest[number] else []
            rest[number] = b""
        for line in lines:
            each(line.decode(errors="replace").rstrip("\r"))

    read_outputs(process, take, look)
    return kept[0].decode(errors="replace"), kept[1].decode(errors="replace")


@dataclass(frozen=True)
class ReleaseCommand(Resource):
    """A command that runs once before a release gets traffic, such as a database migration.

    It is part of a plan only where it has to run; what runs of it when an agent dies is ended by the next run.
    """

    app: str
    release: str
    command: str
    seconds: int

    @property
    def title(self) -> str:
        return f"release command: {self.command}"

    @property
    def unit(self) -> str:
        return f"{self.app}-release.service"

    def check(self, system: System) -> list[Drift]:
        return [] if self in system.memory.done else [Drift("command", "not run yet", f"run within {self.seconds} s")]

    def apply(self, system: System) -> None:
        stop(self.unit)
        text = unit_text(self.app, self.release)
        options = ("--pipe", "-p", f"RuntimeMaxSec={self.seconds}")
        command = ["/bin/sh", "-c", self.command]
        said: deque[str] = deque(maxlen=LINES)
        deadline, late = time.monotonic() + self.seconds, False

        def look() -> None:
            nonlocal late
            try:
                system.operator.stop_if_cancelled()
            except Cancelled:
                end(process, self.unit)
                raise
            if not late and time.monotonic() > deadline:
                late = True
                end(process, self.unit)

        def each(line: str) -> None:
            said.append(line)
            system.operator.emit({"event": "said", "text": line})

        process = system.start(transient(text, self.app, self.release, self.unit, command, options))
        follow(process, look, each)
        status = process.wait()
        if late:
            how = f"did not end within {self.seconds} s and was stopped"
        elif status:
            how = f"exited with {status}"
        else:
            system.memory.done.add(self)
            return
        from ..serving.reasons import advice

        lacking = advice(self.app, self.release, "\n".join(said))
        hint = lacking or "fix it and deploy again; try commands with `fab run`, or set a longer release_seconds"
        raise Failed(f"the release command `{self.command}` {how}", hint, "\n".join(said))


ADVICE_SECONDS = 60


@dataclass(frozen=True)
class Advised(Resource):
    """What a framework's own check says of a release is shown; whatever it says, the release goes on.

    Part of a plan only where it is to be shown. lines: a regular expression for those lines of its output that are.
    """

    app: str
    release: str
    command: str
    lines: str

    @property
    def title(self) -> str:
        return f"advice: {self.command}"

    def check(self, system: System) -> list[Drift]:
        return [] if self in system.memory.done else [Drift("advice", "not shown yet", "shown")]

    def apply(self, system: System) -> None:
        unit = f"{self.app}-release.service"
        stop(unit)
        options = ("--pipe", "-p", f"RuntimeMaxSec={ADVICE_SECONDS}")
        command = ["/bin/sh", "-c", f"{self.command} 2>&1"]

        def look() -> None:
            try:
                system.operator.stop_if_cancelled()
            except Cancelled:
                end(process, unit)
                raise

        process = system.start(
            transient(unit_text(self.app, self.release), self.app, self.release, unit, command, options)
        )
        for line in follow(process, look)[0].splitlines():
            if found := re.match(self.lines, line):
                system.operator.emit({"event": "said", "text": found[0]})
        system.memory.done.add(self)
