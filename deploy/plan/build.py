"""The steps that create a release: from uploaded source, or from another release."""

import json

from ..agent import layout
from ..agent.resources.files import File, Link
from ..agent.resources.host.build_packages import AppPackages, BuildPackages, BuildPackagesRemoved
from ..agent.resources.release.built import Built
from ..agent.resources.release.commands import Advised, ReleaseCommand
from ..agent.resources.release.environment import Environment
from ..agent.resources.release.own_package import Generated
from ..agent.resources.release.pythons import ManagedPython
from ..agent.resources.release.releases import Source, Virtualenv, listing_of
from ..agent.resources.release.uploads import Room, Uploaded
from ..agent.resources.release.writable import Writable
from ..agent.resources.serving.services import UnitFile
from ..agent.wire import Resource, Secret
from ..config.reader import App
from ..stack.data import served_data
from ..stack.processes import unit_texts
from ..stack.runners import runner_of
from .facts import Facts, Release
from .record import as_recorded, recipe_of, settings, static_links, unit_text

UV = f"{layout.uv()}/bin/uv"


def build(
    app: App,
    release: Release,
    facts: Facts,
    upload: str,
    listing: str = "",
    advice: tuple[str, ...] = (),
    products: tuple[str, ...] = (),
) -> tuple[Resource, ...]:
    """A release from uploaded source. upload: what is uploaded, as text. listing: see `source.dependencies`.

    advice: see `Framework.advice`; shown once, for the first release. products: see `Framework.products`.
    """
    name, home = app.name, layout.home(app.name)
    directory = layout.release(name, release.id)
    kit = {**settings(app, facts.cpus), "DOMAIN": release.site.names[0], **search_path(release, directory)}
    layers = {"kit": kit, "app": dict(app.env)}
    base = facts.current or max(facts.good, default="")
    before = layout.release(name, base) if base else layout.first_environment(name)
    command = ReleaseCommand(name, release.id, app.release_command, app.release_seconds)
    static = tuple(path for _, path in static_links(app))
    built = Built(name, release.id, app.build_command, app.build_seconds, static, products, base if products else "")
    builds = (
        *virtualenv(app, release, before),
        Environment(directory, before, Secret(json.dumps(layers)), None, layout.secrets(name)),
        *parts(app, release, facts.cpus),
        *((built,) if app.build_command else ()),
    )
    return (
        Room(home, layout.venv(name, release.record["venv"]), python=recipe_of(release.record).python),
        *((AppPackages(app.apt),) if app.apt else ()),
        Uploaded(home, upload),
        Source(home, release.id, name),
        *listed(app, release, listing),
        *with_tools(app, builds),
        *data(app, release),
        *((command,) if app.release_command else ()),
        *((Advised(name, release.id, *advice),) if advice and not facts.records else ()),
    )


def copy(app: App, release: Release, base: str, change: Secret, cpus: int) -> tuple[Resource, ...]:
    """A release with the code of the release `base`, and its environment with changes.

    change: JSON of {name: value, or null to remove it}.
    """
    directory = layout.release(app.name, release.id)
    before = layout.release(app.name, base)
    environment = Environment(directory, before, Secret(""), change, layout.secrets(app.name))
    source = Source(layout.home(app.name), release.id, app.name, base)
    tools = with_tools(app, virtualenv(app, release, before))
    return (source, *tools, environment, *parts(app, release, cpus), *data(app, release))


def data(app: App, release: Release) -> tuple[Resource, ...]:
    """The release's links to the app's data, which is made where it does not exist yet."""
    return (Writable(app.name, release.id, app.writable, bool(served_data(app))),) if app.writable else ()


def virtualenv(app: App, release: Release, variables: str) -> tuple[Resource, ...]:
    """The release's virtualenv, which is rebuilt if it is incomplete. variables: the directory of a release that has
    the variables for its build.
    """
    source = f"{layout.release(app.name, release.id)}/source"
    path, adds = layout.venv(app.name, release.record["venv"]), release.record.get("adds", "")
    recipe, package = recipe_of(release.record), runner_of(app).package_for(app)
    made = Virtualenv(path, source, app.requirements, UV, app.name, package, adds, recipe, variables)
    python = (ManagedPython(recipe.python, UV, app.python_mirror),) if recipe.python else ()
    return (*python, made, *((Generated(path, source, app.name),) if recipe.project else ()))


