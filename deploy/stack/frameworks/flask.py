"""Flask: its instance directory is the app's data."""

import re

from ...agent.dataclass import replace
from ...config.reader import App
from ..finding import Finding
from .base import Framework, Reading

# What uses the instance directory; a relative SQLite URL is below it, too, with Flask-SQLAlchemy.
USES = re.compile(r"\binstance_path\b|\binstance_relative_config\b|\bsqlite:///(?![/:{%])")
MAKES = re.compile(r"^\s*(from flask\b|import flask\b|from apiflask\b)", re.M)
MIGRATION = re.compile(r"(?:^|/)(?:migrations|alembic)/versions/(\w+)\.py$")  # of Flask-Migrate and Alembic


class Flask(Framework):
    title = "Flask"
    migrates = "upgrade"

    def recognises(self, app: App, reading: Reading) -> bool:
        return any(MAKES.search(reading.text(name)) for name in reading.code)

    def completed(self, app: App, reading: Reading) -> App:
        instance = instance_of(app, reading)
        # What is tracked there is meant to change with the code, as a configuration.
        tracked = [name for name in reading.below(instance) if not name.rpartition("/")[2].startswith(".")]
        if app.writable or tracked or not any(USES.search(reading.text(name)) for name in reading.code):
            return app
        return replace(app, writable=(instance,))

    def findings(self, app: App, reading: Reading) -> list[Finding]:
        instance = instance_of(app, reading)
        what = f"{instance}/ is the app's data: /var/lib/{app.name}/{instance}"
        return [Finding("note", what)] if instance in app.writable else []

    def migrations(self, added: list[str]) -> list[str]:
        return [found[1] for path in sorted(added) if (found := MIGRATION.search(path))]


def instance_of(app: App, reading: Reading) -> str:
    """Where Flask has it: beside the top package or module of the app."""
    root = reading.root_of(app.target.partition(":")[0])
    return f"{root}/instance".lstrip("/")


FRAMEWORK = Flask()
