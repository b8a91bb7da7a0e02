"""Which file says what an app needs, and what is installed of it: requirements, a lock, or the project itself. Pure.

An operator's machine and the server's side of a CI key both use this code, with the same texts.
"""

import posixpath
import re
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache

from ..agent.dataclass import dataclass, field, replace
from ..agent.resources.release.recipes import LISTED, UV, Recipe
from .locked import pdm, pipfile, poetry, pylock, uv
from .locked.document import refused, strings, table, toml
from .locked.listing import Listing, other_indexes
from .requirements import MOST_CACHED, bare, included, is_plain, require_no_credentials
from .roots import roots

LOCKS = {"uv.lock": "pyproject.toml", "poetry.lock": "pyproject.toml", "pdm.lock": "pyproject.toml"}
LOCKS |= {"pylock.toml": "pyproject.toml", "Pipfile.lock": "Pipfile"}  # and what each one is made from
FILES = (
    "requirements.txt", "requirements/production.txt", "requirements/prod.txt", "requirements/base.txt",
    "requirements-prod.txt",
)  # fmt: skip
PYTHON_FILES = (".python-version", "runtime.txt", "pyproject.toml", "Pipfile")  # which may say what Python is wanted
USUAL = FILES[0]
USUAL_FILES = (*LOCKS, USUAL)
EDITABLE = re.compile(r"^[^\S\n]*(?:-e|--editable)[=\s]\s*", re.M)
# `.` or `-e .`, with extras, in a requirements file: the project itself; and other directories of the source.
LOCAL_LINE = re.compile(
    r"^[^\S\n]*(?:(?:-e|--editable)[=\s]\s*)?(?:file:(?=\.))?(\.(?:\.?/[\w./-]*)?)(?:\[([\w\s,.-]*)\])?[^\S\n]*(?:;[^\n]*)?$",
    re.M,
)
# What a build of the project itself reads, besides its Python code: a change of these is a new virtualenv.
BUILD_FILES = re.compile(
    r"(?:.*/)?(?:pyproject\.toml|setup\.(?:py|cfg)|MANIFEST\.in|VERSION[\w.]*|_*version_*\.py|__about__\.py|Cargo\.(?:toml|lock)"
    r"|CMakeLists\.txt|meson\.build|.*\.(?:c|cc|cpp|cxx|h|hpp|pyx|pxd|pxi|rs|f|f90|go|proto|swig|i))"
)
VERSIONED = re.compile(r"(?:(?:src|lib)/)?[\w-]+/__init__\.py|[\w-]+\.py")


@dataclass(frozen=True)
class Dependencies:
    """path: the file that says it. read: text of each file that counts, by its path. listing: what a lock lists, as
    requirements, where uv does not read it by itself. texts: the requirements by the paths of their files, as far as
    they are known: of a lock, its packages with their versions.

    inputs: files and directories of the source that the virtualenv is built from, so that its name depends on them;
    "." is all of it.
    """

    path: str
    read: dict[str, str]
    recipe: Recipe
    listing: str = ""
    inputs: tuple[str, ...] = ()
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        own = " and the project itself" if self.recipe.project else ""
        return f"dependencies: from {self.path}{own}"


def chosen(wanted: str, names: Collection[str], texts: Mapping[str, str]) -> str:
    """The file that counts: the one that is set, or the first that is there. texts: of some of them."""
    if posixpath.basename(wanted) == "pyproject.toml":
        beside = [
            posixpath.join(posixpath.dirname(wanted), lock) for lock, of in LOCKS.items() if of == "pyproject.toml"
        ]
        return next((lock for lock in beside if lock in names), wanted)
    if wanted:
        return wanted
    for path in (*LOCKS, *FILES, "pyproject.toml", "setup.py"):
        complete = path not in LOCKS or LOCKS[path] in names or path == "pylock.toml"
        if path in names and complete and (path != "pyproject.toml" or lists_something(texts.get(path, ""))):
            return path
    return USUAL


def lists_something(pyproject: str) -> bool:
    """Whether a pyproject.toml is of a project, and not only of some tools."""
    return bool(re.search(r"^\s*\[(project|tool\.poetry)\]", pyproject, re.M))


def companions(path: str, text: str, names: Collection[str]) -> list[str]:
    """The files that are read besides one: what it includes, and what it is made from."""
    directory, name = posixpath.split(path)
    also = [LOCKS[name]] if name in LOCKS else ["pyproject.toml", "setup.cfg"] if name == "setup.py" else []
    beside = [posixpath.join(directory, each) for each in also]
    if name.endswith((".txt", ".in")) and any(own_directory(each) == "." for each, _ in local_lines(text)):
        beside = ["pyproject.toml", "setup.py", "setup.cfg"]  # of the top directory, wherever the file is
    return [each for each in beside if each in names] + included(path, text)


