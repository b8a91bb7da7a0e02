"""A plan as the plain shell script that a person would write for a fresh server: the peer of a first provision.

It does the same work with the same options and files, and looks at nothing before.
"""

import shlex
from functools import singledispatch

from deploy.agent.resources.access.firewall import RULES, UNIT, ConnectionLimit, Firewall, SshPorts
from deploy.agent.resources.access.guarded import Guarded
from deploy.agent.resources.access.sshd import SSHD, Sshd
from deploy.agent.resources.config_files import ConfigFiles
from deploy.agent.resources.files import Absent, Directory, File, Link, seal
from deploy.agent.resources.host.logs import LogDirectory
from deploy.agent.resources.host.machine import DnsElsewhere, HostNames, Platform, Port, SecretKey
from deploy.agent.resources.host.packages import APT, Packages, SinceVersion, Uv
from deploy.agent.resources.host.swap import Swap
from deploy.agent.resources.host.users import Member, User
from deploy.agent.resources.serving.nginx import WorkerConnections
from deploy.agent.resources.serving.nginx_default import DefaultServer
from deploy.agent.resources.serving.services import Service, UnitFile
from deploy.agent.wire import Plan, Resource, Secret

FIRST_USER = "999"  # the ID of the first system user that Debian's useradd makes
START = "set -eu\nexport DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8\numask 022"


def script(plan: Plan) -> str:
    return "\n".join([START, *(line for step in plan.steps for line in lines(step)), ""])


@singledispatch
def lines(step: Resource) -> list[str]:
    """The lines that make a step so. A kind that is not named here is an error: the peer must do all the work."""
    raise NotImplementedError(type(step).__name__)


@lines.register
def _(step: Platform) -> list[str]:
    return []


@lines.register
def _(step: Port) -> list[str]:
    return []


@lines.register
def _(step: HostNames) -> list[str]:
    return ['grep -qw "$(hostname)" /etc/hosts || echo "127.0.1.1 $(hostname)" >> /etc/hosts']


@lines.register
def _(step: Packages) -> list[str]:
    apt = shlex.join(APT)
    return [
        f"ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1 || {apt} update",
        f"{apt} install --no-install-recommends {shlex.join(step.names)}",
    ]


@lines.register
def _(step: File) -> list[str]:
    assert not isinstance(step.content, Secret), "provision has none but SECRET_KEY"
    path = shlex.quote(step.path)
    return [
        f"printf %s {shlex.quote(step.content)} > {path}",
        f"chmod {step.mode:o} {path}",
        f"chown {step.owner}:{step.group} {path}",
    ]


@lines.register
def _(step: Directory) -> list[str]:
    return [f"install -d -m {step.mode:o} -o {step.owner} -g {step.group} {shlex.quote(step.path)}"]


@lines.register
def _(step: Link) -> list[str]:
    return [shlex.join(["ln", "-sfn", step.target, step.path])]


@lines.register
def _(step: Absent) -> list[str]:
    return [shlex.join(["rm", "-rf", step.path])]


@lines.register
def _(step: ConfigFiles) -> list[str]:
    return [line for part in step.parts for line in lines(part)] + [shlex.join(step.test)]


@lines.register
def _(step: User) -> list[str]:
    home = f"--no-create-home --home-dir {step.home}"
    return [f"useradd --system --user-group {home} --shell {step.shell} --comment Ashore {step.name}"]


@lines.register
def _(step: Member) -> list[str]:
    return [f"usermod --append --groups {step.group} {step.user}"]


@lines.register
def _(step: SecretKey) -> list[str]:
    key = "$(od -An -tx1 -N32 /dev/urandom | tr -d ' \\n')"
    return [f'(umask 077; echo "{step.name}={key}" > {step.path})']


@lines.register
def _(step: Uv) -> list[str]:
    options = "--quiet --no-cache-dir --disable-pip-version-check --only-binary=:all: --no-deps --no-compile"
    return [
        "export PIP_ROOT_USER_ACTION=ignore PIP_RETRIES=3",
        "pip=$(ls /usr/share/python-wheels/pip-*.whl)/pip",
        f"printf %s {shlex.quote(step.requirement)} > /tmp/uv.txt",
        f'python3 "$pip" install {options} --require-hashes --target {step.directory} -r /tmp/uv.txt',
        f"{step.directory}/bin/uv --version",
    ]


@lines.register
def _(step: Service) -> list[str]:
    made = [f"systemctl enable --quiet --now {step.unit}"] if step.enabled else []
    return made + ([f"systemctl {step.refresh} {step.unit}"] if step.watches else [])


@lines.register
def _(step: SinceVersion) -> list[str]:
    version = f"$(dpkg-query -f '${{Version}}' -W {step.package})"
    otherwise = [line for part in (step.otherwise,) if part for line in lines(part)] or [":"]
    return [
        f'if dpkg --compare-versions "{version}" ge {step.version}; then',
        *(lines(step.step) or [":"]),
        "else",
        *otherwise,
        "fi",
    ]


@lines.register
def _(step: Swap) -> list[str]:
    return []  # a sandbox has none of its own


@lines.register
def _(step: UnitFile) -> list[str]:
    return [*lines(step.file), "systemctl daemon-reload"]


@lines.register
def _(step: Guarded) -> list[str]:
    """A script has nobody to prove a login to."""
    return [line for part in step.steps for line in lines(part)]


@lines.register
def _(step: Sshd) -> list[str]:
    return [*lines(step.file), f"{SSHD} -t", f"systemctl reload {step.unit}"]


@lines.register
def _(step: SshPorts) -> list[str]:
    text = step.rule.replace("%s", "22").replace("%u", FIRST_USER if step.user else "")
    return [f"printf %s {shlex.quote(seal(text))} > {step.path}"]


@lines.register
def _(step: ConnectionLimit) -> list[str]:
    return [f"printf %s {shlex.quote(seal(step.rules.replace('%s', str(step.most))))} > {step.path}"]


@lines.register
def _(step: WorkerConnections) -> list[str]:
    return [
        f"sed -i 's/worker_connections [0-9]*;/worker_connections {step.number};/' {step.path}",
        shlex.join(step.test),
    ]


@lines.register
def _(step: LogDirectory) -> list[str]:
    made = f"install -d -m {step.mode:o} -o {step.owner} -g {step.group} {step.path}"
    owned = f"install -m 640 -o {step.writer} -g {step.group} /dev/null"
    return [made, *(f"{owned} {step.path}/{name}" for name in step.files)]


@lines.register
def _(step: DefaultServer) -> list[str]:
    return []


@lines.register
def _(step: DnsElsewhere) -> list[str]:
    return lines(step.step)


@lines.register
def _(step: Firewall) -> list[str]:
    return [f"nft -c -f {RULES}", f"systemctl restart {UNIT}"]
