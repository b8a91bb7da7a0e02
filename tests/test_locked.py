"""Lock files: what is installed of them, which of them are stale, and what is wrong with the others.

Those in locks/ are small. Their hashes are what the tools compute (uv 0.13, Poetry 2.5, PDM 2.29, pipenv 2026).
"""

from pathlib import Path

import pytest

from deploy.agent.resources.release.recipes import LISTED, UV
from deploy.errors import SourceError
from deploy.source.dependencies import Dependencies, chosen, dependencies
from deploy.source.pins import unpinned
from deploy.source.requirements import added
from deploy.stack.runners.gunicorn import RUNNER

LOCKS = Path(__file__).parent / "locks"
ITS = "itsdangerous==2.2.0"
HASHES = (
    "--hash=sha256:c6242fc49e35958c8b15141343aa660db5fc54d4f13a1db01a3f5891b98700ef "
    "--hash=sha256:e0050c0b7da1eea53ffaf149c0cfbb5c6e2e2b69c4bef22c81fa6eb73e5f6173"
)
TOOLS = {"poetry1": "poetry", "poetry2": "poetry", "pdm": "pdm", "pipenv": "pipenv", "uv": "uv"}


def files(name: str) -> dict[str, str]:
    """The lock and what it was made from, the lock first."""
    found = {path.name: path.read_text() for path in (LOCKS / name).iterdir()}
    return dict(sorted(found.items(), key=lambda item: "lock" not in item[0]))


def read(name: str, change: tuple[str, str, str] = ("", "", ""), extras: tuple[str, ...] = ()) -> Dependencies:
    """change: a file, and what is replaced in it."""
    texts = files(name)
    path, before, after = change
    if path:
        assert before in texts[path]
        texts[path] = texts[path].replace(before, after)
    return dependencies(texts, [*texts, "shop.py"], extras)


@pytest.mark.parametrize("name", ["poetry1", "poetry2", "pdm", "pipenv", "pylock"])
def test_a_lock_lists_what_is_installed_with_hashes_and_nothing_of_development(name: str):
    found = read(name)
    (line,) = [line for line in found.listing.splitlines() if line.startswith("itsdangerous")]
    assert line.startswith(ITS) and line.endswith(HASHES)
    assert "packaging" not in found.listing and "click" not in found.listing and "blinker" not in found.listing
    assert found.recipe.how == LISTED and not found.recipe.resolves


@pytest.mark.parametrize("name", ["poetry1", "pipenv", "pylock"])
def test_what_is_for_another_platform_keeps_its_marker(name: str):
    (line,) = [line for line in read(name).listing.splitlines() if line.startswith("colorama")]
    assert "; sys_platform == 'win32'" in line


def test_hashes_are_required_where_all_packages_have_some():
    assert all(read(name).recipe.hashed for name in ("poetry1", "poetry2", "pdm", "pylock"))
    assert not read("pipenv").recipe.hashed  # pipenv writes none for what it has not resolved


def test_uv_reads_its_own_lock_and_the_kit_knows_what_is_in_it():
    found = read("uv")
    assert found.recipe.how == UV and found.listing == ""
    assert ITS in found.texts["uv.lock"] and "packaging" not in found.texts["uv.lock"]
    assert found.recipe.project and found.recipe.local


