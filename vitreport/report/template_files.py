"""Where templates, style sheets and scripts are: inside the installed package, or in the checkout."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from jinja2 import Environment, FunctionLoader, StrictUndefined

from vitreport.errors import RenderError


@cache
def template_folder() -> Traversable:
    """The folder of all templates.

    Raises:
        RenderError: the installation has none.
    """
    package = files("vitreport")
    places = [package / "templates"]
    if isinstance(package, Path):
        places.append(package.parent / "templates")
    for place in places:
        if (place / "base.html").is_file():
            return place
    raise RenderError("this installation of vitreport has no templates; install it again")


def template_text(name: str) -> str:
    """The text of a template, style sheet or script: ``base.html``, ``css/tokens.css``.

    Raises:
        RenderError: there is no such file.
    """
    try:
        return template_folder().joinpath(*name.split("/")).read_text(encoding="utf-8")
    except OSError as error:
        raise RenderError(f"the template '{name}' cannot be read: {error.strerror}") from error


def environment() -> Environment:
    """A Jinja environment over the templates: autoescape on, unknown names are errors."""
    return Environment(
        loader=FunctionLoader(template_text),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
