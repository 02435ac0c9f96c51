from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from vitreport.errors import RenderError
from vitreport.report.template_files import environment, template_folder, template_text


def test_templates_are_found() -> None:
    for name in ("base.html", "index.html", "css/tokens.css", "css/site.css", "js/site.js"):
        assert template_text(name)


def test_a_missing_template_is_an_error_that_names_it() -> None:
    with pytest.raises(RenderError, match=r"nothing\.html"):
        template_text("nothing.html")


def test_templates_escape_and_refuse_unknown_names() -> None:
    templates = environment()
    assert templates.from_string("{{ name }}").render(name="<b>") == "&lt;b&gt;"
    with pytest.raises(UndefinedError):
        templates.from_string("{{ name }}").render()


def test_colours_stand_in_the_tokens_only() -> None:
    style = template_text("css/site.css")
    assert "#" not in "".join(part.partition("{")[2] for part in style.split("}"))
    assert "rgb(" not in style


def test_no_template_carries_style_or_script() -> None:
    for place in template_folder().iterdir():
        if place.name.endswith(".html"):
            text = place.read_text(encoding="utf-8")
            assert " style=" not in text
            assert "<style" not in text
            assert "<script>" not in text
            assert " onclick" not in text
