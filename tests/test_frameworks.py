"""What is read from the source of an app: Django's settings, Flask's instance directory."""

from pathlib import Path

import pytest

from deploy.agent.dataclass import replace
from deploy.config.reader import App
from deploy.stack.frameworks import framework_of
from deploy.stack.frameworks.base import Reading
from deploy.stack.frameworks.settings import UNKNOWN, Settings

MANAGE = 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "site1.settings")\n'
BASE = "from pathlib import Path\nBASE_DIR = Path(__file__).resolve().parent.parent\n"
SITE = App("shop", "site1.wsgi:application", env=(("ALLOWED", "$DOMAIN"),), release_command="manage.py migrate")
DJANGO = {"manage.py": MANAGE, "site1/wsgi.py": MANAGE}


def source(directory: Path, files: dict[str, str]) -> Reading:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return Reading(directory, frozenset(files))


def django(directory: Path, settings: str, app: App = SITE, **files: str) -> tuple[App, list[str]]:
    """What is completed and noted for a project with these settings."""
    reading = source(directory, {**DJANGO, "site1/settings.py": BASE + settings, **files})
    framework = framework_of(app, reading)
    assert framework.title == "Django"
    made = framework.completed(app, reading)
    return made, [finding.text for finding in framework.findings(made, reading)]


GOOD = 'ALLOWED_HOSTS = ["*"]\nDEBUG = False\nSTATIC_ROOT = BASE_DIR / "out"\nSTATIC_URL = "static/"\n'


def test_collectstatic_is_the_build_command_where_static_root_is_set(tmp_path: Path):
    app, notes = django(tmp_path, GOOD)
    assert app.build_command == "python manage.py collectstatic --noinput"
    assert app.static == (("/static/", "out"),)
    assert notes == ["Django: collectstatic runs as the build command; /static/ is served from STATIC_ROOT"]


def test_only_django_s_own_build_is_known_to_depend_on_its_static_files(tmp_path: Path):
    reading = source(tmp_path, {**DJANGO, "site1/settings.py": BASE + GOOD})
    framework = framework_of(SITE, reading)
    app = framework.completed(SITE, reading)
    assert framework.products(app, reading) == ("out",)
    assert framework.products(replace(app, build_command="make css"), reading) == ()


def test_a_first_deploy_toml_gets_the_variables_that_the_settings_read(tmp_path: Path):
    settings = (
        'import os\nDEBUG = os.environ.get("MY_DEBUG", "on") in ("on", "1")\n'
        'ALLOWED_HOSTS = os.environ.get("HOSTS", "localhost").split(",")\n'
        'SECRET_KEY = os.environ.get("MY_KEY", "insecure")\nCSRF_TRUSTED_ORIGINS = ["https://" + ALLOWED_HOSTS[0]]\n'
    )
    reading = source(tmp_path, {**DJANGO, "site1/settings.py": BASE + settings})
    plain = App("shop", "site1.wsgi:application")
    found = framework_of(plain, reading).suggested(plain, reading)
    assert found["env"] == {"MY_DEBUG": "False", "MY_KEY": "$SECRET_KEY", "HOSTS": "$DOMAIN"}
    assert found["release_command"] == "python manage.py migrate --noinput"


def test_what_deploy_toml_says_counts(tmp_path: Path):
    own = App("shop", "site1.wsgi:application", build_command="make", static=(("/static/", "own"),), writable=("x",))
    app, _ = django(tmp_path, GOOD + 'MEDIA_ROOT = BASE_DIR / "media"\nMEDIA_URL = "/media/"\n', own)
    assert (app.build_command, app.static, app.writable) == ("make", (("/static/", "own"),), ("x",))


