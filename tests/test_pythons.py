"""Which Python a project wants, and which one it gets."""

from pathlib import Path

import pytest

from deploy.agent.dataclass import replace
from deploy.agent.resources.release import pythons
from deploy.ci import limits
from deploy.config.reader import App, read
from deploy.config.site import Site
from deploy.errors import ConfigError, SourceError
from deploy.source.locked.ranges import Unreadable, admits, as_marker, parsed
from deploy.source.pythons import chosen_python, note, wanted

D12, D13 = "3.11.2", "3.13.5"


def project(requires: str) -> dict[str, str]:
    return {"pyproject.toml": f'[project]\nname = "shop"\nrequires-python = "{requires}"\n'}


def poetry(python: str) -> dict[str, str]:
    return {"pyproject.toml": f'[tool.poetry.dependencies]\npython = "{python}"\n'}


@pytest.mark.parametrize(
    ("texts", "on_12", "on_13"),
    [
        ({}, "", ""),
        (project(">=3.8"), "", ""),
        (project(">=3.12"), "3.13", ""),
        (project(">=3.12,<3.13"), "3.12", "3.12"),
        (project("~=3.12"), "3.13", ""),
        (project(">=3.12.4,<3.13"), "3.12.16", "3.12.16"),
        (project("<3.12"), "", "3.11"),
        (project("!=3.13.*,>=3.12"), "3.12", "3.12"),
        (poetry("^3.12"), "3.13", ""),
        (poetry("~3.12"), "3.12", "3.12"),
        (poetry(">=3.9,<3.11 || ^3.14"), "3.14", "3.14"),
        ({".python-version": "3.12\n"}, "3.12", "3.12"),
        ({".python-version": "# ours\n3.13.1\n3.12\n"}, "3.13.1", ""),
        ({".python-version": "cpython-3.11\n"}, "", "3.11"),
        ({".python-version": "shop-env\n"}, "", ""),
        ({".python-version": "\ufeff3.12\r\n"}, "3.12", "3.12"),
        ({"runtime.txt": "python-3.12.1\n"}, "3.12.1", "3.12.1"),
        ({"runtime.txt": "nodejs\n"}, "", ""),
        ({"Pipfile": '[requires]\npython_version = "3.12"\n'}, "3.12", "3.12"),
        ({".python-version": "3.12", **project(">=3.11")}, "3.12", "3.12"),
    ],
)
def test_the_server_s_own_python_is_used_where_it_is_accepted_and_else_one_of_uv(texts: dict, on_12: str, on_13: str):
    found = wanted("", texts)
    assert (chosen_python(found, D12), chosen_python(found, D13)) == (on_12, on_13)


def test_a_python_in_deploy_toml_overrides_the_project_s_and_is_meant_exactly():
    texts = {".python-version": "3.13"}
    assert chosen_python(wanted("3.12", texts), D13) == "3.12"
    assert chosen_python(wanted("3.11", {}), D12) == "" and chosen_python(wanted("3.11.9", {}), D12) == "3.11.9"


def test_another_patch_release_than_the_named_one_is_noted():
    found = wanted("", {".python-version": "3.11.9"})
    assert note(found, D12) == ".python-version says 3.11.9; the server's own Python 3.11.2 is used"
    assert note(found, D13) == note(None, D12) == note(wanted("", project(">=3.8")), D12) == ""


@pytest.mark.parametrize(
    ("setting", "texts", "what"),
    [
        ("3.19", {}, "there is no Python 3.19"),
        ("", {"runtime.txt": "python-2.7.18"}, "there is no Python 2.7.18"),
        ("", project(">=3.19"), "there is no Python >=3.19"),
        ("", project(">=3.12,<3.12"), "there is no Python"),
        ("", poetry("^2.7"), "there is no Python"),
        ("", project("three"), "no range of versions"),
        ("", {".python-version": "pypy3.10-7.3"}, "CPython only"),
        ("", {".python-version": "3.10", **project(">=3.12")}, "requires >=3.12"),
        ("3.10", project(">=3.12"), "requires >=3.12"),
    ],
)
def test_what_cannot_be_had_is_said_before_the_upload(setting: str, texts: dict, what: str):
    with pytest.raises(SourceError, match=what) as raised:
        wanted(setting, texts)
    assert raised.value.hint and raised.value.state == "nothing was changed"


def test_the_error_names_what_there_is():
    with pytest.raises(SourceError) as raised:
        wanted("3.19", {})
    assert "Debian 12 has 3.11, Debian 13 has 3.13; uv" in raised.value.hint


