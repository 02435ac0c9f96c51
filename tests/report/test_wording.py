from __future__ import annotations

import pytest

from vitreport.report.wording import count, file_name, file_size, number, percent, plain, short_class


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0123456, "0.0123"),
        (0.99966, "1.00"),
        (-0.5, "−0.500"),
        (12.34, "12.3"),
        (1234.5, "1,234"),
        (1.2e-7, "1.20e-07"),
        (float("nan"), "not a number"),
        (float("-inf"), "−∞"),
    ],
)
def test_numbers_have_three_significant_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_share_is_never_rounded_to_nothing_or_to_all() -> None:
    assert percent(0.37249).split() == ["37.2", "%"]
    assert percent(0.00001).startswith("<")
    assert percent(0.99999).startswith(">")
    assert percent(0).split() == ["0.0", "%"]
    assert percent(1).split() == ["100.0", "%"]


def test_names_are_shortened_but_never_emptied() -> None:
    assert short_class("tench, Tinca tinca") == "tench"
    assert short_class(",") == ","
    assert file_name("a/b/c.png") == "c.png"
    assert file_name("/") == "/"


def test_a_backslash_is_part_of_a_file_name() -> None:
    assert file_name("a/new\\x0aline.png") == "new\\x0aline.png"


def test_counts_and_sizes_read_like_words() -> None:
    assert count(1, "image") == "1 image"
    assert count(1000, "image") == "1,000 images"
    assert [file_size(size) for size in (812, 14200, 3_100_000)] == ["812 B", "14.2 kB", "3.1 MB"]


def test_any_json_value_fits_on_a_line() -> None:
    assert (
        plain({"mean": [0.5, 0.25], "flip": True, "note": None}) == "mean: 0.5, 0.25; flip: yes; note: none"
    )
