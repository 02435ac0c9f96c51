"""The templates of the PDFs, filled: HTML and CSS for WeasyPrint."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from vitreport.report.pdf_font import printable
from vitreport.report.template_files import environment, template_text


def drawn(template: str, **values: object) -> str:
    """A template filled; whatever the document's fonts cannot show is written as codes."""
    return _drawing().get_template(template).render(**values)


def stylesheet() -> str:
    """The tokens without their dark scheme, which paper does not have, and the rules of the document."""
    return template_text("css/tokens.css").partition("@media")[0] + template_text("pdf/report.css")


def shortened(text: str, length: int) -> str:
    """`text` with its middle left out where it is longer than `length`."""
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"


@cache
def _drawing() -> Environment:
    drawing = environment().overlay(finalize=_finalize)
    drawing.filters["shortened"] = shortened
    drawing.filters["anchor"] = _anchor
    return drawing


def _anchor(path: str) -> str:
    """The id of the section that is a page of the site: ``analysis/heads.html`` is ``analysis-heads``."""
    return path.removesuffix(".html").replace("/", "-")


def _finalize(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
