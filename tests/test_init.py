"""`ashore init`: what it finds in a project, what it asks, and what it refuses."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.config.paths import PACKAGE
from deploy.config.reader import App, load
from deploy.errors import ConfigError, SourceError
from deploy.screen.screen import Screen
from deploy.source.callables import callables, health_path, read, to_choose
from deploy.source.upload import require_wsgi
from deploy.verbs.init import Given, init

FLASK = "from flask import Flask\n\napp = Flask(__name__)\n"
FACTORY = "from flask import Flask\n\ndef create_app(config=None):\n    app = Flask(__name__)\n    return app\n"
CALLS = "from shop import create_app\napp = create_app()\n"
DJANGO = "from django.core.wsgi import get_wsgi_application\n\napplication = get_wsgi_application()\n"
FASTAPI = "from fastapi import FastAPI\n\napp = FastAPI()\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    made = tmp_path / "my_shop"
    made.mkdir()
    (made / "requirements.txt").write_text("flask\n")
    return made


def write(project: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)


def run(project: Path, ask: Callable[[str], str] | None = None, check: bool = False, **given: str) -> str:
    screen = Screen(out=io.StringIO())
    init(screen, project, Given(**given), ask, check)
    return screen.out.getvalue()  # type: ignore[attr-defined]


def answering(*answers: str) -> Callable[[str], str]:
    left = list(answers)
    return lambda question: left.pop(0)


@pytest.mark.parametrize(
    ("files", "served"),
    [
        ({"app.py": FLASK}, ["app:app"]),
        ({"app.py": "import flask\nserver = flask.Flask(__name__)\n"}, ["app:server"]),
        ({"main.py": "from flask import Flask as F\napp: F = F(__name__)\n"}, ["main:app"]),
        ({"shop/__init__.py": FACTORY}, ["shop:create_app()"]),
        ({"shop/__init__.py": FACTORY, "run.py": CALLS}, ["shop:create_app()"]),
        ({"shop/__init__.py": FACTORY, "wsgi.py": CALLS}, ["wsgi:app"]),
        ({"shop/app.py": FACTORY + "app = create_app()\n"}, ["shop.app:create_app()"]),
        ({"shop/__init__.py": FACTORY, "wsgi.py": "import shop\napp = shop.create_app()\n"}, ["wsgi:app"]),
        ({"mysite/wsgi.py": DJANGO, "manage.py": ""}, ["mysite.wsgi:application"]),
        ({"src/shop/__init__.py": FLASK}, ["shop:app"]),
        ({"app.py": "from flask import Flask\ntry:\n    app = Flask(__name__)\nfinally:\n    pass\n"}, ["app:app"]),
        ({"app.py": FLASK + "admin = Flask('admin')\n"}, ["app:app", "app:admin"]),
        ({"app.py": FLASK, "main.py": FLASK}, ["app:app", "main:app"]),
        ({"app.py": FLASK, "api.py": FASTAPI}, ["app:app"]),
        ({"main.py": FASTAPI}, ["main:app"]),
        # Not an app's own, not an app, or not to be read.
        ({"tests/conftest.py": FLASK, ".venv/x.py": FLASK, "docs/conf.py": FLASK}, []),
        ({"env2/pyvenv.cfg": "", "env2/flask_app.py": FLASK}, []),
        ({"app.py": "def create_app(config):\n    from flask import Flask\n    return Flask(__name__)\n"}, []),
        ({"app.py": "class Flask: ...\napp = Flask()\n"}, []),
        ({"app.py": "app = = 1\n", "bin.py": "\0", "empty.py": ""}, []),
    ],
)  # fmt: skip
def test_the_callables_of_a_project_are_found_by_reading_it(project: Path, files: dict[str, str], served: list[str]):
    write(project, files)
    assert [each.target for each in to_choose(callables(project, list(read(project))))] == served


def test_what_is_written_can_be_loaded_and_explains_each_of_its_lines(project: Path):
    write(project, {"app.py": FLASK + '@app.route("/healthz")\ndef ok(): ...\n', "static/site.css": "x"})
    said = run(project, host="root@203.0.113.10", domain="shop.example.com")
    text = (project / "deploy.toml").read_text()
    config = load(project)
    app, (stage,) = config.app, config.stages
    assert (app.name, app.wsgi, app.requirements, app.health_path) == (
        "my-shop",
        "app:app",
        "requirements.txt",
        "/healthz",
    )
    assert app.static == (("/static/", "static"),)
    assert (stage.name, stage.hosts, stage.domain) == ("production", ("root@203.0.113.10",), "shop.example.com")
    for before, line in zip(text.splitlines(), text.splitlines()[1:], strict=False):
        if "=" in line and not line.startswith("#"):
            assert before.startswith("#"), f"{line} has no comment"
    assert text.strip() in said and "deploy.toml is written" in said


def test_without_a_server_the_sandbox_is_all_there_is_and_the_file_says_how_to_add_one(project: Path):
    write(project, {"app.py": FLASK})
    assert "once it is in deploy.toml" in run(project)
    assert load(project).stages == () and '# hosts = ["root@203.0.113.10"]' in (project / "deploy.toml").read_text()


def test_at_a_terminal_it_asks_for_what_it_cannot_find_out(project: Path):
    write(project, {"app.py": FLASK, "main.py": FLASK})
    run(project, answering("2", "root@web1", "shop.example.com"))
    config = load(project)
    assert config.app.wsgi == "main:app" and config.stages[0].hosts == ("root@web1",)


@pytest.mark.parametrize("answers", [("3",), ("main",), ("0",), ("1", "not a host!"), ("1", "root@web1", "UPPER CASE")])
def test_an_answer_that_makes_no_sense_writes_nothing(project: Path, answers: tuple[str, ...]):
    write(project, {"app.py": FLASK, "main.py": FLASK})
    with pytest.raises(ConfigError):
        run(project, answering(*answers))
    assert not (project / "deploy.toml").exists()


def test_options_answer_everything_without_a_terminal(project: Path):
    write(project, {"weird.py": "app = 1\n", "deps.txt": "flask\n"})
    run(project, name="store", wsgi="weird:app", requirements="deps.txt", health_path="/up", host="root@web1")
    app = load(project).app
    assert (app.name, app.wsgi, app.requirements, app.health_path) == ("store", "weird:app", "deps.txt", "/up")


@pytest.mark.parametrize(
    ("files", "what", "hint"),
    [
        ({}, "no app was found", "run it in the directory that has your app's code"),
        (
            {"app.py": FLASK + "admin = Flask(__name__)\n"},
            "which app is to be served? Found: app:app",
            '--wsgi "app:app"',
        ),
        ({"main.py": FASTAPI}, "main:app is a FastAPI app, which speaks ASGI", "WSGI app"),
    ],
)
def test_an_app_that_is_not_clear_is_an_error_that_says_what_to_type(
    project: Path, files: dict[str, str], what: str, hint: str
):
    write(project, files)
    with pytest.raises(ConfigError) as raised:
        run(project)
    assert what in raised.value.what and hint in raised.value.hint and not (project / "deploy.toml").exists()


def test_a_file_that_is_there_is_never_replaced(project: Path):
    write(project, {"app.py": FLASK, "deploy.toml": "mine"})
    with pytest.raises(ConfigError, match=r"there is a deploy\.toml here already"):
        run(project)
    assert (project / "deploy.toml").read_text() == "mine"


def test_a_dry_run_shows_the_file_and_writes_none(project: Path):
    write(project, {"app.py": FLASK})
    assert 'wsgi = "app:app"' in run(project, check=True) and not (project / "deploy.toml").exists()


def test_the_kit_s_own_repository_is_no_place_for_an_app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "templates" / "systemd").mkdir(parents=True)
    monkeypatch.setattr("deploy.verbs.init.PACKAGE", tmp_path / PACKAGE.name)
    with pytest.raises(ConfigError, match="Ashore's own repository"):
        run(tmp_path)


def test_a_directory_that_cannot_be_written_is_an_error_of_four_lines(project: Path, monkeypatch: pytest.MonkeyPatch):
    write(project, {"app.py": FLASK})
    opened = Path.open

    def full(path: Path, mode: str = "r", **more: Any) -> Any:
        if mode == "x":
            raise OSError(28, "No space left on device")
        return opened(path, mode, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ConfigError, match=r"deploy\.toml cannot be written: No space left"):
        run(project)


def test_requirements_that_only_another_tool_has_are_an_error_that_names_its_export(project: Path):
    (project / "requirements.txt").unlink()
    write(project, {"app.py": FLASK, "poetry.lock": ""})
    with pytest.raises(ConfigError) as raised:
        run(project)
    assert "poetry export" in raised.value.hint


def test_a_pyproject_gives_the_name_and_the_requirements_and_what_python_it_needs(project: Path):
    (project / "requirements.txt").unlink()
    text = '[project]\nname = "Big_Store"\nrequires-python = ">=3.13"\ndependencies = ["flask"]\n'
    write(project, {"app.py": FLASK, "pyproject.toml": text})
    said = run(project)
    app = load(project).app
    assert (app.name, app.requirements) == ("big-store", "pyproject.toml")
    assert "use a server with Debian 13 (Python 3.13)" in said


def test_a_project_with_its_code_in_src_finds_it_on_the_server(project: Path):
    write(project, {"src/shop/__init__.py": FLASK, "src/shop/static/a.css": "x"})
    run(project)
    app = load(project).app
    assert (
        app.wsgi == "shop:app"
        and app.env == (("PYTHONPATH", "src"),)
        and app.static == (("/static/", "src/shop/static"),)
    )


@pytest.mark.parametrize(
    ("call", "static"),
    [
        ("Flask(__name__)", (("/static/", "static"),)),
        ("Flask(__name__, static_folder='assets')", (("/assets/", "assets"),)),
        ("Flask(__name__, static_url_path='/s', static_folder='assets')", (("/s/", "assets"),)),
        ("Flask(__name__, static_folder=None)", ()),
        ("Flask(__name__, static_folder=WHERE)", ()),
        ("Flask(__name__, static_folder='../outside')", ()),
        ("Flask('other.module')", ()),
    ],
)
def test_static_files_are_served_by_the_proxy_where_it_is_clear_which(
    project: Path, call: str, static: tuple[object, ...]
):
    write(project, {"app.py": f"from flask import Flask\napp = {call}\n", "static/a": "x", "assets/a": "x"})
    run(project)
    assert load(project).app.static == static


@pytest.mark.parametrize(
    "route", ['@app.get("/up")', '@app.route("/up", methods=["GET"])', 'x.add_url_rule("/up", "up")\n@y']
)
def test_a_path_for_health_checks_is_found_among_the_routes(project: Path, route: str):
    write(project, {"app.py": f"{FLASK}{route}\ndef up(): ...\n"})
    assert health_path(list(read(project))) == "/up"


@pytest.mark.parametrize(
    ("files", "target", "refused"),
    [
        ({"app.py": FLASK}, "app:app", False),
        ({"main.py": FASTAPI}, "main:app", True),
        ({"main.py": FASTAPI}, "main:other", False),  # what is not seen is not judged
        ({"shop/__init__.py": FASTAPI}, "shop:app", True),
        (
            {"main.py": FASTAPI, "gunicorn.conf.py": "worker_class = 'uvicorn_worker.UvicornWorker'\n"},
            "main:app",
            False,
        ),
        ({"main.py": "app = = 1"}, "main:app", False),
        ({}, "main:app", False),
    ],
)
def test_an_asgi_app_is_named_before_the_upload(project: Path, files: dict[str, str], target: str, refused: bool):
    write(project, files)
    app = App("shop", target)
    if not refused:
        return require_wsgi(project, app)
    with pytest.raises(SourceError, match=f"{target} is a FastAPI app, which speaks ASGI"):
        require_wsgi(project, app)
    return None
