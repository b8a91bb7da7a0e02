"""The parts of a release on the server: its source tree, its virtualenv, and the removal of old releases."""

import json
import os
import re
import shutil
from contextlib import suppress

from ...dataclass import dataclass
from ...system import System
from ...wire import Cancelled, Drift, Entry, Failed, Refused, Resource
from ..files import replace, required_ids, text_of
from ..host.build_packages import BuildPackagesRemoved
from .at_work import of_instance, releases_at_work, stamps_of
from .package import Package
from .pythons import remove_unused, required, unused
from .recipes import Recipe, uv_environment
from .trees import link_tree, linked, make_directory
from .uploads import MANIFEST, PLACES, UPLOADED, ancestors_of, escaping, known_files, stored_name

UNITS = "/etc/systemd/system"
MARKER = ".complete"
NAME_ENDS = r"[^\w.-]"  # of a requirement


@dataclass(frozen=True)
class Source(Resource):
    """A release's source tree: root's, readable by the app's group, hard links to what earlier releases had.

    Made from the manifest that came with the survey and the files that `Uploaded` left in APP/incoming; or as the
    release `base` has it, with what was built there. Complete once it has its name.
    """

    app_directory: str
    release: str
    group: str
    base: str = ""

    @property
    def title(self) -> str:
        return f"source of release {self.release}: " + (f"copied from {self.base}" if self.base else "stored")

    @property
    def directory(self) -> str:
        return f"{self.app_directory}/releases/{self.release}"

    def check(self, system: System) -> list[Drift]:
        return [] if os.path.isdir(f"{self.directory}/source") else [Drift("source", "absent", "present")]

    def apply(self, system: System) -> None:
        _, gid = required_ids("root", self.group)
        if self.base:
            copied(f"{self.app_directory}/releases/{self.base}", self.directory, gid)
            return
        entries = system.operator.manifest
        if wrong := escaping(entries):
            raise Refused(f"the source has a path that leads outside it: {wrong}")
        have = known_files(self.app_directory)
        partial = f"{self.directory}/source.partial"
        shutil.rmtree(partial, ignore_errors=True)  # left by an interrupted run
        make_directory(self.directory, gid)
        make_directory(partial, gid)
        made = {""}
        for entry in entries:
            for part in ancestors_of(entry.path):
                if part not in made:
                    make_directory(f"{partial}/{part}", gid)
                    made.add(part)
            place(entry, have.get(stored_name(entry), ""), f"{partial}/{entry.path}", gid)
        replace(f"{self.directory}/{MANIFEST}", json.dumps(entries).encode(), 0o600, 0, 0)
        os.sync()  # before it can get traffic: a power cut must not leave empty files behind a switched link
        os.rename(partial, f"{self.directory}/source")
        shutil.rmtree(f"{self.app_directory}/incoming", ignore_errors=True)  # what was in it is in the release


def copied(base: str, release: str, gid: int) -> None:
    """Give a release the source of another one, by hard links."""
    make_directory(release, gid)
    for name in (UPLOADED, "source"):
        partial = f"{release}/{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)  # left by an interrupted run
        if os.path.isdir(f"{base}/{name}"):
            link_tree(f"{base}/{name}", partial, gid)
    for name in (MANIFEST, PLACES):
        if (text := text_of(f"{base}/{name}")) is not None:
            replace(f"{release}/{name}", text.encode(), 0o600, 0, 0)
    os.sync()
    for name in (UPLOADED, "source"):
        shutil.rmtree(f"{release}/{name}", ignore_errors=True)
        if os.path.isdir(f"{release}/{name}.partial"):
            os.rename(f"{release}/{name}.partial", f"{release}/{name}")


def place(entry: Entry, stored: str, path: str, gid: int) -> None:
    if entry.kind == "l":
        os.symlink(entry.hash, path)
        return
    linked(stored, path)
    os.chown(path, 0, gid)
    os.chmod(path, 0o750 if entry.kind == "x" else 0o640)


