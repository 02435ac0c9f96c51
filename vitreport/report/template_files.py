"""Where templates, style sheets and scripts are: inside the installed package, or in the checkout."""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, TemplateSyntaxError, meta, nodes
from markupsafe import Markup

from vitreport.errors import RenderError
from vitreport.visible import visible

BUNDLES = {
    "site.css": ("css/tokens.css", "css/site.css", "css/viewer.css"),
    "site.js": ("js/site.js", "js/keys.js"),
    "table.js": ("js/table.js",),
    "image.js": ("js/viewer.js", "js/patches.js"),
}
"""Style sheets and scripts of the site: name to the files that make it up, one after the other.

A template names the ones that it links with ``asset("site.js")``.
"""


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


def bundle(name: str) -> bytes:
    """The text of one of `BUNDLES`."""
    return "".join(map(template_text, BUNDLES[name])).encode()


def site_files() -> list[str]:
    """Names of all templates of the site, without those of the PDF, in order."""
    return sorted(entry.name for entry in template_folder().iterdir() if entry.name.endswith(".html"))


def used_files(name: str) -> dict[str, str]:
    """A template and all that it extends, includes, imports or links: name to text.

    Raises:
        RenderError: one of them is missing or no template.
    """
    found: dict[str, str] = {}
    wanted = [name]
    while wanted:
        one = wanted.pop()
        if one not in found:
            found[one] = text = template_text(one)
            wanted += _references(one, text) if one.endswith(".html") else ()
    return found


@lru_cache(maxsize=256)
def _references(name: str, text: str) -> tuple[str, ...]:
    try:
        tree = Environment().parse(text)
    except TemplateSyntaxError as error:
        raise RenderError(f"line {error.lineno} of the template '{name}': {error.message}") from error
    linked = [
        file
        for call in tree.find_all(nodes.Call)
        if isinstance(call.node, nodes.Name) and call.node.name == "asset"
        for argument in call.args
        if isinstance(argument, nodes.Const)
        for file in BUNDLES[argument.value]
    ]
    return (*(one for one in meta.find_referenced_templates(tree) if one), *linked)


def environment() -> Environment:
    """A Jinja environment over the templates: autoescape on, unknown names are errors.

    Whatever text a template is given is written so that it can only be read (`vitreport.visible`).
    """
    return Environment(
        loader=FunctionLoader(template_text),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_readable,
    )


def _readable(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
