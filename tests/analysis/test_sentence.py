"""The sentence about a leaderboard, on planted scores: it claims no more than was compared."""

from __future__ import annotations

import numpy as np
import pytest

from tests.analysis.planted_scores import EXAMPLE, NAN, board_of, noise, planted, table
from vitreport.analysis.sentence import in_words
from vitreport.analysis.statistics import Scores

TITLES = {
    "libra": "Libra FullGrad",
    "gradient": "gradient rollout",
    "raw": "raw attention",
    "mean": "mean rollout",
    "centre": "the centred Gaussian",
    "edges": "Sobel edges",
    "random": "random maps",
}

CONTROLS = {"random": ["random"], "controls": ["centre", "edges"]}
KNOWS = "every control that knows nothing of the model"


def words(scores: Scores, **options: object) -> str:
    return in_words(board_of(scores, **options), TITLES)


def test_the_sentence_names_the_leader_its_ties_and_what_fails() -> None:
    scores = planted(raw=0.001, gradient=0.499, random=0, libra=0.5)
    assert words(scores, random=["random"]) == (
        "On this model Libra FullGrad is the most faithful by its mean and better than random; "
        "gradient rollout is not significantly behind it; "
        "raw attention is not shown to be better than random."
    )


def test_the_sentence_names_one_leader_and_says_what_it_was_compared_with() -> None:
    start = "On this model Libra FullGrad is the most faithful: all others are significantly behind it"
    assert words(planted(libra=0.5, mean=0.3, random=0), random=["random"]) == (
        f"{start}, and it is better than random."
    )
    assert words(planted(libra=0.5, mean=0.3, centre=0.1, random=0), **CONTROLS) == (
        f"{start}, and it is ahead of {KNOWS}."
    )
    assert words(planted(libra=0.5, mean=0.3)) == f"{start}."
    board = board_of(planted(libra=0.5, mean=0.3))
    assert in_words(board, TITLES, "Where the model is wrong,").startswith("Where the model is wrong, Libra")


def test_the_sentence_names_three_of_many_ties() -> None:
    scores = planted(**{f"t{number}": 0.5 - number / 10_000 for number in range(6)}, random=0)
    titles = {key: key.upper() for key in scores.keys}
    assert in_words(board_of(scores, random=["random"]), titles) == (
        "On this model T0 is the most faithful by its mean and better than random; "
        "T1, T2, T3 and 2 more are not significantly behind it."
    )


def test_the_sentence_says_that_nothing_is_shown_to_beat_random() -> None:
    nothing = "On this model no technique is shown to be better than random."
    assert words(planted(libra=0.001, raw=-0.5, random=0), random=["random"]) == nothing
    assert words(planted(libra=0.001, raw=-0.5, centre=0.4, random=0), **CONTROLS) == nothing


def test_nothing_is_called_faithful_that_is_not_ahead_of_the_best_control() -> None:
    assert words(planted(edges=0.5, libra=0.5, raw=0.3, centre=0.1, random=0), **CONTROLS) == (
        f"On this model no technique is shown to be ahead of {KNOWS} (the best of them: Sobel edges); "
        "Libra FullGrad has the best mean."
    )
    found = words(planted(edges=0.3, libra=0.5, raw=0.3, mean=0.001, centre=0.1, random=0), **CONTROLS)
    assert found == (
        "On this model Libra FullGrad is the most faithful: all others are significantly behind it, and it "
        f"is ahead of {KNOWS}; raw attention is better than random, but not shown to be ahead of every "
        "control (the best of them: Sobel edges); mean rollout is not shown to be better than random."
    )


def test_a_higher_mean_that_is_not_ahead_of_the_controls_is_said() -> None:
    rows = {"raw": 0.5 + noise(1, 4), "libra": 0.4 + noise(2), "mean": 0.399 + noise(3)}
    scores = table(**rows, centre=0.2 + noise(5), random=noise(4))
    assert words(scores, **CONTROLS) == (
        f"On this model Libra FullGrad has the best mean of the techniques that are ahead of {KNOWS}; "
        "raw attention has a better mean, but is not; "
        "raw attention is not shown to be better than random."
    )


def test_the_sentence_about_a_single_technique_ranks_nothing() -> None:
    one = "On this model raw attention, the only technique ranked, is "
    assert words(planted(raw=0.5, random=0), random=["random"]) == one + "better than random."
    assert words(planted(raw=0, random=0), random=["random"]) == one + "not shown to be better than random."
    assert words(planted(raw=0.5)) == one + "not compared with random."
    assert words(planted(raw=0.5, centre=0, random=0), **CONTROLS) == one + f"ahead of {KNOWS}."
    assert words(planted(raw=0.5, centre=0.5, random=0), **CONTROLS) == (
        one + "better than random, but not shown to be ahead of every control (the best of them: "
        "the centred Gaussian)."
    )


def test_a_control_is_never_named_as_a_leader() -> None:
    assert words(planted(centre=0.5, random=0), **CONTROLS) == (
        "On this model no technique has a defined score, so none can be ranked."
    )


@pytest.mark.parametrize(("count", "start"), [(1, "1 image was scored"), (4, "4 images were scored")])
def test_the_sentence_says_that_too_few_images_were_scored(count: int, start: str) -> None:
    few = Scores(EXAMPLE.keys, EXAMPLE.values[:, :count])
    assert words(few, random=["random"]) == (
        f"On this model {start}: too few to rank techniques, which takes at least 5."
    )


def test_the_sentence_says_that_all_is_undefined() -> None:
    nothing = "On this model no technique has a defined score, so none can be ranked."
    assert words(Scores(EXAMPLE.keys, np.full_like(EXAMPLE.values, NAN)), random=["random"]) == nothing
    assert words(Scores(EXAMPLE.keys, np.empty((5, 0))), random=["random"]) == nothing
    assert words(Scores((), np.empty((0, 3)))) == nothing


def test_what_is_worse_than_random_is_called_so() -> None:
    assert words(planted(libra=0.5, raw=-0.5, random=0), random=["random"]) == (
        "On this model Libra FullGrad is the most faithful: all others are significantly behind it, and it "
        "is better than random; raw attention is worse than random."
    )