def needed(path: str, names: Collection[str], text_of: Callable[[str], str]) -> dict[str, str]:
    """The text of the file that counts and of those that it leads to, by path."""
    read: dict[str, str] = {}
    waiting = [path]
    while waiting:
        path = waiting.pop(0)
        if path not in read:
            read[path] = text_of(path)
            waiting += dict.fromkeys(companions(path, read[path], names))
    return read


def dependencies(
    read: Mapping[str, str], names: Collection[str], extras: tuple[str, ...] = (), itself: bool = True
) -> Dependencies:
    """read: texts by path, that of the file that counts first, and maybe more than it needs.

    names: of all files of the source. itself: whether the project is installed, too, where it is a package. SourceError
    for a lock that is stale or none.
    """
    path = next(iter(read))
    counts = needed(path, names, lambda each: read.get(each, ""))
    directory, name = posixpath.split(path)
    if not directory or name.endswith((".txt", ".in")):
        return made_of(path, name, counts[path], counts, names, extras, itself)
    # A project in a directory of the source: all of it is relative to that directory.
    under = [each[len(directory) + 1 :] for each in names if each.startswith(f"{directory}/")]
    made = made_of(path, name, counts[path], counts, under, extras, itself)

    def inside(paths: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(posixpath.normpath(f"{directory}/{each}") for each in paths)

    recipe = replace(made.recipe, directory=directory, roots=inside(made.recipe.roots))
    return replace(made, recipe=recipe, inputs=made.inputs if made.inputs == (".",) else inside(made.inputs))


def made_of(
    path: str, name: str, text: str, read: dict[str, str], names: Collection[str], extras: tuple[str, ...], itself: bool
) -> Dependencies:
    beside = posixpath.join(posixpath.dirname(path), "pyproject.toml")
    if name in LOCKS or name == "pyproject.toml":
        require_no_credentials(read.get(beside, ""), beside)
        project = toml(read[beside], beside) if beside in read and (name in LOCKS or beside == path) else {}
        own = itself and is_package(project, "setup.py" in names) and name != "Pipfile.lock"
        recipe = Recipe(
            project=own, local=own, roots=roots(project, beside_of(path, read), names) if own else (), extras=extras
        )
        if name == "pyproject.toml":
            return of_project(path, text, read, recipe, project, names)
        return of_lock(path, name, text, read, recipe, project, names)
    if extras:
        what = f"extras are of a project's own file; {path} is another one"
        raise refused(what, "app.extras in deploy.toml", f"name them in {path}, as in `.[{','.join(extras)}]`")
    if name in ("setup.py", "setup.cfg"):
        recipe = Recipe(
            LISTED, project=True, local=True, resolves=True, named=True, roots=roots({}, beside_of(path, read), names)
        )
        return Dependencies(path, read, recipe, ".\n", own_inputs(names, {}), read)
    return of_requirements(path, read, names)


def beside_of(path: str, read: Mapping[str, str]) -> dict[str, str]:
    """The texts of files by their names only: of those in the directory of one."""
    directory = posixpath.dirname(path)
    return {posixpath.basename(each): text for each, text in read.items() if posixpath.dirname(each) == directory}


def of_project(
    path: str, text: str, read: dict[str, str], recipe: Recipe, project: dict[str, object], names: Collection[str]
) -> Dependencies:
    """A pyproject.toml without a lock."""
    if table(project, "project"):
        inputs = () if is_plain(path, text) else (".",)
        local = recipe.local or "dependencies" in strings(table(project, "project").get("dynamic"))
        listed = Listing((), indexes=other_indexes(table(project, "tool", "uv").get("index")))
        recipe = replace(recipe, local=local, indexes=indexes(listed, path))
        return Dependencies(
            path, read, recipe, "", inputs or (own_inputs(names, project) if recipe.project else ()), {path: text}
        )
    if not table(project, "tool", "poetry"):
        what = f"{path} has no table [project] with dependencies"
        raise refused(what, path, "add one, or set `requirements` in deploy.toml to the file that lists the packages")
    if not recipe.project:
        raise refused(f"there is no lock beside {path}", path, f"{poetry.REFRESH}, then commit poetry.lock")
    more = f"[{','.join(recipe.extras)}]" if recipe.extras else ""
    resolved = replace(recipe, how=LISTED, resolves=True, named=True, extras=())
    return Dependencies(path, read, resolved, f".{more}\n", own_inputs(names, project), {path: text})


def of_lock(
    path: str,
    name: str,
    text: str,
    read: dict[str, str],
    recipe: Recipe,
    project: dict[str, object],
    names: Collection[str],
) -> Dependencies:
    require_no_credentials(text, path)
    if name == "uv.lock":
        found = uv.read(text, path, project, recipe.extras)
        recipe = replace(recipe, how=UV)
    else:
        found = by_lock(path, name, text, read, recipe.extras, project)
        own = recipe.project or "." in found.directories
        recipe = replace(recipe, how=LISTED, hashed=found.hashed, project=own, extras=())
        if own and not recipe.roots:
            recipe = replace(recipe, roots=roots(project, beside_of(path, read), names))
    elsewhere = tuple(directory for directory in found.directories if directory != ".")
    recipe = replace(recipe, local=recipe.project or bool(elsewhere), indexes=indexes(found, path))
    inputs = (*(own_inputs(names, project) if recipe.project else ()), *elsewhere)
    listed = without_own(found).text
    return Dependencies(path, read, recipe, listed if recipe.how == LISTED else "", inputs, {path: listed})


def by_lock(
    path: str, name: str, text: str, read: dict[str, str], extras: tuple[str, ...], project: dict[str, object]
) -> Listing:
    if name == "poetry.lock":
        return poetry.read(text, path, project, extras)
    if name == "pdm.lock":
        return pdm.read(text, path, project, extras)
    if name == "pylock.toml":
        return pylock.read(text, path, extras)
    if extras:
        raise refused(f"{path} has no extras", "app.extras in deploy.toml", "remove `extras`")
    beside = posixpath.join(posixpath.dirname(path), "Pipfile")
    return pipfile.read(text, path, toml(read[beside], beside) if beside in read else None)


def without_own(found: Listing) -> Listing:
    """The project itself is installed by a step of its own, from a copy that its build may write to."""
    return replace(found, packages=tuple(each for each in found.packages if each.source != "."))


def indexes(found: Listing, path: str) -> tuple[str, ...]:
    """The indexes that a lock names, as uv takes them: "name=url"."""
    for _, url in found.indexes:
        require_no_credentials(url, path)
    return tuple(f"{name}={url}" if re.fullmatch(r"[A-Za-z0-9_-]+", name) else url for name, url in found.indexes)


def of_requirements(path: str, read: dict[str, str], names: Collection[str]) -> Dependencies:
    """A requirements file and what it includes."""
    local = [
        (name, line) for name, text in read.items() if name.endswith((".txt", ".in")) for line in local_lines(text)
    ]
    here = [own_directory(line) for _, (line, _) in local]
    own = "." in here
    for name, text in read.items():
        if name.endswith((".txt", ".in")):
            require_no_credentials(bare(text), name)
    edited = tuple(name for name, text in read.items() if EDITABLE.search(bare(text)))
    if own and not {"pyproject.toml", "setup.py"} & set(names):
        what = f"{path} names the project itself, but it is no package: it has no pyproject.toml or setup.py"
        raise refused(what, path, "remove that line: the app's own code is found without it")
    outside = [line for _, (line, _) in local if own_directory(line).startswith("..")]
    if outside:
        raise refused(f"{path} names {outside[0]}, which is outside of the project", path, "move it into the project")
    lists = {name: text for name, text in read.items() if name.endswith((".txt", ".in"))}
    rest = {name: LOCAL_LINE.sub("", bare(text)) for name, text in lists.items()} if local else lists
    plain = all(is_plain(name, text) for name, text in rest.items())
    project = toml(read["pyproject.toml"], "pyproject.toml") if own and "pyproject.toml" in read else {}
    elsewhere = tuple(sorted({directory for directory in here if directory != "."}))
    inputs = (*(own_inputs(names, project) if own else ()), *elsewhere) if plain else (".",)
    hashed = any("--hash=" in text or "--require-hashes" in text for text in read.values())
    builds = any(not is_archive(directory) for directory in here)
    recipe = Recipe(project=own, named=own, local=builds or bool(edited), edited=edited, hashed=hashed)
    if own:
        recipe = replace(recipe, roots=roots(project, beside_of("", read), names))
    return Dependencies(path, read, recipe, "", inputs, read)


@lru_cache(MOST_CACHED)
def local_lines(text: str) -> tuple[tuple[str, str], ...]:
    """(path, extras) of the lines of a requirements file that install a directory or a file of the source."""
    return tuple((match[1], match[2] or "") for match in LOCAL_LINE.finditer(bare(text)))


def is_archive(path: str) -> bool:
    return bool(re.search(r"\.(whl|zip|tar\.\w+|tgz)$", path))


def own_directory(path: str) -> str:
    """A path in a requirements file as the manifest has it; "." is the project itself."""
    return posixpath.normpath(path)


def is_package(project: Mapping[str, object], setup: bool) -> bool:
    """Whether a tool would install the project itself: as uv, Poetry and PDM decide it."""
    said = [
        table(project, "tool", "uv").get("package"),
        table(project, "tool", "poetry").get("package-mode"),
        table(project, "tool", "pdm").get("distribution"),
    ]
    for each in said:
        if isinstance(each, bool):
            return each
    return "build-system" in project or (setup and not project)


def own_inputs(names: Collection[str], project: Mapping[str, object]) -> tuple[str, ...]:
    """The files of the source that a build of the project reads, as far as its result depends on them.

    A version that pyproject.toml does not have is often in the package's own __init__.py.
    """
    own = table(project, "project")
    stated = "version" in own or "version" in table(project, "tool", "poetry")
    found = [name for name in names if BUILD_FILES.fullmatch(name)]
    found += [] if stated else [name for name in names if VERSIONED.fullmatch(name)]
    return tuple(sorted(found))