@pytest.mark.parametrize(
    "written",
    [
        'import os\nROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))\nX = os.path.join(ROOT, "m")\n',
        'X = str(BASE_DIR / "m")\n',
        'X = BASE_DIR.joinpath("m")\n',
        'X = f"{BASE_DIR}/m"\n',
        'import os\nX = os.environ.get("NOT_SET", BASE_DIR / "m")\n',
        'import environ\nenv = environ.Env()\nX = env.path("NOT_SET", default=BASE_DIR / "m")\n',
        'from decouple import config\nX = config("NOT_SET", default="m")\n',
        'X = "m/"\n',
    ],
)
def test_uploads_and_a_sqlite_database_in_the_source_are_data(tmp_path: Path, written: str):
    more = f'{written}MEDIA_ROOT = X\nMEDIA_URL = "/media/"\n'
    database = 'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}\n'
    app, _ = django(tmp_path, GOOD + more + database)
    assert app.writable == ("m", "db.sqlite3")
    assert dict(app.static)["/media/"] == "m"


def test_a_database_elsewhere_is_no_data_of_the_source(tmp_path: Path):
    for name in ('"/var/lib/x/db.sqlite3"', '":memory:"', 'os.environ["DATA_DIR"] + "/db.sqlite3"'):
        text = f'import os\nDATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {name}}}}}\n'
        assert django(tmp_path, GOOD + text)[0].writable == ()


def test_settings_that_come_from_others_count_in_their_order(tmp_path: Path):
    base = BASE.replace("parent.parent", "parent.parent.parent") + 'STATIC_ROOT = BASE_DIR / "a"\nDEBUG = True\n'
    production = 'from .base import *\nDEBUG = False\nSTATIC_URL = "/s/"\nALLOWED_HOSTS = [".example.com"]\n'
    files = {"site1/settings/__init__.py": "", "site1/settings/base.py": base, "site1/settings/live.py": production}
    manage = MANAGE.replace("site1.settings", "site1.settings.base")
    live = MANAGE.replace("site1.settings", "site1.settings.live")
    reading = source(tmp_path, {**files, "manage.py": manage, "site1/wsgi.py": live})
    framework = framework_of(SITE, reading)
    app = framework.completed(SITE, reading)
    assert dict(app.env)["DJANGO_SETTINGS_MODULE"] == "site1.settings.live", "manage.py would take others"
    assert app.static == (("/s/", "a"),)
    assert not any("DEBUG" in note for note in (each.text for each in framework.findings(app, reading)))


def test_a_project_below_the_top_is_found_and_put_on_the_path(tmp_path: Path):
    files = {f"backend/{name}": text for name, text in {**DJANGO, "site1/settings.py": BASE + GOOD}.items()}
    reading = source(tmp_path, files)
    app = framework_of(SITE, reading).completed(SITE, reading)
    assert app.build_command == "cd backend && python manage.py collectstatic --noinput"
    assert app.static == (("/static/", "backend/out"),)
    assert dict(app.env)["PYTHONPATH"] == "backend"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("DEBUG = True\n", "DEBUG is on"),
        ('import os\nDEBUG = os.environ.get("MY_DEBUG", "1") == "1"\n', 'MY_DEBUG = "False" in [app.env]'),
        ('DEBUG = env.bool("DEBUG", True)\n', 'DEBUG = "False" in [app.env]'),
        ("ALLOWED_HOSTS = []\n", "ALLOWED_HOSTS does not have your domain"),
        (
            'import os\nALLOWED_HOSTS = os.getenv("HOSTS", "localhost").split(",")\n',
            'HOSTS = "$DOMAIN" in [app.env]',
        ),
        ("STATIC_ROOT = None\n", "STATIC_ROOT is not set"),
        (
            'STATIC_ROOT = None\nSTORAGES = {"staticfiles": {"BACKEND": "x.ManifestStaticFilesStorage"}}\n',
            "every page with a static file answers 500",
        ),
        ('STATIC_ROOT = "/var/www/x"\n', "STATIC_ROOT is not a directory of the project"),
        ('import os\nX = os.environ["PAYMENT_URL"]\n', "the settings need the variable PAYMENT_URL"),
    ],
)
def test_what_will_not_work_there_is_said_with_the_line_that_fixes_it(tmp_path: Path, settings: str, said: str):
    notes = django(tmp_path, f"{GOOD}{settings}")[1]
    assert any(said in note for note in notes), notes


