"""A project's own templates: made by `ashore eject`, used instead of the kit's, told of when the kit's change."""

import io
from pathlib import Path

import pytest

from deploy.ci import kit
from deploy.config.paths import TEMPLATES
from deploy.errors import ConfigError
from deploy.screen.screen import Screen
from deploy.stack import overrides, render
from deploy.verbs.texts.eject import eject, list_templates

NAME = "systemd/room.sh.j2"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "deploy.toml").touch()
    monkeypatch.chdir(tmp_path)
    render.environment.cache_clear()
    yield tmp_path
    render.environment.cache_clear()


def run(template: str = "", accept: bool = False) -> str:
    screen = Screen(out=io.StringIO())
    if template:
        eject(screen, template, accept)
    else:
        list_templates(screen)
    return screen.out.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "typed", ["systemd/room.sh", "systemd/room.sh.j2", "templates/systemd/room.sh", "ashore\\systemd\\room.sh"]
)
def test_a_template_is_copied_and_then_used_instead_of_the_kit_s(project: Path, typed: str):
    before = render.render(NAME)
    assert "ashore/systemd/room.sh.j2 is written" in run(typed)
    own = project / "ashore" / NAME
    assert own.read_text() == (TEMPLATES / NAME).read_text() and render.render(NAME) == before
    own.write_text(own.read_text() + "# ours\n")
    render.environment.cache_clear()
    assert render.render(NAME).endswith("# ours\n")
    assert "systemd/room.sh  → ashore/systemd/room.sh.j2" in run()


def test_a_copy_that_is_there_is_not_replaced(project: Path):
    run(NAME)
    (project / "ashore" / NAME).write_text("mine")
    assert "is there already; nothing was written" in run(NAME)
    assert (project / "ashore" / NAME).read_text() == "mine"


def test_where_the_kit_s_template_has_changed_since_it_is_said_and_shown(project: Path):
    run(NAME)
    (project / "ashore" / ".original" / NAME).write_text("as it was\n")
    (note,) = overrides.notes()
    assert note.startswith("ashore/systemd/room.sh.j2 replaces a template that Ashore has changed since (+")
    assert "-as it was" in run(NAME) and "--accept" in run(NAME)
    run(NAME, accept=True)
    assert list(overrides.notes()) == []


@pytest.mark.parametrize("accept", [False, True])
def test_a_template_that_does_not_exist_is_an_error_that_names_the_nearest(project: Path, accept: bool):
    with pytest.raises(ConfigError) as raised:
        run("systemd/rom.sh", accept)
    assert "did you mean systemd/room.sh?" in raised.value.hint


def test_a_file_with_the_name_of_no_template_is_an_error(project: Path):
    (project / "ashore" / "systemd").mkdir(parents=True)
    (project / "ashore" / "systemd" / "rom.sh.j2").touch()
    (project / "ashore" / "notes.txt").touch()
    with pytest.raises(ConfigError, match="has the name of no template") as raised:
        overrides.require_known()
    assert "did you mean ashore/systemd/room.sh.j2?" in raised.value.hint


def test_a_template_that_no_longer_fits_is_named_with_what_to_do(project: Path):
    run(NAME)
    (project / "ashore" / NAME).write_text("one\n{{ gone }}\n")
    (project / "ashore" / ".original" / NAME).write_text("as it was\n")
    with pytest.raises(ConfigError, match="'gone' is undefined") as raised:
        render.render(NAME)
    assert raised.value.where.startswith("ashore/systemd/room.sh.j2")
    assert "Ashore's own has changed since (`fab eject systemd/room.sh` shows how)" in raised.value.hint


def test_the_server_s_side_of_a_ci_key_gets_the_project_s_templates(project: Path):
    kit.files.cache_clear()
    before = kit.version()
    run(NAME)
    (project / "ashore" / NAME).write_text("ours\n")
    kit.files.cache_clear()
    assert ("templates/" + NAME, "ours\n") in kit.files() and kit.version() != before
    kit.files.cache_clear()


def test_nothing_is_copied_where_there_is_no_project(project: Path):
    (project / "deploy.toml").unlink()
    with pytest.raises(ConfigError, match=r"there is no deploy\.toml here"):
        run(NAME)
    assert not (project / "ashore").exists()