@pytest.mark.parametrize(
    ("text", "marker"),
    [
        (">=3.8", 'python_version >= "3.8"'),
        ("^3.9", 'python_version >= "3.9" and python_version < "4"'),
        (">=3.8.1", 'python_full_version >= "3.8.1"'),
        ("*", ""),
        ("what", ""),
    ],
)
def test_a_range_of_pythons_is_a_marker(text: str, marker: str):
    assert as_marker(text) == marker


def test_ranges_hold_as_their_tools_mean_them():
    assert admits(parsed("^3.9"), (3, 99)) and not admits(parsed("^3.9"), (4, 0))
    assert admits(parsed("~3.9.1"), (3, 9, 7)) and not admits(parsed("~3.9.1"), (3, 10))
    assert admits(parsed("~=3.9.1"), (3, 9, 7)) and not admits(parsed("~=3.9.1"), (3, 10))
    assert admits(parsed("~=3.9"), (3, 12)) and not admits(parsed("~=3.9"), (4, 0))
    assert admits(parsed(">= 3.9, < 4"), (3, 12)) and admits(parsed("3.*"), (3, 12))
    for text in ("", "*"):
        assert admits(parsed(text), (3, 12))
    for text in ("3.x.y.z", ">=three", "=>3.9"):
        with pytest.raises(Unreadable):
            parsed(text)


def made(directory, version: str) -> None:  # type: ignore[no-untyped-def]
    program = directory / f"cpython-{version}-linux-x86_64-gnu" / "bin" / f"python{version.rpartition('.')[0]}"
    program.parent.mkdir(parents=True)
    program.touch(0o755)


def test_the_newest_python_of_a_version_is_used_and_unused_ones_go(tmp_path, monkeypatch):  # type: ignore[no-untyped-def]
    for version in ("3.12.4", "3.12.11", "3.13.0"):
        made(tmp_path, version)
    (tmp_path / "cpython-3.12-linux-x86_64-gnu").symlink_to("cpython-3.12.11-linux-x86_64-gnu")
    top = str(tmp_path)
    assert pythons.interpreter("3.12", top).endswith("cpython-3.12.11-linux-x86_64-gnu/bin/python3.12")
    assert pythons.interpreter("3.12.4", top).endswith("cpython-3.12.4-linux-x86_64-gnu/bin/python3.12")
    assert pythons.interpreter("3.1", top) == pythons.interpreter("3.14", top) == ""
    assert pythons.interpreter("") == "/usr/bin/python3"
    venv = tmp_path / "venvs" / "k" / "bin"
    venv.mkdir(parents=True)
    (venv / "python").symlink_to(pythons.interpreter("3.12.4", top))
    assert pythons.unused(top, f"{top}/venvs/*") == []  # they are new: one may be for a build
    monkeypatch.setattr(pythons, "YOUNG_SECONDS", -1)
    gone = [path.rpartition("/")[2].split("-")[1] for path in pythons.unused(top, f"{top}/venvs/*")]
    assert gone == ["3.12.11", "3.13.0"]
    pythons.remove_unused(top, f"{top}/venvs/*")
    assert sorted(path.name for path in tmp_path.glob("cpython*")) == ["cpython-3.12.4-linux-x86_64-gnu"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("python", "3"), ("python", "2.7"), ("python", ">=3.12"), ("python", "3.12;x"), ("python", 3.12),
        ("apt", "libpq5"), ("apt", ["-y"]), ("apt", ["LibPq5"]), ("build_apt", ["gcc make"]), ("build_apt", ["gcc=12"]),
        ("build_apt", ["../x"]), ("extras", ["--x"]), ("python_mirror", "http://m.example"), ("install_project", 1),
    ],
)  # fmt: skip
def test_what_is_none_of_that_is_refused_with_its_key(key: str, value: object):
    table = {"name": "shop", "wsgi": "shop:app", key: value}
    with pytest.raises(ConfigError, match=f"app.{key} ") as raised:
        read({"app": table}, "", Path())
    assert "should be" in str(raised.value)


def test_a_package_named_twice_is_one():
    app = read({"app": {"name": "shop", "wsgi": "shop:app", "apt": ["libpq5", "libpq5"]}}, "", Path()).app
    assert app.apt == ("libpq5",)


def test_a_ci_key_may_use_the_system_packages_that_an_operator_has_recorded():
    shop = App("shop", "shop:app", apt=("libpq5",), build_apt=("gcc",))
    allowed = limits.read(limits.recorded(shop, Site(("shop.example",))))
    assert limits.beyond(shop, allowed) == [] == limits.beyond(App("shop", "shop:app"), allowed)
    (more,) = limits.beyond(replace(shop, build_apt=("gcc", "git")), allowed)
    assert more == 'build_apt = ["git"] (allowed: ["gcc"])'
