"""Booted Debian servers for the end-to-end tests.

One machine is provisioned and given the sample app, once; its disk is kept as a snapshot. Tests that only look share a
machine of that snapshot (`live`); tests that break things get one of their own (`own`), booted in under a second.
"""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from keyholder import Holder
from standing import SNAPSHOT, Project, Server, machine, serving, settled

from deploy import sandbox


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test with a release of Debian as its mark is run on that one only."""

    def is_wanted(item: pytest.Item) -> bool:
        mark = item.get_closest_marker("debian")
        return not mark or mark.args[0] in item.callspec.params.values()

    left_out = [item for item in items if not is_wanted(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """`fab` meets Ctrl-C as at a terminal, also where the shell that started us ignores it: in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The disk of a server that was provisioned and runs the sample app; `first_runs` has what that printed."""
    with machine("first") as made:
        project = Project(tmp_path_factory.mktemp("first") / "project", made)
        project.fab("provision")
        project.fab("deploy")
        sandbox.save(made.name, SNAPSHOT)
    yield SNAPSHOT
    sandbox.delete_snapshot(SNAPSHOT)


@pytest.fixture(scope="session")
def bare() -> Iterator[sandbox.Machine]:
    """A server fresh from the image, shared by tests that must find nothing changed on it."""
    with machine("bare") as made:
        yield made


@pytest.fixture(scope="session")
def shared_machine(snapshot: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sandbox.Machine]:
    with serving("shared", snapshot, tmp_path_factory) as made:
        yield made


@pytest.fixture
def live(shared_machine: sandbox.Machine) -> Server:
    """The provisioned server with the sample app, shared: a test leaves it serving."""
    return Server(shared_machine)


@pytest.fixture
def own_machine(snapshot: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[sandbox.Machine]:
    with serving("own", snapshot, tmp_path_factory) as made:
        yield made


@pytest.fixture
def own(own_machine: sandbox.Machine) -> Server:
    """The provisioned server with the sample app, for this test alone."""
    return Server(own_machine)


@pytest.fixture(scope="module")
def crashed(snapshot: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that these tests may leave in any state that the next run fixes."""
    with serving("crash", snapshot, tmp_path_factory) as made:
        yield Server(made)


@pytest.fixture
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Project:
    """The developer's directory, for the server that the test uses."""
    if "crashed" in request.fixturenames:
        made = Project(tmp_path / "project", request.getfixturevalue("crashed").machine)
        made.fab("deploy")
        return made
    for fixture in ("own_machine", "shared_machine", "bare"):
        if fixture in request.fixturenames:
            return Project(tmp_path / "project", request.getfixturevalue(fixture))
    raise AssertionError("the test uses no server")


@pytest.fixture(scope="module")
def server(snapshot: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with machine("ci", snapshot=snapshot) as made:
        yield Server(settled(made, tmp_path_factory.mktemp("ci")))


@pytest.fixture(scope="module")
def operator(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The operator, who has made a key for CI."""
    project = Project(tmp_path_factory.mktemp("operator") / "project", server.machine)
    project.fab("deploy")
    project.fab("ci.key")
    return project


@pytest.fixture
def ci(operator: Project, tmp_path: Path) -> Holder:
    """CI's checkout: the operator's, in a home that knows nothing but the key."""
    project = Project(tmp_path / "project", operator.machine)
    shutil.rmtree(project.directory)
    shutil.copytree(operator.directory, project.directory)
    project.write_ssh_config("")
    key = tmp_path / "key"
    shutil.copy(operator.home / ".ssh" / "ashore-ci-visitors-production", key)
    return Holder(project, key)
