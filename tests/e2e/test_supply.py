"""What is installed from the package index: nothing but what a lock has the hash of."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from breaking import kit_with
from standing import REPO, Project, Server, serving

from deploy.agent import layout

WHEELS = "deploy/plan/uv-wheels.lock"


@pytest.fixture(scope="module")
def server(snapshot: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving("supply", snapshot, tmp_path_factory) as made:
        yield Server(made)


@pytest.fixture
def project(tmp_path: Path, server: Server) -> Project:
    return Project(tmp_path / "project", server.machine)


def test_a_uv_whose_hash_is_another_is_not_installed(server: Server, project: Project, tmp_path: Path):
    server.run("rm", "-r", layout.uv())
    hashes = re.findall(r"sha256:[0-9a-f]{64}", (REPO / WHEELS).read_text())
    project.kit = kit_with(tmp_path, *((WHEELS, known, f"sha256:{'0' * 64}") for known in hashes))
    ran = project.fab("provision", status=1)
    assert "DO NOT MATCH THE HASHES" in ran.err and "the index did not serve the published uv" in ran.err
    assert server.run("ls", layout.KIT, check=False).count("uv-") == 0
    project.kit = REPO
    assert "1 changed" in project.fab("provision").out
    assert layout.UV_VERSION in server.run(f"{layout.uv()}/bin/uv", "--version")


def test_a_deploy_notes_requirements_without_an_exact_version_once(server: Server, project: Project):
    project.append("webapp/requirements.txt", "packaging\n")
    project.commit()
    ran = project.fab("deploy")
    assert ran.out.count("requirements without an exact version: webapp/requirements.txt (flask, gunicorn") == 1
    assert "uv pip compile" in ran.out
    locked = (REPO / "tests" / "requirements.lock").read_text()
    text = "".join(f"{pin}\n" for pin in re.findall(r"^(?:flask|gunicorn)==\S+", locked, re.M))
    (project.directory / "webapp" / "requirements.txt").write_text(text)
    project.commit()
    assert "without an exact version" not in project.fab("deploy").out
