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
from deploy.source.upload import require_interface
from deploy.verbs.init import Given, init

FLASK = "from flask import Flask\n\napp = Flask(__name__)\n"
FACTORY = "from flask import Flask\n\ndef create_app(config=None):\n    app = Flask(__name__)\n    return app\n"
CALLS = "from shop import create_app\napp = create_app()\n"
DJANGO = "from django.core.wsgi import get_wsgi_application\n\napplication = get_wsgi_application()\n"
CHANNELS = "from channels.routing import ProtocolTypeRouter\n\napplication = ProtocolTypeRouter({})\n"
CLASS = "class App:\n    async def __call__(self, scope, receive, send): ...\n\napp = App()\n"
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
        ({"mysite/wsgi.py": DJANGO, "mysite/asgi.py": DJANGO.replace("wsgi", "asgi")}, ["mysite.wsgi:application"]),
        ({"mysite/wsgi.py": DJANGO, "mysite/asgi.py": CHANNELS}, ["mysite.asgi:application"]),
        ({"main.py": "async def app(scope, receive, send): ...\n"}, ["main:app"]),
        ({"main.py": "def app(environ, start_response): ...\n"}, ["main:app"]),
        ({"main.py": CLASS}, ["main:app"]),
        ({"main.py": "from datasette.app import Datasette\napp = Datasette(files=['a.db']).app()\n"}, ["main:app"]),
        ({"main.py": "import falcon.asgi\napp = falcon.asgi.App()\n"}, ["main:app"]),
        ({"main.py": "from sanic import Sanic\napp = Sanic('shop')\n"}, ["main:app"]),
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
        ({"main.py": FASTAPI + "api = FastAPI()\n"}, "which app is to be served? Found: main:app", '--asgi "main:app"'),
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


def test_a_pipfile_without_a_lock_is_an_error_that_names_the_command_for_one(project: Path):
    (project / "requirements.txt").unlink()
    write(project, {"app.py": FLASK, "Pipfile": ""})
    with pytest.raises(ConfigError) as raised:
        run(project)
    assert "pipenv lock" in raised.value.hint


LOCKS = Path(__file__).parent / "locks"


@pytest.mark.parametrize(("name", "file"), [("uv", "uv.lock"), ("poetry1", "poetry.lock"), ("pipenv", "Pipfile.lock")])
def test_a_lock_is_what_is_installed_rather_than_a_requirements_file_beside_it(project: Path, name: str, file: str):
    write(project, {"app.py": FLASK, **{path.name: path.read_text() for path in (LOCKS / name).iterdir()}})
    said = run(project)
    assert load(project).app.requirements == file
    assert ("the project is a package: it is installed" in said) == (name != "pipenv")


def test_a_stale_lock_and_a_python_that_there_is_not_are_told(project: Path):
    lock = {path.name: path.read_text() for path in (LOCKS / "poetry1").iterdir()}
    lock["pyproject.toml"] = lock["pyproject.toml"].replace('itsdangerous = "*"', 'itsdangerous = "^2"')
    write(project, {"app.py": FLASK, **lock, ".python-version": "3.19\n"})
    said = run(project)
    assert "poetry.lock is stale" in said and "poetry lock, then commit" in said and "there is no Python 3.19" in said


def test_a_package_in_src_needs_no_search_path_in_deploy_toml(project: Path):
    (project / "requirements.txt").unlink()
    text = '[project]\nname = "shop"\ndependencies = ["flask"]\n[build-system]\nrequires = ["hatchling"]\n'
    write(project, {"src/shop/__init__.py": FLASK, "pyproject.toml": text})
    run(project)
    assert load(project).app.env == () and load(project).app.requirements == "pyproject.toml"


def test_a_pyproject_gives_the_name_and_the_requirements_and_what_python_it_needs(project: Path):
    (project / "requirements.txt").unlink()
    text = '[project]\nname = "Big_Store"\nrequires-python = ">=3.13"\ndependencies = ["flask"]\n'
    write(project, {"app.py": FLASK, "pyproject.toml": text})
    said = run(project)
    app = load(project).app
    assert (app.name, app.requirements) == ("big-store", "pyproject.toml")
    assert "Debian 13 has it, elsewhere uv installs Python 3.13" in said


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


WRAPPED = FLASK + "from asgiref.wsgi import WsgiToAsgi\napp = WsgiToAsgi(app)\n"
UNKNOWN = FLASK + "from elsewhere import Middleware\napp = Middleware(app)\n"
MAKES = "from flask import Flask\ndef make():\n    app = Flask(__name__)\n    return wrap(app)\n"
WORKERS = "worker_class = 'uvicorn_worker.UvicornWorker'\n"
BY_WSGI, BY_ASGI = {"wsgi": "main:app"}, {"asgi": "main:app"}