@pytest.mark.parametrize("name", ["uv", "poetry2"])
def test_extras_are_installed_where_they_are_wanted(name: str):
    assert "blinker==1.9.0" not in "".join(read(name).texts.values())
    assert "blinker==1.9.0" in "".join(read(name, extras=("prod",)).texts.values())
    with pytest.raises(SourceError, match="no extra production"):
        read(name, extras=("production",))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("uv", ("pyproject.toml", '"itsdangerous>=2"', '"itsdangerous>=2", "flask"')),
        ("uv", ("pyproject.toml", '"itsdangerous>=2"', '"itsdangerous>=3"')),
        ("uv", ("pyproject.toml", '"itsdangerous>=2", ', "")),
        ("poetry1", ("pyproject.toml", 'itsdangerous = "*"', 'itsdangerous = "^2"')),
        ("poetry2", ("pyproject.toml", '["itsdangerous"]', '["itsdangerous", "flask"]')),
        ("pdm", ("pyproject.toml", '["itsdangerous"]', '["itsdangerous>=2"]')),
        ("pdm", ("pyproject.toml", '["itsdangerous"]', '["flask"]')),
        ("pipenv", ("Pipfile", 'packaging = "*"', 'packaging = ">=20"')),
    ],
)
def test_a_stale_lock_is_refused_with_the_command_that_refreshes_it(name: str, change: tuple[str, str, str]):
    with pytest.raises(SourceError, match="is stale") as raised:
        read(name, change)
    assert raised.value.hint.startswith(f"{TOOLS[name]} lock, then commit")
    assert raised.value.state == "nothing was changed"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("uv", ("pyproject.toml", 'version = "1.2.3"', 'version = "1.2.4"')),
        ("uv", ("pyproject.toml", '"itsdangerous>=2"', '"ItsDangerous >= 2"')),
        ("uv", ("pyproject.toml", '"itsdangerous>=2"', '"itsdangerous>=02"')),
        (
            "pdm",
            (
                "pdm.lock",
                'lock_version = "4.5.0"\ncontent_hash = "sha256:abc',
                'lock_version = "4.0"\ncontent_hash = "sha256:ab',
            ),
        ),
        ("uv", ("pyproject.toml", "[dependency-groups]", "[tool.ruff]\nline-length = 100\n[dependency-groups]")),
        ("poetry1", ("pyproject.toml", 'version = "0.1"', 'version = "0.2"')),
        ("pdm", ("pyproject.toml", 'version = "0.1"', 'version = "0.2"')),
        ("pipenv", ("Pipfile", "[requires]", '[scripts]\nserve = "flask run"\n[requires]')),
    ],
)
def test_a_change_of_something_else_makes_no_lock_stale(name: str, change: tuple[str, str, str]):
    assert read(name, change).path in ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock")


@pytest.mark.parametrize(
    ("name", "lock"),
    [
        ("uv", "uv.lock"),
        ("poetry1", "poetry.lock"),
        ("pdm", "pdm.lock"),
        ("pipenv", "Pipfile.lock"),
        ("pylock", "pylock.toml"),
    ],
)
@pytest.mark.parametrize("text", ["", "{", "[[", "[package]\nname = 1\n", '{"default": 5}', "[]", "<<<<<<< HEAD\n"])
def test_a_broken_lock_is_refused_in_words(name: str, lock: str, text: str):
    with pytest.raises(SourceError) as raised:
        dependencies({**files(name), lock: text}, [*files(name), "shop.py"])
    assert raised.value.where.startswith(lock) and raised.value.hint and raised.value.state == "nothing was changed"


def test_a_lock_for_other_platforms_only_is_refused():
    only = "revision = 5\nsupported-markers = [\"sys_platform == 'win32'\"]"
    with pytest.raises(SourceError, match="for other platforms only") as raised:
        read("uv", ("uv.lock", "revision = 5", only))
    assert "tool.uv.environments" in raised.value.hint
    read("uv", ("uv.lock", "revision = 5", only.replace("]", ", \"sys_platform == 'linux'\"]")))


def test_the_project_itself_is_installed_where_it_is_a_package():
    assert read("poetry1").recipe.project and not read("poetry2").recipe.project  # package-mode = false
    assert not read("pdm").recipe.project and not read("pipenv").recipe.project  # no build system
    assert not dependencies(files("uv"), list(files("uv")), itself=False).recipe.project
    off = ("pyproject.toml", "[build-system]", "[tool.uv]\npackage = false\n[build-system]")
    assert not read("uv", off).recipe.project


