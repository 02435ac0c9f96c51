from __future__ import annotations

import pickle

import pytest

from vitreport.explanation import ClassNames, ImageRef, is_wordnet_id

CLASSES = ClassNames(
    ("tench, Tinca tinca", "crane", "tiger_cat", "crane", "Tinca tinca"), ("n01440764", "n02012849"), "a test"
)


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("n02012849", 1),
        ("N01440764", 0),
        ("tench", 0),
        ("TENCH,  tinca Tinca", 0),
        ("tiger cat", 2),
        ("Tiger_Cat", 2),
        ("crane", 1),
        ("Tinca tinca", 4),
        ("3", None),
        ("", None),
        ("n99999999", None),
        ("tenc", None),
    ],
)
def test_a_class_is_found_by_id_name_or_synonym(text: str, index: int | None) -> None:
    assert CLASSES.index_of(text) == index


def test_classes_are_counted_and_read_by_index() -> None:
    assert len(CLASSES) == 5
    assert CLASSES[2] == "tiger_cat"


def test_looking_up_does_not_change_what_class_names_are() -> None:
    one, other = ClassNames(("a", "b")), ClassNames(("a", "b"))
    one.index_of("a")
    assert one == other
    assert hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(one)).index_of("b") == 1


@pytest.mark.parametrize(
    "text", ["n1234567", "n123456789", "x12345678", "n1234567a", " n12345678", "n12345678\n"]
)
def test_only_n_and_eight_digits_is_a_wordnet_id(text: str) -> None:
    assert not is_wordnet_id(text)
    assert is_wordnet_id("n12345678")


def test_two_refs_do_not_share_their_meta() -> None:
    one, other = ImageRef("a", "a", "", 0), ImageRef("b", "b", "", 0)
    assert one.meta == other.meta == {}
    assert one.meta is not other.meta
