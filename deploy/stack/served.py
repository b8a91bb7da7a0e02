"""What runners serve that cannot be told on their command line whom to believe: a module around the app."""

from ..config.reader import App
from .render import render

MODULE = "ashore_served"


def files(app: App, title: str, *, told: bool) -> dict[str, str]:
    """The module in the release's directory. told: it tells the app who asks, which the runner does not do itself."""
    module, _, name = app.served.partition(":")
    text = render(
        "python/served.py.j2",
        app=app,
        title=title,
        module=module,
        name=name.removesuffix("()"),
        is_factory=name.endswith("()"),
        told=told,
        mount=app.mount,
    )
    return {f"{MODULE}.py": text}