@pytest.mark.parametrize(
    ("files", "app", "speaks", "hint"),
    [
        ({"main.py": FASTAPI}, BY_WSGI, "ASGI", 'write `asgi = "main:app"` instead of `wsgi = …`'),
        ({"main.py": CLASS}, BY_WSGI, "ASGI", 'write `asgi = "main:app"`'),
        ({"shop/__init__.py": FASTAPI}, {"wsgi": "shop:app"}, "ASGI", 'write `asgi = "shop:app"`'),
        ({"main.py": "import falcon.asgi\napp = falcon.asgi.App()\n"}, BY_WSGI, "ASGI", "asgi ="),
        ({"main.py": WRAPPED}, BY_WSGI, "ASGI", "asgi ="),
        ({"main.py": FACTORY}, {"asgi": "main:create_app()"}, "WSGI", 'write `wsgi = "main:create_app()"` instead'),
        ({"main.py": FLASK}, BY_ASGI, "WSGI", 'write `wsgi = "main:app"` instead of `asgi = …`'),
        ({"main.py": FLASK}, BY_WSGI | {"runner": "uvicorn"}, "WSGI", "remove `runner` from deploy.toml"),
        ({"main.py": FLASK}, BY_WSGI | {"worker_class": "uvicorn"}, "WSGI", "remove `worker_class` from deploy.toml"),
    ],
)  # fmt: skip
def test_the_wrong_interface_is_named_before_the_upload_with_the_line_that_is_right(
    project: Path, files: dict[str, str], app: dict[str, str], speaks: str, hint: str
):
    write(project, files)
    with pytest.raises(SourceError, match=rf"is a .* app: it speaks {speaks}") as raised:
        require_interface(project, App("shop", **app))
    assert hint in raised.value.hint and "nothing was changed" in raised.value.state


@pytest.mark.parametrize(
    ("files", "app"),
    [
        ({"main.py": FLASK}, BY_WSGI),
        ({"main.py": FASTAPI}, BY_ASGI),
        ({"main.py": FASTAPI}, BY_WSGI | {"runner": "hypercorn"}),  # it is clear what is meant
        ({"main.py": WRAPPED}, BY_ASGI),
        # What is not seen is not judged.
        ({"main.py": FASTAPI}, {"wsgi": "main:other"}),
        ({"main.py": UNKNOWN}, BY_ASGI),
        ({"main.py": MAKES}, {"asgi": "main:make()"}),
        ({"main.py": FASTAPI, "gunicorn.conf.py": WORKERS}, BY_WSGI),
        ({"main.py": "app = = 1"}, BY_WSGI),
        ({}, BY_ASGI),
    ],
)
def test_an_app_that_fits_its_runner_or_that_nobody_knows_is_not_refused(
    project: Path, files: dict[str, str], app: dict[str, str]
):
    write(project, files)
    require_interface(project, App("shop", **app))


@pytest.mark.parametrize(
    ("text", "line"),
    [(FASTAPI, 'asgi = "main:app"'), (FLASK, 'wsgi = "main:app"'), (CLASS, 'asgi = "main:app"')],
)
def test_init_writes_the_key_of_the_interface_that_the_app_speaks(project: Path, text: str, line: str):
    write(project, {"main.py": text})
    run(project)
    assert line in (project / "deploy.toml").read_text() and load(project).app.served == "main:app"


def test_init_takes_an_asgi_app_by_name(project: Path):
    write(project, {"weird.py": "app = 1\n"})
    run(project, asgi="weird:app")
    app = load(project).app
    assert (app.asgi, app.wsgi, app.run_by) == ("weird:app", "", "uvicorn")


@pytest.mark.parametrize(
    ("given", "what", "hint"),
    [
        ({"wsgi": "main:app"}, "main:app is a FastAPI app: it speaks ASGI", '--asgi "main:app"'),
        ({"wsgi": "main:app", "asgi": "main:app"}, "--wsgi and --asgi are both given", "give one"),
    ],
)
def test_init_refuses_the_option_of_the_wrong_interface(project: Path, given: dict[str, str], what: str, hint: str):
    write(project, {"main.py": FASTAPI})
    with pytest.raises(ConfigError) as raised:
        run(project, **given)
    assert what in raised.value.what and hint in raised.value.hint and not (project / "deploy.toml").exists()
