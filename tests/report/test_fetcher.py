"""Every kind of foreign reference is refused, and a refusal never goes unnoticed."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from weasyprint.urls import FatalURLFetchingError

from vitreport.errors import RenderError
from vitreport.report.fetcher import ReportFetcher, nothing_foreign
from vitreport.report.pdf_document import AttachedFile, render

SECRET = b"a secret that no report may hold"
DATA = AttachedFile("results.json", "The data", b"{}")


def draw(body: str, style: str = "", head: str = "", pictures: dict[str, bytes] | None = None) -> bytes:
    html = f'<!DOCTYPE html><html lang="en"><head><title>T</title>{head}</head><body><h1>T</h1>{body}</body>'
    return render(html, style, pictures or {}, DATA)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    place = tmp_path / "secret.jpeg"
    place.write_bytes(SECRET)
    return place


def picture(address: str) -> str:
    return f'<img alt="a picture" src="{address}">'


FOREIGN: dict[str, Callable[[Path], tuple[str, str, str]]] = {
    "http": lambda secret: (picture("http://127.0.0.1:9/secret.jpeg"), "", ""),
    "https": lambda secret: (picture("https://127.0.0.1:9/secret.jpeg"), "", ""),
    "file": lambda secret: (picture(secret.as_uri()), "", ""),
    "file with a host": lambda secret: (picture(f"file://localhost{secret}"), "", ""),
    "parent folder": lambda secret: (picture("../" * 12 + str(secret).lstrip("/")), "", ""),
    "parent folder below our own scheme": lambda secret: (picture("report:fonts/../../secret.jpeg"), "", ""),
    "percent-encoded parent folder": lambda secret: (picture("%2e%2e/%2e%2e/secret.jpeg"), "", ""),
    "percent-encoded file": lambda secret: (picture(secret.as_uri().replace("secret", "%73ecret")), "", ""),
    "absolute path": lambda secret: (picture(str(secret)), "", ""),
    "data": lambda secret: (picture("data:image/gif;base64,R0lGODlhAQABAAAAACw="), "", ""),
    "an own name that does not exist": lambda secret: (picture("report:sheets/other.jpeg"), "", ""),
    "css import": lambda secret: ("", f"@import url({secret.as_uri()});", ""),
    "css background": lambda secret: ("", f"h1 {{ background: url({secret.as_uri()}) }}", ""),
    "css content": lambda secret: ("", f"h1::after {{ content: url({secret.as_uri()}) }}", ""),
    "linked style sheet": lambda secret: ("", "", f'<link rel="stylesheet" href="{secret.as_uri()}">'),
    "style element": lambda secret: ("", "", f"<style>@import '{secret.as_uri()}';</style>"),
    "style attribute": lambda secret: (f'<p style="background: url({secret.as_uri()})">x</p>', "", ""),
    "font": lambda secret: (
        "",
        f"@font-face {{ font-family: x; src: url({secret.as_uri()}) }} h1 {{ font-family: x }}",
        "",
    ),
    "colour profile": lambda secret: ("", f"@color-profile --x {{ src: url({secret.as_uri()}) }}", ""),
    "attachment link": lambda secret: (f'<p><a rel="attachment" href="{secret.as_uri()}">x</a></p>', "", ""),
    "attachment of the document": lambda secret: (
        "",
        "",
        f'<link rel="attachment" href="{secret.as_uri()}">',
    ),
    "svg image": lambda secret: (
        f'<svg width="9" height="9"><image href="{secret.as_uri()}" width="9" height="9"/></svg>',
        "",
        "",
    ),
    "svg image over http": lambda secret: (
        '<svg width="9" height="9"><image href="http://127.0.0.1:9/x.png" width="9" height="9"/></svg>',
        "",
        "",
    ),
    "embedded object": lambda secret: (f'<object data="{secret.as_uri()}"></object>', "", ""),
    "embed": lambda secret: (f'<embed src="{secret.as_uri()}">', "", ""),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_reference_ends_in_a_render_error(kind: str, secret: Path) -> None:
    body, style, head = FOREIGN[kind](secret)
    with pytest.raises(RenderError, match="no part of it"):
        draw(body, style, head)


def test_a_symbolic_link_to_a_file_outside_is_refused(secret: Path, tmp_path: Path) -> None:
    link = tmp_path / "inside.jpeg"
    link.symlink_to(secret)
    with pytest.raises(RenderError, match=r"inside\.jpeg"):
        draw(picture(link.as_uri()))


def test_an_svg_file_of_our_own_cannot_reach_out(secret: Path) -> None:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">'
        f'<image href="{secret.as_uri()}" width="9" height="9"/></svg>'
    )
    with pytest.raises(RenderError, match=r"secret\.jpeg"):
        draw(picture("report:x.svg"), pictures={"report:x.svg": svg.encode()})


def test_a_base_element_does_not_open_a_folder(secret: Path) -> None:
    head = f'<base href="{secret.parent.as_uri()}/">'
    with pytest.raises(RenderError, match=r"secret\.jpeg"):
        draw(picture("secret.jpeg"), head=head)


def test_the_message_names_what_was_refused_and_what_is_allowed() -> None:
    with pytest.raises(RenderError) as caught:
        draw(picture("https://example.org/x.png"))
    assert "'https://example.org/x.png'" in str(caught.value)
    assert "its own pictures, fonts and style sheets" in str(caught.value)


def test_the_fetcher_refuses_fatally_and_remembers() -> None:
    fetcher = ReportFetcher({"report:a": b"a"})
    with pytest.raises(FatalURLFetchingError):
        fetcher.fetch("file:///etc/hostname")
    assert fetcher.refused == ["file:///etc/hostname"]


def test_the_fetcher_hands_out_what_the_report_holds() -> None:
    fetcher = ReportFetcher({"report:sheets/1.jpeg": b"bytes"})
    response = fetcher.fetch("report:sheets/1.jpeg")
    assert response.read() == b"bytes"
    assert response.content_type == "image/jpeg"
    assert response.path is None
    assert fetcher.refused == []


def test_a_resource_cannot_have_a_foreign_address() -> None:
    with pytest.raises(RenderError, match="file:///etc/hostname"):
        ReportFetcher({"file:///etc/hostname": b""})


def test_an_error_that_weasyprint_only_logs_is_an_error() -> None:
    with pytest.raises(RenderError, match="No anchor #nowhere"):
        draw('<p><a href="#nowhere">x</a></p>')
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "JPEG")
    with pytest.raises(RenderError, match="no required alt"):
        draw('<p><img src="report:x.jpeg"></p>', pictures={"report:x.jpeg": buffer.getvalue()})


def test_a_picture_that_is_none_is_an_error() -> None:
    with pytest.raises(RenderError, match=r"report:x\.jpeg"):
        draw(picture("report:x.jpeg"), pictures={"report:x.jpeg": b"no picture"})


def test_the_log_is_left_as_it_was() -> None:
    before = list(logging.getLogger("weasyprint").handlers)
    with pytest.raises(RenderError), nothing_foreign(ReportFetcher({})):
        logging.getLogger("weasyprint").error("something is missing")
    assert logging.getLogger("weasyprint").handlers == before
