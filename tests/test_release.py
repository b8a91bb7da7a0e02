"""`make release`: what it refuses, and what it makes."""

import hashlib
import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from docs import release

ROOT = Path(__file__).resolve().parents[1]
CHANGELOG = "# Changelog\n\n## 0.2.0, unreleased\n\n- Newer.\n\n## 0.1.0, 2026-03-01\n\n- First.\n\n## 0.0.9\n"
READY = release.State("0.1.0", "a" * 40, (), "", "## 0.1.0\n\n- First.\n")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """One that a release could be made of."""
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "version.py").write_text('VERSION = "0.1.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    git(tmp_path, "init", "--quiet")
    committed(tmp_path)
    return tmp_path


def git(directory: Path, *words: str) -> None:
    who = ("-c", "user.name=me", "-c", "user.email=me@example.com", "-c", "tag.gpgSign=false")
    subprocess.run(["git", *who, *words], cwd=directory, check=True)


def committed(directory: Path) -> None:
    git(directory, "add", "--all")
    git(directory, "-c", "commit.gpgSign=false", "commit", "--quiet", "--allow-empty", "--message", "x")


def test_a_clean_tree_with_its_changes_told_is_released(repository: Path):
    state = release.look(repository)
    assert release.refusal(state) == "" and state.version == "0.1.0" and state.tagged == ""
    git(repository, "tag", "-a", "v0.1.0", "-m", "x")
    state = release.look(repository)
    assert state.tagged == state.commit and release.refusal(state) == ""


def test_a_changed_or_an_unknown_file_is_refused_by_its_name(repository: Path):
    (repository / "CHANGELOG.md").write_text(CHANGELOG + "\n")
    (repository / "new.py").write_text("")
    why = release.refusal(release.look(repository))
    assert "CHANGELOG.md" in why and "new.py" in why and "commit them" in why


def test_a_version_without_a_section_is_refused(repository: Path):
    (repository / "deploy" / "version.py").write_text('VERSION = "0.3.0"\n')
    committed(repository)
    assert "CHANGELOG.md has no section of 0.3.0" in release.refusal(release.look(repository))


def test_a_version_that_was_released_from_another_commit_is_refused(repository: Path):
    git(repository, "tag", "v0.1.0")
    committed(repository)
    assert "the tag v0.1.0 is of another commit" in release.refusal(release.look(repository))


def test_a_directory_without_a_repository_is_refused():
    assert "there is no commit" in release.refusal(replace(READY, commit=""))


@pytest.mark.parametrize(("version", "told"), [("0.2.0", "Newer"), ("0.1.0", "First"), ("0.0.9", ""), ("0.1", "")])
def test_a_section_is_a_version_s_own_and_says_something(version: str, told: str):
    found = release.section(CHANGELOG, version)
    assert re.findall(r"^- (\w+)\.$", found, re.M) == ([told] if told else [])
    assert not found or found.startswith(f"## {version}")


def test_this_version_has_a_section():
    assert release.look(ROOT).section


def test_the_list_of_parts_has_each_locked_package_with_its_hashes():
    listed = json.loads(release.parts(ROOT, "0.1.0", "1772366645"))
    locked = re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "requirements.lock").read_text("utf-8"), re.M)
    assert {(part["name"], part["version"]) for part in listed["components"]} == {*locked}
    assert all(part["externalReferences"][0]["hashes"] for part in listed["components"])
    assert listed["bomFormat"] == "CycloneDX"
    assert (listed["metadata"]["component"]["name"], listed["metadata"]["component"]["version"]) == ("ashore", "0.1.0")


def test_the_checksums_are_those_of_the_files(tmp_path: Path):
    (tmp_path / "b").write_bytes(b"2")
    (tmp_path / "a").write_bytes(b"1")
    sums = [f"{hashlib.sha256(text).hexdigest()}  {name}\n" for name, text in (("a", b"1"), ("b", b"2"))]
    assert release.sums(tmp_path) == "".join(sums)
