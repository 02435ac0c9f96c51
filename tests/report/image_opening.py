"""How tests come to the page of an image."""

from __future__ import annotations

from typing import Any


def open_image(page: Any, site: str, image: str) -> None:
    page.goto(f"{site}images/{image}.html")
    page.wait_for_function("[...document.images].every(one => one.loading === 'lazy' || one.complete)")
