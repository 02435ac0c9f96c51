"""What the model said, whatever head it has."""

from __future__ import annotations

import numpy as np
import pytest

from tests.analysis.planted_run import even_scores, image_id, plant
from vitreport.analysis.outcomes import NO_CLASS, outcomes


def test_predictions_labels_and_margins_are_read(tmp_path):
    run = plant(
        tmp_path / "run",
        scores=[[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.0, 0.1, 0.9], [1.0, 0.0, 0.0]],
        labels=[0, 2, None, 0],
        quarantined=(3,),
    )
    found = outcomes(run)
    assert found.ids == tuple(map(image_id, range(3))), "a quarantined image is left out"
    assert found.predicted.tolist() == [0, 1, 2]
    assert found.confidence == pytest.approx([0.7, 0.5, 0.9])
    assert found.margin == pytest.approx([0.5, 0.1, 0.8])
    assert found.label.tolist() == [0, 2, NO_CLASS]
    assert np.array_equal(found.right, [1, 0, np.nan], equal_nan=True)
    assert found.name(2) == "house"


@pytest.mark.parametrize(
    ("head", "classes", "scores", "sure"),
    [
        ("sigmoid", ("tumour",), [[0.7], [0.2]], [0.7, 0.2]),
        ("regression", ("age", "height"), [[61.0, 1.7], [12.0, 1.2]], [np.nan] * 2),
        ("none", (), [[], []], [np.nan] * 2),
    ],
)
def test_a_model_that_tells_no_classes_is_never_right_or_wrong(tmp_path, head, classes, scores, sure):
    run = plant(tmp_path / "run", scores=scores, head=head, classes=classes, labels=[0, 0])
    found = outcomes(run)
    assert found.predicted.tolist() == [NO_CLASS] * 2
    assert found.confidence == pytest.approx(sure, nan_ok=True)
    assert np.isnan(found.margin).all() and np.isnan(found.right).all()


def test_without_any_usable_image_everything_is_empty(tmp_path):
    found = outcomes(plant(tmp_path / "run", scores=even_scores([0]), quarantined=(0,)))
    assert found.ids == () and len(found.right) == 0
