"""System users and who belongs to which group."""

import os
from dataclasses import dataclass

from ..system import System
from ..wire import Drift, Refused, Resource


@dataclass(frozen=True)
class User(Resource):
    """A system user with a group of the same name; no password, so nobody logs in with one."""

    name: str
    home: str
    shell: str = "/usr/sbin/nologin"
    make_home: bool = False

    @property
    def title(self) -> str:
        return f"user {self.name}"

    def check(self, system: System) -> list[Drift]:
        import grp
        import pwd

        try:
            found = pwd.getpwnam(self.name)
        except KeyError:
            return [Drift("user", "absent", "present")]
        person = found.pw_uid >= 1000
        if found.pw_uid < 100 or (person and self.shell == "/usr/sbin/nologin"):
            kind = "a person" if person else "part of the system"
            raise Refused(
                f"{self.name} is already {kind} on this server, not an app's user",
                "choose another `name` in deploy.toml",
            )
        if person:
            return []  # somebody's own account: used as it is, never changed
        drifts = []
        if grp.getgrgid(found.pw_gid).gr_name != self.name:
            raise Refused(f"user {self.name} exists with another primary group", "choose another `name` in deploy.toml")
        if found.pw_dir != self.home:
            drifts.append(Drift("home", found.pw_dir, self.home))
        if found.pw_shell != self.shell:
            drifts.append(Drift("shell", found.pw_shell, self.shell))
        if self.make_home and not os.path.isdir(self.home):
            drifts.append(Drift("home directory", "absent", "present"))
        return drifts

    def apply(self, system: System) -> None:
        what = self.check(system)
        home = ["--create-home"] if self.make_home else ["--no-create-home"]
        if what[0].what == "user":
            options = ["--system", "--user-group", "--home-dir", self.home, "--shell", self.shell]
            system.run(["useradd", *options, *home, self.name])
            return
        system.run(["usermod", "--home", self.home, "--shell", self.shell, self.name])
        if self.make_home:
            os.makedirs(self.home, 0o750, exist_ok=True)
            os.chmod(self.home, 0o750)
            system.run(["chown", f"{self.name}:{self.name}", self.home])


@dataclass(frozen=True)
class Member(Resource):
    """A user's membership of a group, beside its primary one."""

    user: str
    group: str

    @property
    def title(self) -> str:
        return f"{self.user} in group {self.group}"

    def check(self, system: System) -> list[Drift]:
        import grp

        try:
            found = self.user in grp.getgrnam(self.group).gr_mem
        except KeyError:
            found = False
        return [] if found else [Drift("membership", "absent", "present")]

    def apply(self, system: System) -> None:
        system.run(["usermod", "--append", "--groups", self.group, self.user])
