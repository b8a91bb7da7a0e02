"""Who holds a CI key: what they can do with `fab`, with ssh, and by saying to the server what they like."""

import json
import subprocess
from pathlib import Path

from standing import Project, Running, Server

from deploy.agent.wire import frame
from deploy.ci.inputs import as_table
from deploy.config.reader import load
from deploy.connection import payload


class Holder:
    """Somebody with a private key for an app, who is no operator, in a project's directory."""

    def __init__(self, project: Project, key: Path, app: str = "visitors") -> None:
        self.project, self.key, self.app = project, key, app
        self.login = f"ci-{app}@{project.machine.address}"

    def fab(self, *words: str, status: int | None = 0):
        return self.project.fab("-i", str(self.key), "-H", self.login, *words, status=status)

    def start(self, *words: str) -> Running:
        return self.project.start("-i", str(self.key), "-H", self.login, *words)

    def ssh_words(self, *words: str) -> list[str]:
        options = ["IdentitiesOnly=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes"]
        flags = [word for option in options for word in ("-o", option)]
        return ["ssh", "-F", "/dev/null", "-i", str(self.key), *flags, *words]

    def ssh(self, *words: str, said: bytes = b"", seconds: float = 30) -> subprocess.CompletedProcess:
        """`ssh WORDS`; the login is to be among them."""
        return subprocess.run(self.ssh_words(*words), input=said, capture_output=True, timeout=seconds)

    def opened(self) -> subprocess.Popen:
        """A connection to the server's side that stays open, greeted."""
        pipe = subprocess.PIPE
        made = subprocess.Popen(self.ssh_words("-q", self.login), stdin=pipe, stdout=pipe, stderr=pipe)
        made.stdin.write(payload.payload(frozenset()))
        made.stdin.flush()
        assert json.loads(made.stdout.readline())["event"] == "hello"
        return made

    def says(self, *messages: object) -> list[dict]:
        """What is answered to each message, one after the other, on one connection: their last events."""
        talk, ends = self.opened(), []
        for message in messages:
            talk.stdin.write(message if isinstance(message, bytes) else frame(message))
            talk.stdin.flush()
            event = {"event": ""}
            while event["event"] not in ("end", "reply"):
                line = talk.stdout.readline()
                event = json.loads(line) if line else {"event": "end", "state": "hung up", "what": ""}
            ends.append(event)
        talk.stdin.close()
        talk.wait(30)
        return ends

    def survey(self, manifest: list | None = None, app: str = "", lock: dict | None = None) -> dict:
        name = app or self.app
        asked = {"request": "survey", "app": name, "app_directory": f"/srv/{name}", "lock": lock, "wait": False}
        return asked | {"manifest": manifest, "compare": False}

    def deploy(self, texts: dict | None = None, **change: object) -> dict:
        """A request that would deploy, but for what is changed in [app]."""
        table = as_table(load(self.project.directory).app) | change
        asked = {"request": "ci_deploy", "app": table, "requirements": texts or {}, "commit": "", "who": "me"}
        return asked | {"check": False, "wait": False, "force": False}

    def rollback(self, release: str) -> dict:
        table = as_table(load(self.project.directory).app)
        asked = {"request": "ci_rollback", "app": table, "release": release, "who": "me"}
        return asked | {"check": False, "wait": False, "force": False}


def outside(server: Server) -> str:
    """All that a CI key must not have changed: whatever is not the app's releases."""
    own = ("/srv/visitors/releases", "/srv/visitors/venvs", "/srv/visitors ", "/srv/visitors/current", "/run/visitors")
    own += ("/srv/visitors/previous", "/etc/systemd/system ", "/etc/systemd/system/visitors@", "/etc/nginx/sites-")
    own += ("/etc/systemd/system/multi-user.target.wants",)
    return "\n".join(line for line in server.state().splitlines() if not line.startswith(own))