@dataclass(frozen=True)
class Virtualenv(Resource):
    """A virtualenv with what a requirements file names, shared by all releases with the same hash in its path.

    Built as `user` in a box, and with nothing that an earlier build left; then it is root's, and complete once it has
    root's marker. package: what runs the app, without which it is of no use. adds: requirements beside the file's, one
    a line, see `requirements.added`. recipe: how it is filled. variables: the release directory whose environment has
    what uv needs for private indexes, see `secret_variables`.
    """

    path: str
    source: str
    requirements: str
    uv: str
    user: str
    package: Package
    adds: str = ""
    recipe: Recipe = Recipe()
    variables: str = ""

    @property
    def title(self) -> str:
        names = [re.split(NAME_ENDS, line)[0] for line in self.adds.splitlines()]
        more = f" and {', '.join(names)}" if names else ""
        more += f", with Python {self.recipe.python}" if self.recipe.python else ""
        return f"virtualenv {os.path.basename(self.path)}: built from {self.requirements}{more}"

    @property
    def marker(self) -> str:
        return f"{self.path}/{MARKER}"

    def check(self, system: System) -> list[Drift]:
        if not self._complete:
            return [Drift("virtualenv", "absent", "built")]
        lost = lacking(self.path, self.package.executable)
        return [Drift("virtualenv", f"without {lost}", "complete")] if lost else []

    @property
    def _complete(self) -> bool:
        try:
            return os.lstat(self.marker).st_uid == os.geteuid()
        except FileNotFoundError:
            return False

    def apply(self, system: System) -> None:
        from .build_box import build
        from .build_hints import advice_on_build
        from .environment import secret_variables
        from .own_package import unbind

        # One that lacks something may still be in use: it stays in its place until another is there.
        top = f"{self.path}.fresh" if self._complete else self.path
        shutil.rmtree(top, ignore_errors=True)  # left by an interrupted run
        os.mkdir(top, 0o755)
        system.operator.progress(20, "packages of the app")
        recipe, listing = self.recipe, text_of(listing_of(self.path)) or ""
        words = [word for extra in recipe.extras for word in ("--extra", extra)]
        argv = ["/bin/sh", "-ec", recipe.script(bool(self.adds)), "build", *words]
        environment = uv_environment() | {"UV": self.uv, "VENV": self.path, "FILE": self.requirements}
        if recipe.directory:
            environment |= {"DIRECTORY": recipe.directory, "FILE": os.path.basename(self.requirements)}
        environment |= {"ADDS": self.adds, "PYTHON": required(recipe.python)}
        environment |= {"UV_INDEX": " ".join(recipe.indexes)} if recipe.indexes else {}
        secret = secret_variables(self.variables, self._texts(listing))

        def prepare(scratch: str) -> str:
            return recipe.prepare(scratch, self.source, listing)

        try:
            build(system, argv, self.user, top, self.source, environment, self.path, prepare=prepare, secret=secret)
            self.package.require(top, self.requirements)
            if recipe.project:
                unbind(top, self.source, recipe)
        except Cancelled:
            shutil.rmtree(top, ignore_errors=True)
            raise
        except Failed as failure:
            shutil.rmtree(top, ignore_errors=True)
            if failure.hint:
                raise
            what = f"the packages in {self.requirements} could not be installed"
            hint = advice_on_build(failure.detail) or f"fix {self.requirements}; see uv's output above"
            raise Failed(what, hint, failure.detail) from failure
        with suppress(FileNotFoundError):
            os.unlink(f"{top}/.lock")  # uv's
        replace(f"{top}/{MARKER}", b"", 0o644, 0, 0)
        if top != self.path:
            broken = f"{self.path}.broken"
            shutil.rmtree(broken, ignore_errors=True)
            os.rename(self.path, broken)
            try:
                os.rename(top, self.path)
            except OSError:
                os.rename(broken, self.path)
                raise
            shutil.rmtree(broken, ignore_errors=True)

    def _texts(self, listing: str) -> str:
        """What may name variables: what the kit made of a lock, and the file with those that it includes."""
        found, waiting = {"": listing}, [self.requirements]
        while waiting:
            path = waiting.pop()
            if path not in found:
                found[path] = text_of(f"{self.source}/{path}") or ""
                names = INCLUDED.findall(found[path]) if path.endswith((".txt", ".in")) else []
                waiting += [os.path.normpath(f"{os.path.dirname(path)}/{name}".lstrip("/")) for name in names]
        return "".join(found.values())