HEADERS = ("libc6-dev", "python3-dev")  # which Debian's compilers do not bring, and packages of Python need
COMPILERS = {"gcc", "g++", "clang", "build-essential", "gfortran", "cargo", "rustc"}


def with_tools(app: App, builds: tuple[Resource, ...]) -> tuple[Resource, ...]:
    """Steps that build, with the packages that they need only for that: installed before, and removed after them."""
    needing = tuple(step for step in builds if isinstance(step, (Virtualenv, Built)))
    if not app.build_apt or not needing:
        return builds
    managed = any(isinstance(step, ManagedPython) for step in builds)  # which has its headers with it
    headers = HEADERS[:1] if managed else HEADERS
    names = (*app.build_apt, *(headers if COMPILERS & set(app.build_apt) else ()))
    tools = BuildPackages(tuple(dict.fromkeys(names)), app.name, needing)
    return (tools, *builds, BuildPackagesRemoved(app.name))


def listed(app: App, release: Release, listing: str) -> tuple[Resource, ...]:
    """What a lock lists, kept beside the virtualenv that is made of it."""
    path = listing_of(layout.venv(app.name, release.record["venv"]))
    return (File(path, listing, 0o600),) if listing else ()


def search_path(release: Release, directory: str) -> dict[str, str]:
    """Where Python finds the project's own code, if the project is a package: in the release."""
    roots = recipe_of(release.record).roots
    found = ":".join(f"{directory}/source" if root == "." else f"{directory}/source/{root}" for root in roots)
    return {"PYTHONPATH": found} if found else {}


def parts(app: App, release: Release, cpus: int) -> tuple[Resource, ...]:
    directory = layout.release(app.name, release.id)
    record = json.dumps(release.record, indent=1, ensure_ascii=False) + "\n"
    unit = layout.unit_file(app.name, release.id)
    was = f"{layout.current(app.name)}/unit"
    return (
        Link(f"{directory}/venv", f"../../venvs/{release.record['venv']}", "virtualenv: linked into the release"),
        Link(f"{directory}/http.sock", layout.socket(app.name, release.id), "socket: linked into the release"),
        File(f"{directory}/release.json", record, 0o640, "root", app.name),
        *(
            File(f"{directory}/{name}", text, 0o640, "root", app.name)
            for name, text in runner_of(app).files(app, cpus).items()
        ),
        Link(f"{directory}/unit", unit, "unit file: linked into the release"),
        UnitFile(layout.unit(app.name, release.id), File(unit, unit_text(app), was=was)),
    )


def beside(app: App, release_id: str, facts: Facts, force: bool = False) -> tuple[Resource, ...]:
    """The units of a release's processes and timers; of an existing one as the kit wrote them at that time."""
    recorded = facts.records.get(release_id)
    made = as_recorded(app, recorded) if recorded else app
    texts = unit_texts(made, release_id, facts.scale)
    files = {
        name: File(f"{layout.UNITS}/{name}", text, force=force, keep=bool(recorded)) for name, text in texts.items()
    }
    bound = "processes: bound to the release"
    own = (Link(layout.own_name(app.name, release_id), "release.json", bound),) if texts else ()
    return (*own, *(UnitFile(name, file) for name, file in files.items()))


def unit_as_it_was(app: App, release_id: str, facts: Facts, force: bool) -> UnitFile:
    """The unit of an existing release, as the kit wrote it at that time; anything else is an edit by hand."""
    text = unit_text(as_recorded(app, facts.records.get(release_id, {})))
    file = File(layout.unit_file(app.name, release_id), text, force=force, keep=True)
    return UnitFile(layout.unit(app.name, release_id), file)
