"""What can go wrong, for the person at the terminal.

DeployError                  anything the kit stops for, told in four lines
├── ConfigError              deploy.toml is missing, broken, or says something impossible
├── SourceError              the source tree cannot become a release
├── ConnectionFailed         no usable SSH session: unreachable, refused, wrong key, unknown host key
├── HostError                the server cannot be worked on: no sudo, wrong system, not provisioned, busy
├── StepFailed               a step of a plan failed or was refused on the server
├── Interrupted              Ctrl-C; the server was told, and its answer is in the text
└── SandboxError             the throwaway server cannot be made or found
"""

from dataclasses import dataclass


@dataclass
class DeployError(Exception):
    """One failure: what happened, where, how things stand now, what to do next. `detail` is quoted as it came."""

    what: str
    where: str = ""
    state: str = ""
    hint: str = ""
    detail: str = ""

    def __post_init__(self) -> None:
        super().__init__(self.what)

    def __str__(self) -> str:
        lines = [f"error: {self.what}"]
        lines += [f"  | {line}" for line in self.detail.splitlines()]
        for label, text in (("where", self.where), ("state", self.state), ("hint", self.hint)):
            if text:
                lines.append(f"{label}:".ljust(7) + text.replace("\n", "\n       "))
        return "\n".join(lines)


class ConfigError(DeployError):
    pass


class SourceError(DeployError):
    pass


class ConnectionFailed(DeployError):
    pass


class HostError(DeployError):
    pass


class StepFailed(DeployError):
    pass


class Interrupted(DeployError):
    pass


class SandboxError(DeployError):
    pass
