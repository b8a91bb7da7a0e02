"""What reading an app's source tells, besides whether what is served is there."""

from ...agent.resources.release.recipes import Recipe
from ...config.reader import App
from ...stack.finding import Finding
from ...stack.frameworks.base import Framework, Reading
from . import written


def of_source(app: App, reading: Reading, framework: Framework) -> list[Finding]:
    """app: completed."""
    return [
        *framework.findings(app, reading),
        *written.on_localhost(app, reading, instance=framework.title == "Flask"),
        *of_static(app, reading),
    ]


def roots_of(app: App, recipe: Recipe) -> tuple[str, ...]:
    """Directories of the source that Python searches on a server, "" for its top."""
    return tuple(dict.fromkeys(("", *dict(app.env).get("PYTHONPATH", "").split(":"), *recipe.roots)))


def of_static(app: App, reading: Reading) -> list[Finding]:
    """Directories that the proxy is to serve, and which nothing makes."""
    if app.build_command:
        return []  # what a build has to make is checked after it
    missing = [path for _, path in app.static if not reading.below(path) and not written.is_data(app, path)]
    return [
        Finding(
            "error",
            f"static names the directory {path}, which is not among the uploaded files",
            f"git add {path}, or fix `static`",
            "deploy.toml",
        )
        for path in missing
    ]
