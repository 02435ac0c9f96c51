from __future__ import annotations

import pytest

from vitreport.errors import SettingsError, did_you_mean
from vitreport.registry import Registry


@pytest.fixture
def registry() -> Registry[int]:
    found: Registry[int] = Registry("fruit")
    for number, name in enumerate(("pear", "apple", "fig")):
        found.add(name, number)
    return found


def test_entries_keep_the_order_of_registration(registry: Registry[int]) -> None:
    assert list(registry) == ["pear", "apple", "fig"]
    assert list(registry.values()) == [0, 1, 2]
    assert len(registry) == 3
    assert registry["apple"] == 1
    assert "fig" in registry
    assert "date" not in registry


def test_a_name_can_be_taken_once(registry: Registry[int]) -> None:
    with pytest.raises(ValueError, match="fruit 'fig' is registered twice"):
        registry.add("fig", 9)
    assert registry["fig"] == 2


def test_an_unknown_name_is_refused_with_the_nearest(registry: Registry[int]) -> None:
    with pytest.raises(SettingsError) as caught:
        registry["appel"]
    assert str(caught.value) == "unknown fruit 'appel'; did you mean 'apple'? 'vitreport fruits' lists them"
    with pytest.raises(SettingsError) as caught:
        registry["§"]
    assert str(caught.value) == "unknown fruit '§'; 'vitreport fruits' lists them"


def test_no_name_is_near_to_one_that_is_like_none() -> None:
    assert did_you_mean("appel", ["apple", "pear"]) == "; did you mean 'apple'?"
    assert did_you_mean("§", ["apple", "pear"]) == ""
    assert did_you_mean("x", []) == ""
