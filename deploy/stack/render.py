"""Templates → text. A template sees only the values it is given; an undefined name is an error."""

from functools import cache
from typing import TYPE_CHECKING, Any

from ..agent.resources.files import File, seal
from ..config.paths import OVERRIDES, TEMPLATES
from ..errors import ConfigError
from . import overrides

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader([OVERRIDES, TEMPLATES]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # these are configuration files, not pages
    )


def render(template: str, **values: Any) -> str:
    """The text of templates/NAME, sealed, so that the agent can detect an edit by hand."""
    return seal(unsealed(template, **values))


def file(path: str, template: str, force: bool = False, **values: Any) -> File:
    """The file at `path` with the text of a template. force: also replace an edit by hand."""
    return File(path, render(template, **values), force=force)


def unsealed(template: str, **values: Any) -> str:
    """The text of a template that the agent completes and seals."""
    from jinja2 import TemplateError

    try:
        return environment().get_template(template).render(values)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise ConfigError(
            f"the template {template} cannot be rendered: {error}",
            where=f"{overrides.shown(template)}" + (f", line {line}" if line else ""),
            hint=overrides.advice(template),
        ) from error


def load(*templates: str) -> None:
    """Compile templates while there is time, as during a connection: with Jinja's own start, that takes 40 ms."""
    for template in templates:
        environment().get_template(template)
