from __future__ import annotations

import pytest
import torch

from vitreport.errors import SettingsError
from vitreport.model.head import Head


@pytest.mark.parametrize(
    ("asked", "outputs", "expected"),
    [
        ("auto", 0, Head.NONE),
        ("auto", 1, Head.SIGMOID),
        ("auto", 2, Head.SOFTMAX),
        ("softmax", 2, Head.SOFTMAX),
        ("sigmoid", 1, Head.SIGMOID),
        ("sigmoid", 7, Head.SIGMOID),
        ("regression", 1, Head.REGRESSION),
        ("regression", 7, Head.REGRESSION),
    ],
)
def test_a_head_is_what_is_asked_for_or_what_its_outputs_suggest(
    asked: str, outputs: int, expected: Head
) -> None:
    assert Head.of(asked, outputs) is expected


@pytest.mark.parametrize(
    ("asked", "outputs", "said"),
    [
        ("softmax", 1, "one output, whose softmax is always 1; --head takes sigmoid or regression"),
        ("softmax", 0, "no head that could be read as softmax; leave --head out"),
        ("regression", 0, "no head that could be read as regression; leave --head out"),
    ],
)
def test_what_a_head_cannot_be_is_refused(asked: str, outputs: int, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Head.of(asked, outputs)


def test_scores_are_probabilities_or_the_values_themselves() -> None:
    logits = torch.tensor([[0.0, 2.0, -1.0], [30.0, -30.0, 0.0]])
    softmax, sigmoid = Head.SOFTMAX.scores(logits), Head.SIGMOID.scores(logits)
    assert torch.allclose(softmax.sum(1), torch.ones(2))
    assert torch.allclose(softmax[0, 1] / softmax[0, 0], torch.tensor(2.0).exp())
    assert torch.allclose(sigmoid, 1 / (1 + (-logits).exp()))
    assert torch.equal(Head.REGRESSION.scores(logits), logits)


def test_every_head_says_which_scalar_is_explained() -> None:
    said = {
        Head.SOFTMAX.explained(5),
        Head.SIGMOID.explained(5),
        Head.SIGMOID.explained(1),
        Head.REGRESSION.explained(1),
        Head.NONE.explained(0),
    }
    assert len(said) == 5
    assert "before the softmax" in Head.SOFTMAX.explained(5)
    assert "before the sigmoid" in Head.SIGMOID.explained(5)
    assert "one logit" in Head.SIGMOID.explained(1)
    assert "no classifier" in Head.NONE.explained(0)
