from __future__ import annotations

import pytest
from tiny_model import NAMES

from vitreport.errors import SettingsError
from vitreport.explanation import ClassNames
from vitreport.optimized.target import Kind, Target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("class:3", Target(Kind.CLASS, 3)),
        ("3", Target(Kind.CLASS, 3)),
        ("dog", Target(Kind.CLASS, 3)),
        ("class:Dog", Target(Kind.CLASS, 3)),
        ("unit:8:17", Target(Kind.UNIT, 17, 8)),
        ("head:5:2", Target(Kind.HEAD, 2, 5)),
        ("head:5:2:40", Target(Kind.HEAD, 2, 5, 40)),
        ("channel:11:40", Target(Kind.CHANNEL, 40, 11)),
    ],
)
def test_a_target_is_read_and_its_key_reads_back_as_itself(text, target):
    assert Target.parse(text, NAMES) == target
    assert Target.parse(target.key, NAMES) == target
    assert ":" not in target.slug


def test_a_class_whose_name_looks_like_a_kind_is_still_a_class():
    names = ClassNames(("unit", "head: of a bed"))
    assert Target.parse("unit", names) == Target(Kind.CLASS, 0)
    assert Target.parse("class:head: of a bed", names) == Target(Kind.CLASS, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dgo", "did you mean 'dog'"),
        ("class:5", "classes are 0 to 4"),
        ("class:-1", "classes are 0 to 4"),
        ("unit:8", "unit:BLOCK:UNIT"),
        ("unit:8:1:2", "unit:BLOCK:UNIT"),
        ("channel:1:-2", "channel:BLOCK:CHANNEL"),
        ("head:x:2", "head:BLOCK:HEAD"),
    ],
)
def test_what_is_no_target_is_refused_with_what_to_write(text, words):
    with pytest.raises(SettingsError, match=words):
        Target.parse(text, NAMES)


def test_a_model_without_classes_has_no_class_to_name():
    assert Target.parse("unit:1:2", ClassNames(())) == Target(Kind.UNIT, 2, 1)
    with pytest.raises(SettingsError, match="no classifier"):
        Target.parse("dog", ClassNames(()))


def test_titles_name_the_class_and_the_place():
    assert Target(Kind.CLASS, 3).title(NAMES) == "class 3: dog"
    assert Target(Kind.UNIT, 17, 8).title(NAMES) == "unit 17 of block 8"
    assert Target(Kind.HEAD, 2, 5, 40).title(NAMES) == "channel 40 of head 2 of block 5"
