"""System users and who belongs to which group."""

import os

from ...dataclass import dataclass
from ...system import System
from ...wire import Drift, Refused, Resource

MARK = "Ashore"  # the comment of users that this kit made, in /etc/passwd
UNIT_PATHS = ("/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
ANOTHER = "choose another `name` in deploy.toml"


@dataclass(frozen=True)
class User(Resource):
    """A system user with a group of the same name; no password, so nobody logs in with one.

    proofs: root's own paths that only this kit makes, by which a user from before MARK is known as its own.
    directories: those that will be the app's; if they exist before the user does, they are somebody else's.
    """

    name: str
    home: str
    shell: str = "/usr/sbin/nologin"
    proofs: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"user {self.name}"

    def check(self, system: System) -> list[Drift]:
        import grp
        import pwd

        try:
            found = pwd.getpwnam(self.name)
        except KeyError:
            self._require_free(system)
            return [Drift("user", "absent", "present")]
        person = found.pw_uid >= 1000
        if found.pw_uid < 100 or (person and self.shell == "/usr/sbin/nologin"):
            kind = "a person's account" if person else "a system account"
            raise Refused(f"the user {self.name} is {kind} on this server, not an app's user", ANOTHER)
        if person:
            return []  # somebody's own account: used as it is, never changed
        if grp.getgrgid(found.pw_gid).gr_name != self.name:
            raise Refused(f"the user {self.name} exists with another primary group", ANOTHER)
        drifts = [] if self._marked(found.pw_gecos, found.pw_dir) else [Drift("mark", found.pw_gecos, MARK)]
        if found.pw_dir != self.home:
            drifts.append(Drift("home", found.pw_dir, self.home))
        if found.pw_shell != self.shell:
            drifts.append(Drift("shell", found.pw_shell, self.shell))
        return drifts

    def apply(self, system: System) -> None:
        what = {drift.what for drift in self.check(system)}
        if "user" in what:
            options = ["--system", "--user-group", "--home-dir", self.home, "--no-create-home", "--shell", self.shell]
            system.run(["useradd", *options, "--comment", MARK, self.name])
            return
        if "mark" in what:
            system.run(["usermod", "--comment", MARK, self.name])
        if what - {"mark"}:
            system.run(["usermod", "--home", self.home, "--shell", self.shell, self.name])

    def _marked(self, comment: str, home: str) -> bool:
        """Whether it has our mark; False where it is to get it. Refused for a user of somebody else."""
        if comment.partition(",")[0] == MARK:
            return True
        if home == self.home and self._proved():
            return False
        raise Refused(
            f"the user {self.name} exists on this server, but Ashore did not create it",
            f"{ANOTHER}; or, if the user is no longer needed, `userdel {self.name}`",
            f"its home is {home}" + (f", its comment {comment}" if comment else ""),
        )

    def _proved(self) -> bool:
        return any(os.path.lexists(path) and os.lstat(path).st_uid == 0 for path in self.proofs)

    def _require_free(self, system: System) -> None:
        """Refused where the name of a user that is yet to be made is somebody else's in another way."""
        import grp

        if not self.directories or self._proved():
            return
        taken = [f"group {self.name}" for group in grp.getgrall() if group.gr_name == self.name]
        taken += [path for path in self.directories if os.path.lexists(path) and not unused(path, system)]
        units = (f"{directory}/{self.name}@.service" for directory in UNIT_PATHS)
        taken += [path for path in units if os.path.lexists(path)]
        if taken:
            what = f"the name {self.name} is already used on this server, but not by Ashore"
            raise Refused(what, f"{ANOTHER}; or remove what is listed above, if it is not needed", "\n".join(taken))


def unused(path: str, system: System) -> bool:
    """Whether a directory is empty and no package's, like one that somebody made for the app, or mounted there."""
    if os.path.islink(path) or not os.path.isdir(path) or set(os.listdir(path)) - {"lost+found"}:
        return False
    return not system.run(["dpkg-query", "--search", path], accept=(0, 1))  # 1: no package has it


@dataclass(frozen=True)
class Member(Resource):
    """A user's membership of a group, beside its primary one."""

    user: str
    group: str

    @property
    def title(self) -> str:
        return f"user {self.user}: member of group {self.group}"

    def check(self, system: System) -> list[Drift]:
        import grp

        try:
            found = self.user in grp.getgrnam(self.group).gr_mem
        except KeyError:
            found = False
        return [] if found else [Drift("membership", "absent", "present")]

    def apply(self, system: System) -> None:
        system.run(["usermod", "--append", "--groups", self.group, self.user])
