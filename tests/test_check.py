"""`fab check`: what it finds by reading, and by importing the app in a process of its own."""

import json
import sys
import threading
import time
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.config.reader import App, load
from deploy.source.checks import imported, served, written
from deploy.stack.finding import Finding
from deploy.stack.frameworks.base import Reading
from deploy.verbs.check import looked_at

HELLO = "from flask import Flask\napp = Flask(__name__)\n\n\n@app.get('/')\ndef hello():\n    return 'hello'\n"
SHOP = App("shop", "shop:app")


def source(directory: Path, **files: str) -> Reading:
    for name, text in files.items():
        path = directory / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Reading(directory, frozenset(f"{name.replace('__', '/')}.py" for name in files))


def text_of(found: list[Finding]) -> str:
    return "\n".join(f"{each.level} {each.text}" for each in found)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("shop:create_app", 'wsgi = "shop:create_app()"'),
        ("shop:made(1)", ""),
        ("shop:appp", 'has no appp, which wsgi names (shop.py): wsgi = "shop:app"'),
        ("shops:app", 'wsgi = "shop:app"'),
        ("shop:needs()", "needs() in shop.py needs arguments"),
    ],
)
def test_a_callable_that_is_not_there_is_named_with_the_line_that_fixes_it(tmp_path: Path, target: str, said: str):
    code = HELLO + "\n\ndef create_app():\n    return app\n\n\ndef needs(config):\n    return app\n"
    reading = source(tmp_path, shop=code)
    found = served.missing_callable(App("shop", target.replace("made(1)", "app")), reading, ("",), "")
    assert said in text_of(found) and bool(found) == bool(said)


@pytest.mark.parametrize(
    "code",
    [
        "from other import app\n",
        "from other import *\n",
        "import other as app\n",
        "try:\n    from a import app\nexcept ImportError:\n    app = None\n",
        "if True:\n    app = 1\n",
        "with open('x') as app:\n    pass\n",
        "app: object = make()\n",
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return []\n",
        "class app:\n    pass\n",
        "a, app = make()\n",
        "def __getattr__(name): ...\n",
    ],
)
def test_a_name_that_a_module_has_in_any_way_is_no_finding(tmp_path: Path, code: str):
    assert served.missing_callable(SHOP, source(tmp_path, shop=code), ("",), "") == []


def test_what_an_installed_package_serves_is_not_looked_for_in_the_source(tmp_path: Path):
    app = App("data", asgi="my_tool.asgi:app")
    assert served.missing_callable(app, source(tmp_path, other="x = 1\n"), ("",), "my-tool==1.0\n") == []
    assert served.missing_callable(app, source(tmp_path, other="x = 1\n"), ("",), "flask\n")


def test_a_module_that_git_does_not_track_is_to_be_added(tmp_path: Path):
    source(tmp_path, shop=HELLO)
    found = served.missing_callable(SHOP, Reading(tmp_path, frozenset({"other.py"})), ("",), "")
    assert "not among the uploaded files" in text_of(found) and "git add shop" in text_of(found)


def test_code_that_is_not_python_is_named_with_its_line(tmp_path: Path):
    found = served.missing_callable(SHOP, source(tmp_path, shop="x = 1\ndef (:\n"), ("",), "")
    assert "shop.py:2" in text_of(found)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('URL = "postgresql://shop@localhost/shop"', "connects to postgresql on localhost"),
        ('URL = os.environ.get("DB_URL", "postgresql+psycopg://localhost:5432/x")', "fab env.set DB_URL"),
        ('app.config["DEBUG"] = True', "debugging is on"),
        ("app = FastAPI(title='x', debug=True)", "debugging is on"),
        ('SERVER_NAME = "localhost:5000"', "Flask answers 404 for every other host"),
        ('app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost"])', "every other host is refused"),
        ('engine = create_engine("sqlite:///./site.db")', 'writable = ["site.db"]'),
        ('sqlite3.connect("data/site.db")', 'writable = ["data"]'),
        ('UPLOAD_FOLDER = "uploads"', 'writable = ["uploads"]'),
        ('handler = logging.FileHandler("logs/app.log")', 'writable = ["logs"]'),
        ('with open("out.json", "w") as file:', 'writable = ["out.json"]'),
        ('os.makedirs("cache", exist_ok=True)', 'writable = ["cache"]'),
    ],
)
def test_what_works_on_localhost_only_is_found(tmp_path: Path, line: str, said: str):
    found = written.on_localhost(SHOP, source(tmp_path, shop=f"{line}\n"))
    assert said in text_of(found) and "shop.py:1" in text_of(found)


@pytest.mark.parametrize(
    "code",
    [
        'URL = os.environ["DB_URL"]\n',
        'URL = os.environ.get("KNOWN", "redis://localhost")\n',
        '# URL = "postgresql://localhost/x"\n',
        'SERVER_NAME = "shop.example.com"\n',
        'allowed_hosts = [os.environ["DOMAIN"], "localhost"]\n',
        'open("in.json")\n',
        'open("media/x", "w")\n',
        'open("/tmp/x", "w")\n',
        '"""Text.\n\n    open("x", "w")\n"""\n',
        'if __name__ == "__main__":\n    app.debug = True\n',
    ],
)
def test_what_is_well_is_not_found(tmp_path: Path, code: str):
    app = App("shop", "shop:app", writable=("media",), env=(("KNOWN", "redis://cache"),))
    assert written.on_localhost(app, source(tmp_path, shop=code)) == []


