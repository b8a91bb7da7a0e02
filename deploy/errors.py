"""What can go wrong, for the person at the terminal.

DeployError                  any failure, shown in four lines; the exit status is 1
├── ConfigError              deploy.toml is missing, broken or contradictory
├── SourceError              the source tree cannot become a release
├── ConnectionFailed         no usable SSH session: unreachable, refused, wrong key, unknown host key
├── HostError                the server is not usable: no sudo, wrong system, not provisioned, busy
├── StepFailed               a step of a plan failed or was refused on the server
├── NotReached               a host that was not changed, because another one failed
├── Interrupted              Ctrl-C; the text has the result from the server; status 130
├── VisitorsFail             the change was made, but visitors get errors, or got some during it; status 3
└── SandboxError             the throwaway server cannot be created or found

Unread                       no failure: nobody reads the output of a read-only command any more
"""

NOTHING = "nothing was changed"
WOULD_CHANGE = 2  # the exit status of `--check` where something would change


class DeployError(Exception):
    """One failure: what happened, where, the current state, what to do next. `detail` is quoted unchanged.

    host: the server's name, as in events; "" if it concerns none, or several.
    """

    status = 1  # what `fab` ends with
    usual_state = ""

    def __init__(
        self, what: str, where: str = "", state: str = "", hint: str = "", detail: str = "", host: str = ""
    ) -> None:
        super().__init__(what)
        self.what, self.where, self.state = what, where, state or self.usual_state
        self.hint, self.detail, self.host = hint, detail, host

    def __str__(self) -> str:
        lines = [f"error: {self.what}"]
        lines += [f"  | {line}" for line in self.detail.splitlines()]
        for label, text in (("where", self.where), ("state", self.state), ("hint", self.hint)):
            if text:
                lines.append(f"{label}:".ljust(7) + text.replace("\n", "\n       "))
        return "\n".join(lines)


class ConfigError(DeployError):
    usual_state = NOTHING  # config and command line are checked before anything is changed


class SourceError(DeployError):
    usual_state = NOTHING  # so is the source


class ConnectionFailed(DeployError):
    pass


class HostError(DeployError):
    pass


class StepFailed(DeployError):
    pass


class NotReached(DeployError):
    pass


class Interrupted(DeployError):
    status = 130


class VisitorsFail(DeployError):
    status = 3


class SandboxError(DeployError):
    pass


class Unread(Exception):
    pass