GIT = (
    '[[package]]\nname = "shared"\nversion = "1.0"\noptional = false\ngroups = ["main"]\nfiles = []\n[package.source]\n'
)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (
            'type = "git"\nurl = "https://git.example/shared"\nreference = "main"\nresolved_reference = "1234abcd"\n',
            "shared @ git+https://git.example/shared@1234abcd",
        ),
        ('type = "directory"\nurl = "libs/shared"\n', "./libs/shared"),
        ('type = "url"\nurl = "https://files.example/shared.whl"\n', "shared @ https://files.example/shared.whl"),
    ],
)
def test_packages_of_other_sources_than_an_index_are_installed_from_there(source: str, line: str):
    found = read("poetry2", ("poetry.lock", "[extras]\n", f"{GIT}{source}\n[extras]\n"))
    assert line in found.listing.splitlines()
    assert found.recipe.local == line.startswith("./") and ("libs/shared" in found.inputs) == line.startswith("./")


def test_a_password_in_a_lock_is_refused_and_not_shown():
    source = 'type = "git"\nurl = "https://me:canary@git.example/shared"\nresolved_reference = "1234abcd"\n'
    with pytest.raises(SourceError, match="user name or password") as raised:
        read("poetry2", ("poetry.lock", "[extras]\n", f"{GIT}{source}\n[extras]\n"))
    assert "canary" not in str(raised.value)


def test_a_private_index_of_the_project_is_asked_and_a_password_in_it_is_refused():
    texts = files("uv")
    index = '[[tool.uv.index]]\nname = "ours"\nurl = "https://{}packages.example/simple"\n[project.scripts]'
    texts["pyproject.toml"] = texts["pyproject.toml"].replace("[project.scripts]", index.format(""))
    assert dependencies(texts, list(texts)).recipe.indexes == ("ours=https://packages.example/simple",)
    texts["pyproject.toml"] = texts["pyproject.toml"].replace("https://pack", "https://me:canary@pack")
    with pytest.raises(SourceError, match="user name or password") as raised:
        dependencies(texts, list(texts))
    assert "canary" not in str(raised.value) and "fab env.set" in raised.value.hint


@pytest.mark.parametrize(
    ("there", "file"),
    [
        (["requirements.txt", "pyproject.toml", "poetry.lock", "uv.lock"], "uv.lock"),
        (["requirements.txt", "pyproject.toml", "poetry.lock"], "poetry.lock"),
        (["requirements.txt", "Pipfile", "Pipfile.lock"], "Pipfile.lock"),
        (["requirements.txt", "pyproject.toml"], "requirements.txt"),
        (["pyproject.toml", "setup.py"], "pyproject.toml"),
        (["requirements/prod.txt", "setup.py"], "requirements/prod.txt"),
        (["setup.py"], "setup.py"),
        (["uv.lock", "requirements.txt"], "requirements.txt"),
        (["shop.py"], "requirements.txt"),
    ],
)
def test_the_file_that_counts_is_the_one_that_a_python_developer_expects(there: list[str], file: str):
    assert chosen("", there, {"pyproject.toml": '[project]\nname = "x"\n'}) == file


def test_a_pyproject_that_only_configures_tools_does_not_count():
    assert chosen("", ["pyproject.toml", "setup.py"], {"pyproject.toml": "[tool.ruff]\n"}) == "setup.py"


def test_a_file_that_is_named_counts_and_pyproject_means_the_lock_beside_it():
    there = ["requirements.txt", "pyproject.toml", "poetry.lock", "api/pyproject.toml", "api/uv.lock"]
    assert chosen("requirements.txt", there, {}) == "requirements.txt"
    assert (
        chosen("pyproject.toml", there, {}) == "poetry.lock"
        and chosen("api/pyproject.toml", there, {}) == "api/uv.lock"
    )
    assert chosen("pyproject.toml", ["pyproject.toml"], {}) == "pyproject.toml"


@pytest.mark.parametrize("name", ["poetry1", "pdm", "pipenv", "pylock", "uv"])
def test_the_runner_is_added_unless_the_lock_has_it(name: str):
    found = read(name)
    assert added(found.texts, RUNNER.package) == "gunicorn>=25.1" and unpinned(found.texts).keys() <= {"Pipfile.lock"}
    lock = found.path
    locked = {
        path: text.replace("itsdangerous", "gunicorn").replace("2.2.0", "25.1.0") for path, text in files(name).items()
    }
    if name in ("pylock", "uv"):  # the others would be stale
        assert added(dependencies(locked, [*locked]).texts, RUNNER.package) == "", lock
