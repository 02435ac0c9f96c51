"""Reads a whole site as an attacker's victim would: what is in it that the templates do not have?"""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

import html5lib
from bs4 import BeautifulSoup

from vitreport.report.template_files import BUNDLES, bundle, template_folder

IMPLIED = {"html", "head", "body", "tbody"}
POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
OUR_DATA = re.compile(r"data:(,|image/(png|webp|svg\+xml);base64,[A-Za-z0-9+/=]+)")
OUR_PATH = re.compile(r"[a-z]+(/[A-Za-z0-9_-]+)*/?[A-Za-z0-9_-]+\.[a-z]+")
SCRIPT = re.compile(r"\(?window\.\w+(=window\.\w+\|\|(\[\]|\{\})\))?(\[\d+\])?=")


@dataclass(frozen=True)
class Page:
    """A page of a site: its path below it, and its elements."""

    path: str
    soup: BeautifulSoup


@cache
def _of_templates() -> tuple[set[str], set[str]]:
    """Names of all elements and attributes that the templates write."""
    folder = Path(str(template_folder()))
    text = "\n".join(place.read_text(encoding="utf-8") for place in sorted(folder.glob("*.html")))
    elements = set(re.findall(r"<([a-z][a-z0-9]*)", text)) | IMPLIED
    attributes = set(re.findall(r"[\s\"]([a-z][a-zA-Z0-9-]*)(?=[=\s>{])", text))
    return elements, {name for name in attributes if not name.startswith("on") and name != "style"}


def pages(site: Path) -> list[Page]:
    """Every page, parsed strictly: an error in its markup is an error here."""
    found = []
    for place in sorted(site.rglob("*.html")):
        text = place.read_bytes().decode("utf-8")
        html5lib.HTMLParser(strict=True).parse(text)
        found.append(Page(place.relative_to(site).as_posix(), BeautifulSoup(text, "html5lib")))
    return found


def assert_inert(site: Path) -> list[Page]:
    """Asserts that nothing in a site acts but its own script; returns its pages."""
    elements, attributes = _of_templates()
    found = pages(site)
    for page in found:
        policies = page.soup.select("meta[http-equiv]")
        assert [str(meta["content"]) for meta in policies] == [POLICY], page.path
        for tag in page.soup.find_all(True):
            assert tag.name in elements, (page.path, tag.name)
            for name in tag.attrs:
                assert name in attributes, (page.path, tag.name, name)
            if tag.name == "script":
                assert not tag.get_text() and str(tag["src"]).endswith(".js")
            for name in ("href", "src", "action", "formaction", "poster", "srcset", "data", "xlink:href"):
                if name in tag.attrs:
                    assert_ours(site, page.path, str(tag[name]))
    return found


def assert_ours(site: Path, path: str, address: str) -> None:
    """Asserts that an address leads to a file of the site, or holds a picture of ours."""
    if address.startswith("data:"):
        assert OUR_DATA.fullmatch(address), (path, address[:80])
        return
    parts = urlsplit(address)
    assert not parts.scheme and not parts.netloc and not parts.path.startswith("/"), (path, address)
    if parts.path:
        place = (site / path).parent / unquote(parts.path)
        assert place.is_file() and place.resolve().is_relative_to(site.resolve()), (path, address)


def data_scripts(site: Path) -> list[Any]:
    """What the data scripts assign: each is one assignment of strict JSON that closes no element."""
    found = []
    own = [bundle(name) for name in BUNDLES]
    for place in sorted(site.rglob("*.js")):
        text = place.read_text(encoding="utf-8")
        if place.read_bytes() in own:
            continue
        start = SCRIPT.match(text)
        assert start is not None, place
        assert not set(text) & set("<>&\u2028\u2029"), place
        assert text.endswith(";\n")
        found.append(strict_json(text[start.end() : -2]))
    return found


def strict_json(text: str) -> Any:
    """Parses JSON as other languages do: NaN and Infinity are errors."""

    def refuse(name: str) -> NoReturn:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def texts_in(value: Any) -> set[str]:
    """All strings in a JSON value."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, dict):
        return {text for pair in value.items() for inner in pair for text in texts_in(inner)}
    return {text for inner in value for text in texts_in(inner)} if isinstance(value, list) else set()


def csv_cells(content: bytes) -> list[list[str]]:
    """The rows of a CSV file."""
    return list(csv.reader(io.StringIO(content.decode("utf-8"), newline="")))


def is_formula(cell: str) -> bool:
    """Whether a spreadsheet may run a cell."""
    try:
        float(cell)
    except ValueError:
        return cell.lstrip(" ")[:1] in tuple("=+-@\t\r\n＝＋－＠")
    return False
