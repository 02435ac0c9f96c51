from __future__ import annotations

import pytest

from vitreport.errors import SettingsError
from vitreport.explanation import ClassNames
from vitreport.model.targets import Targets

CLASSES = ClassNames(
    ("tench, Tinca tinca", "tabby", "tiger cat", "egyptian cat"), ("n1", "n2", "n02123159", "n4")
)
RANKING = (2, 0, 3, 1)


def explained(*specs: str, label: int | None = None) -> tuple[int, ...]:
    return Targets.parse(specs, CLASSES).of_image(RANKING, label)


@pytest.mark.parametrize(
    ("specs", "expected"),
    [
        (("predicted",), (2,)),
        (("label",), (1,)),
        (("top1",), (2,)),
        (("top2",), (2, 0)),
        (("top99",), RANKING),
        (("top0",), (2,)),
        (("3",), (3,)),
        (("tiger cat",), (2,)),
        (("Tiger_Cat",), (2,)),
        (("Tinca tinca",), (0,)),
        (("n02123159",), (2,)),
        (("3", "label", "predicted"), (3, 1, 2)),
        (("predicted", "top2", "2", "tiger cat"), (2, 0)),
    ],
)
def test_every_kind_of_target_is_resolved_once_and_in_order(
    specs: tuple[str, ...], expected: tuple[int, ...]
) -> None:
    assert explained(*specs, label=1) == expected


def test_an_image_without_a_label_has_no_target_label() -> None:
    assert explained("label") == ()
    assert explained("label", "0") == (0,)


def test_only_label_alone_needs_labels() -> None:
    assert Targets.parse(["label"], CLASSES).needs_labels
    assert Targets.parse(["label", "label"], CLASSES).needs_labels
    assert not Targets.parse(["label", "predicted"], CLASSES).needs_labels


def test_a_model_of_one_class_has_one_target_at_most() -> None:
    one = ClassNames(("cat",))
    for spec in ("predicted", "top2", "0", "cat"):
        assert Targets.parse([spec], one).of_image((0,), None) == (0,)
    assert Targets.parse(["top2"], one).most == 1


def test_a_model_without_classes_has_no_target_and_says_so_of_all_but_the_default() -> None:
    assert Targets.parse(["predicted"], ClassNames(())).of_image((), None) == ()
    for spec in ("label", "top2", "0", "cat"):
        with pytest.raises(SettingsError, match=f"target '{spec}' .* no classifier, .* leave --target out"):
            Targets.parse(["predicted", spec], ClassNames(()))


def test_a_label_that_is_no_output_cannot_be_explained() -> None:
    with pytest.raises(SettingsError, match="labels are no outputs of this model"):
        Targets.parse(["label"], CLASSES, labels=False)
    assert Targets.parse(["predicted"], CLASSES, labels=False).specs == ("predicted",)


def test_the_most_targets_that_an_image_can_have_are_counted() -> None:
    assert Targets.parse(["top3", "label", "0"], CLASSES).most == 5


@pytest.mark.parametrize("index", ["4", "-1", "999"])
def test_an_index_out_of_range_is_refused_with_the_range(index: str) -> None:
    with pytest.raises(SettingsError, match=rf"target {index} is no class .* 0 to 3"):
        explained(index)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("tiger cta", "did you mean 'tiger cat'"),
        ("predictd", "did you mean 'predicted'"),
        ("§", "'§'; allowed: predicted, label, top2, a class index, or a class name"),
        ("1.5", "unknown target '1.5'"),
        ("top", "unknown target"),
    ],
)
def test_an_unknown_word_is_refused_with_the_nearest(word: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        explained(word)
    assert said in str(caught.value)