@pytest.mark.parametrize(
    "settings",
    [
        'import os\nALLOWED_HOSTS = os.environ["ALLOWED"].split(",")\n',
        'ALLOWED_HOSTS = ["shop.example.com"]\n',
        "ALLOWED_HOSTS = computed()\n",
        'DEBUG = computed("x")\n',
        'import os\nif os.environ.get("ON_SERVER"):\n    DEBUG = True\n',
        'import os\nSECRET_KEY = os.environ["SECRET_KEY"]\n',
    ],
)
def test_what_is_well_or_cannot_be_known_is_not_complained_of(tmp_path: Path, settings: str):
    assert len(django(tmp_path, f"{GOOD}{settings}")[1]) == 1


def test_migrations_without_a_release_command_are_noted(tmp_path: Path):
    _, notes = django(tmp_path, GOOD, App("shop", "site1.wsgi:application"))
    assert notes[-1].endswith('release_command = "python manage.py migrate --noinput"')


def test_new_migrations_are_named_as_django_does(tmp_path: Path):
    framework = framework_of(SITE, source(tmp_path, DJANGO))
    added = ["shop/migrations/0002_price.py", "shop/migrations/__init__.py", "shop/models.py"]
    assert framework.migrations(added) == ["shop.0002_price"]


def test_settings_that_are_not_python_say_nothing(tmp_path: Path):
    app, _ = django(tmp_path, "def (:\n")
    assert app.build_command == "" and app.writable == ()


def test_modules_of_settings_that_import_each_other_end():
    texts = {"a.py": "from b import *\nX = 1\n", "b.py": "from a import *\nY = 2\n"}
    settings = Settings({}, lambda path: texts.get(path, ""))
    settings.read("a.py")
    assert (settings.values["X"], settings.values["Y"]) == (1, 2)


def test_a_value_that_two_branches_leave_open_is_unknown():
    settings = Settings({}, {"a.py": "import sys\nX = 1\nY = 1\nif sys.argv:\n    X = 2\n"}.__getitem__)
    settings.read("a.py")
    assert settings.values["X"] is UNKNOWN and settings.values["Y"] == 1


FLASK = "from flask import Flask\napp = Flask(__name__{more})\n{rest}"
HELLO = App("hello", "hello:app")


@pytest.mark.parametrize(
    "text",
    [
        FLASK.format(more=", instance_relative_config=True", rest=""),
        FLASK.format(more="", rest="path = app.instance_path\n"),
        FLASK.format(more="", rest='app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///site.db"\n'),
    ],
)
def test_flask_s_instance_directory_is_data_where_it_is_used(tmp_path: Path, text: str):
    reading = source(tmp_path, {"hello.py": text})
    assert framework_of(HELLO, reading).completed(HELLO, reading).writable == ("instance",)


def test_in_a_src_directory_it_is_beside_the_package(tmp_path: Path):
    reading = source(tmp_path, {"src/hello/__init__.py": FLASK.format(more=", instance_relative_config=True", rest="")})
    assert framework_of(HELLO, reading).completed(HELLO, reading).writable == ("src/instance",)


@pytest.mark.parametrize(
    "files",
    [
        {"hello.py": FLASK.format(more="", rest='URL = "sqlite:////var/lib/hello/x.db"\n')},
        {"hello.py": FLASK.format(more=", instance_relative_config=True", rest=""), "instance/config.py": "X = 1\n"},
        {"hello.py": "def app(environ, start_response): ...\n"},
    ],
)
def test_other_apps_have_no_data_in_their_source(tmp_path: Path, files: dict[str, str]):
    reading = source(tmp_path, files)
    assert framework_of(HELLO, reading).completed(HELLO, reading).writable == ()


def test_what_deploy_toml_names_as_data_counts_for_flask(tmp_path: Path):
    reading = source(tmp_path, {"hello.py": FLASK.format(more=", instance_relative_config=True", rest="")})
    app = App("hello", "hello:app", writable=("uploads",))
    assert framework_of(app, reading).completed(app, reading).writable == ("uploads",)