INCLUDED = re.compile(r"^[^\S\n]*(?:-r|--requirement)[=\s]*([^\s:]+)$", re.M)


def listing_of(venv: str) -> str:
    """Where the lines of a lock are kept of which a virtualenv is made."""
    return f"{venv}.txt"


def lacking(venv: str, program: str) -> str:
    """What a virtualenv has lost without which it runs nothing; "" where it is whole."""
    for name in ("bin/python", f"bin/{program}"):
        if not os.path.exists(f"{venv}/{name}"):  # python is a link to the server's own
            return name
    python = os.path.basename(os.path.realpath(f"{venv}/bin/python"))  # after an upgrade of the server, another one
    packages = f"lib/{python}/site-packages"
    return "" if "." not in python or os.path.isdir(f"{venv}/{packages}") else packages


@dataclass(frozen=True)
class Pruned(Resource):
    """At most `keep` good releases beside the current one, and as many that were rolled back.

    With them goes all that no release is behind: virtualenvs, unit files, what a run that died has left. A release
    whose `state` says nothing never had traffic to the end of its watch: it is such a leftover, unless it is current.
    """

    app: str
    app_directory: str
    keep: int

    @property
    def title(self) -> str:
        return f"older releases: at most {self.keep} kept, no unfinished releases"

    def check(self, system: System) -> list[Drift]:
        surplus = [*self._surplus(), *unused()]
        return [Drift(path, "present", "absent") for path in surplus] + self._of_builds().check(system)

    def _of_builds(self) -> BuildPackagesRemoved:
        """What a build has left that died; its settings may have changed since."""
        return BuildPackagesRemoved(self.app)

    def apply(self, system: System) -> None:
        if self._of_builds().check(system):
            with system.alone("apt"):
                self._of_builds().apply(system)
        units = False
        while surplus := self._surplus():  # again, for the virtualenvs that only those releases used
            for path in surplus:
                units = units or path.startswith(UNITS)
                if os.path.isdir(path) and not os.path.islink(path):
                    shutil.rmtree(path)
                else:
                    os.unlink(path)
        remove_unused()  # at last, as those virtualenvs have used them
        if units:
            system.run(["systemctl", "daemon-reload"])

    def _surplus(self) -> list[str]:
        home = self.app_directory
        if not os.path.islink(f"{home}/current"):
            return []  # the first release is still being made
        current = os.path.basename(os.readlink(f"{home}/current"))
        names = sorted(os.listdir(f"{home}/releases"))
        kept = {current} | {name for name in names if os.path.exists(f"/run/{self.app}/{name}")}  # or still running
        kept |= releases_at_work(self.app)
        for state in ("good", "rolled back"):
            kept |= set([name for name in names if name != current and state_of(home, name) == state][-self.keep :])
        surplus = [f"{home}/releases/{name}" for name in names if name not in kept]
        used = {
            os.path.basename(os.readlink(f"{home}/releases/{name}/venv"))
            for name in names
            if os.path.islink(f"{home}/releases/{name}/venv")
        }
        surplus += [
            f"{home}/venvs/{name}" for name in os.listdir(f"{home}/venvs") if name.removesuffix(".txt") not in used
        ]
        for name in os.listdir(UNITS):
            ours = name.startswith(f"{self.app}@") and name.endswith((".service", ".timer"))
            if ours and of_instance(name) and of_instance(name) not in kept:
                surplus.append(f"{UNITS}/{name}")
        surplus += [path for path in stamps_of(self.app) if of_instance(path) not in kept]
        surplus += [entry.path for entry in os.scandir(home) if entry.name == "incoming" or entry.name[0] == "."]
        return surplus


def state_of(app_directory: str, release: str) -> str:
    """good, rolled back or restarted; nothing for a release that has not had traffic to the end of its watch."""
    return (text_of(f"{app_directory}/releases/{release}/state") or "").strip()