def test_tests_and_settings_for_development_do_not_count(tmp_path: Path):
    line = 'URL = "redis://localhost"\n'
    reading = source(tmp_path, tests__conftest=line, settings__dev=line, test_x=line, docs__conf=line)
    assert written.on_localhost(SHOP, reading) == []


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a virtualenv that has the packages of this one."""
    directory = tmp_path_factory.mktemp("project")
    venv.create(directory / ".venv", system_site_packages=False)
    (site,) = (directory / ".venv").glob("lib/python*/site-packages")
    here = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "here.pth").write_text(f"{here}\n")
    (directory / "requirements.txt").write_text("flask\n")
    return directory


def looked(project: Path, code: str, **app: object) -> list[Finding]:
    (project / "shop.py").write_text(code)
    return imported.Looking(App("shop", **{"wsgi": "shop:app", **app}), project, "shop.example").findings()  # type: ignore[arg-type]


ASGI = (
    "async def app(scope, receive, send):\n"
    "    if scope['type'] != 'http':\n        return\n"
    "    await send({'type': 'http.response.start', 'status': 200, 'headers': []})\n"
    "    await send({'type': 'http.response.body', 'body': b''})\n"
)


@pytest.mark.parametrize(
    ("code", "app", "said"),
    [
        (HELLO, {}, "ok health check: GET / answers 200"),
        (HELLO, {"health_path": "/nothing"}, "error GET /nothing answers 404"),
        (HELLO.replace("'hello'", "__import__('flask').redirect('/login')"), {}, "error GET / redirects to /login"),
        (HELLO.replace("'hello'", "('no', 401)"), {}, "error GET / answers 401"),
        (HELLO.replace("'hello'", "1 / 0"), {}, "warning GET / answers 500 here: ZeroDivisionError"),
        ("1 / 0\n", {}, "error shop:app: importing it raises ZeroDivisionError"),
        (
            "import nothing_of_that_name\n",
            {},
            "note the app is not looked into: its virtualenv here has no module nothing_of_that_name",
        ),
        ("import os\nos.environ['PAYMENT']\n", {}, "set PAYMENT in [app.env], or on the server: fab env.set PAYMENT"),
        ("app = 1\n", {}, "error shop:app is neither a WSGI nor an ASGI app"),
        (ASGI, {}, 'error shop:app speaks ASGI: asgi = "shop:app" instead of wsgi'),
        (ASGI, {"wsgi": "", "asgi": "shop:app"}, "ok health check: GET / answers 200"),
        (HELLO, {"wsgi": "", "asgi": "shop:app"}, 'error shop:app speaks WSGI: wsgi = "shop:app" instead of asgi'),
        (f"open('seen.log', 'a').close()\n{HELLO}", {}, 'writable = ["seen.log"]'),
        (f"import os\nos.makedirs('made/here', exist_ok=True)\n{HELLO}", {}, 'writable = ["made"]'),
        ("import os\nos._exit(3)\n", {}, "ends Python itself"),
        ("print('hello')\nimport os\nos.write(1, b'noise')\n" + HELLO, {}, "ok health check"),
    ],
)
def test_what_an_app_does_is_seen_in_a_process_of_its_own(project: Path, code: str, app: dict[str, str], said: str):
    assert said in text_of(looked(project, code, **app))


def test_an_app_gets_the_variables_that_it_will_have(project: Path):
    code = "import os\nassert os.environ['HOST_NAME'] == 'shop.example' and os.environ['DATA_DIR']\n" + HELLO
    assert "ok health check" in text_of(looked(project, code, env=(("HOST_NAME", "$DOMAIN"),)))


def test_an_app_that_never_comes_back_is_ended(project: Path):
    (project / "shop.py").write_text("import threading\nthreading.Event().wait()\n")
    looking = imported.Looking(SHOP, project, "shop.example")
    assert "takes more than 0.5 s" in text_of(looking.findings(0.5))
    assert looking.process.poll() is not None


def test_what_an_app_has_started_ends_with_the_look(project: Path):
    code = "import subprocess\nopen('started.pid', 'w').write(str(subprocess.Popen(['sleep', '1000']).pid))\n"
    looked(project, code + HELLO)
    pid = (project / "started.pid").read_text()
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.02)


def test_a_whole_project_is_checked_and_the_first_mistake_is_told(project: Path):
    (project / "shop.py").write_text(HELLO)
    (project / "deploy.toml").write_text('[app]\nname = "shop"\nwsgi = "shop:app"\n')
    assert "ok served: shop:app (Flask), WSGI" in text_of(looked_at(load(project)))
    (project / "deploy.toml").write_text('[app]\nname = "shop"\nwsgi = "shop:ap"\n')
    (found,) = looked_at(load(project))
    assert found.level == "error" and found.fix == 'wsgi = "shop:app"'


def test_what_was_looked_at_without_a_finding_is_not_looked_at_again(project: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "cache"))
    (project / "shop.py").write_text(HELLO)
    looking = imported.begin(SHOP, project, "shop.example", (), ())
    assert looking and [each.level for each in looking.findings()] == ["ok"]
    imported.remember(SHOP, project, ())
    assert imported.begin(SHOP, project, "shop.example", (), ()) is None
    other = imported.begin(App("shop", "shop:app", health_path="/x"), project, "shop.example", (), ())
    assert other
    other.end()


def test_the_program_that_looks_inside_says_nothing_else(project: Path):
    """Its answer is one JSON object."""
    looking = imported.Looking(SHOP, project, "shop.example")
    looking.reading.join()
    assert set(json.loads(looking.said)) >= {"step", "writes"}
    looking.end()
