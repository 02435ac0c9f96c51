from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from tiny_model import noise

from vitreport.explanation import ClassNames
from vitreport.model.head import Head
from vitreport.model.load import VisionModel
from vitreport.model.preparation import Preparation
from vitreport.optimized import gates
from vitreport.optimized.likeness import likeness, position_similarity
from vitreport.optimized.target import Kind, Target
from vitreport.store.optimized import Audited, Gate, Look, OptimizedPicture


def audited(bound: float | None) -> Audited:
    return Audited(9, 0, 0.0, 1.0, bound, bound, "above the maximum of the 9 audited images")


def seen(activation: float = 2.0, rank: int | None = 1, **other: Look) -> dict[str, Look]:
    look = Look(activation, 0, 0.9, rank)
    return {"clean": look, "shifted": look, "blurred": look, **other}


def verdicts(found: tuple[Gate, ...]) -> dict[str, bool | None]:
    return {gate.name: gate.passed for gate in found}


CLASS, UNIT = Target(Kind.CLASS, 1), Target(Kind.UNIT, 3, 0)


def test_few_images_set_the_bound_at_their_maximum_and_many_at_a_percentile():
    few = torch.arange(4999.0)
    assert gates.bound_of(few) == (4998.0, "above the maximum of the 4999 audited images")
    bound, rule = gates.bound_of(torch.arange(5000.0).flip(0))
    assert bound == pytest.approx(4999 * 0.999)
    assert "99.9th percentile of the 5000" in rule
    assert gates.bound_of(torch.zeros(0))[0] is None


def test_a_class_picture_passes_where_it_is_first_every_way_and_above_the_bound(models):
    found = verdicts(gates.gates_of(models["class_token"], CLASS, 1.0, seen(), audited(1.5)))
    assert found == dict.fromkeys(("activation", "seam", "clean", "shifted", "blurred"), True)


@pytest.mark.parametrize(
    ("failed", "seam", "looks", "bound"),
    [
        ("activation", 1.0, seen(), 2.0),
        ("seam", 1.11, seen(), 1.5),
        ("seam", 0.89, seen(), 1.5),
        ("clean", 1.0, seen(clean=Look(2.0, 4, 0.3, 2)), 1.5),
        ("shifted", 1.0, seen(shifted=Look(2.0, 4, 0.3, 2)), 1.5),
        ("blurred", 1.0, seen(blurred=Look(2.0, 4, 0.3, 5)), 1.5),
    ],
)
def test_each_gate_of_a_class_fails_for_its_own_reason_alone(models, failed, seam, looks, bound):
    found = verdicts(gates.gates_of(models["class_token"], CLASS, seam, looks, audited(bound)))
    assert [name for name, passed in found.items() if passed is False] == [failed]


def test_what_is_no_class_has_to_stay_above_the_bound_when_it_is_moved_or_blurred(models):
    looks = seen(rank=None, blurred=Look(1.0, 0, None, None))
    found = verdicts(gates.gates_of(models["class_token"], UNIT, 1.0, looks, audited(1.5)))
    assert found == {"activation": True, "seam": True, "shifted": True, "blurred": False}
    unknown = verdicts(gates.gates_of(models["class_token"], UNIT, 1.0, looks, audited(None)))
    assert unknown == {"activation": None, "seam": True, "shifted": None, "blurred": None}


def test_outputs_that_do_not_compete_are_not_ranked(models):
    labels = replace(models["class_token"], head=Head.SIGMOID)
    looks = seen(clean=Look(2.0, 4, 0.9, 3), shifted=Look(1.0, 4, 0.9, 3))
    found = verdicts(gates.gates_of(labels, CLASS, 1.0, looks, audited(1.5)))
    assert found == {"activation": True, "seam": True, "shifted": False, "blurred": True}


def test_a_look_has_the_logit_the_probability_and_the_rank(models):
    model = models["class_token"]
    pictures = torch.rand(4, 3, *model.input_size, generator=torch.Generator().manual_seed(2))
    targets = [Target(Kind.CLASS, index) for index in (0, 1, 2, 3)]
    found = gates.looks(model, pictures, targets)
    for way, shown in (("clean", pictures), ("shifted", pictures.roll((2, 2), (2, 3)))):
        with torch.no_grad():
            logits = model.module(model.preparation.normalised(shown))
        for place, target in enumerate(targets):
            look = found[place][way]
            assert look.activation == pytest.approx(logits[place, target.index].item(), abs=1e-5)
            assert look.score == pytest.approx(logits[place].softmax(0)[target.index].item(), abs=1e-5)
            order = logits[place].argsort(descending=True).tolist()
            assert (look.predicted, look.rank) == (order[0], order.index(target.index) + 1)


def test_a_picture_of_224_pixels_is_moved_by_16(models):
    assert gates.shift_of(models["class_token"]) == 2
    large = Preparation({**models["class_token"].preparation.config, "input_size": (3, 224, 300)})
    assert gates.shift_of(replace(models["class_token"], preparation=large)) == 16


def test_blurring_is_a_gaussian_mirrored_at_the_border():
    pictures = torch.rand(2, 3, 24, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = gaussian_filter(pictures.numpy(), (0, 0, 1.5, 1.5), mode="mirror", truncate=4.0)
    assert np.allclose(gates.blurred(pictures, 1.5).numpy(), wanted, atol=1e-10)


def test_pictures_are_judged_with_eight_bits_a_colour():
    levels = gates.quantised(torch.tensor([-0.5, 0.0, 0.3, 0.9999, 2.0])) * 255
    assert levels.tolist() == pytest.approx([0, 0, 76, 255, 255], abs=1e-4)


def picture(clean: bool | None, activation: bool | None) -> OptimizedPicture:
    tests = {"activation": activation, "clean": clean}
    found = tuple(
        Gate(name, passed, 1.0, "") for name, passed in tests.items() if name != "clean" or clean is not None
    )
    return OptimizedPicture("seed 0", "a.png", 1.0, None, {}, found)


def test_seeds_agree_where_each_leads_to_the_target():
    assert verdicts(gates.gates_together([picture(True, False)] * 2)) == {"seeds": True}
    (gate,) = gates.gates_together([picture(True, True), picture(False, True)])
    assert (gate.passed, gate.value) == (False, 0.5)
    assert verdicts(gates.gates_together([picture(None, True)] * 3)) == {"seeds": True}
    assert verdicts(gates.gates_together([picture(None, None)] * 3)) == {"seeds": None}
    assert verdicts(gates.gates_together([picture(True, True)])) == {"seeds": None}


def test_another_model_judges_by_the_classes_name_through_its_own_preparation(models):
    judge = models["non_square"]
    pictures = gates.quantised(torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    many = replace(judge, classes=ClassNames(("x", "y", "dog", "z", "w")))
    assert gates.gate_of_judge(many, pictures, "Dog").passed  # one of five is among the likeliest five
    stranger = gates.gate_of_judge(many, pictures, "walrus")
    assert stranger.passed is None and "no class 'walrus'" in stranger.says


class Ranking(torch.nn.Module):
    """Always says the same of ten classes, the first the likeliest."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.arange(10.0, 0, -1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.weight.expand(len(pixels), -1)


@pytest.mark.parametrize(("index", "passed"), [(0, True), (4, True), (5, False), (9, False)])
def test_the_five_likeliest_classes_pass(models, index, passed):
    judge = replace(models["class_token"], module=Ranking(), classes=ClassNames(tuple("abcdefghij")))
    gate = gates.gate_of_judge(judge, torch.rand(2, 3, 32, 32), "abcdefghij"[index])
    assert (gate.passed, gate.value) == (passed, float(passed))


def test_the_cosine_of_features_is_the_mean_over_pairs(models):
    model = models["class_token"]
    pictures = torch.rand(3, 3, *model.input_size, generator=torch.Generator().manual_seed(1))
    pixels = model.preparation.normalised(pictures)
    with torch.no_grad():
        features = model.module.forward_head(model.module.forward_features(pixels), pre_logits=True).numpy()
    pairs = [
        float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        for a, b in ((features[0], features[1]), (features[0], features[2]), (features[1], features[2]))
    ]
    assert gates.feature_cosine(model, pictures) == pytest.approx(np.mean(pairs), abs=1e-5)
    assert gates.feature_cosine(model, pictures[:1]) is None


def test_likeness_is_the_correlation_over_all_pairs_of_patches(models):
    model = models["registers"]
    pixels = noise(model, 2).double()
    embedding = model.module.pos_embed[0, -model.layout.num_patches :].detach().double().numpy()
    for picture, found in zip(pixels.numpy(), likeness(model, pixels.float()), strict=True):
        rows, cols = model.layout.grid
        patches = np.stack(
            [
                picture[:, 8 * row : 8 * row + 8, 8 * col : 8 * col + 8].ravel()
                for row in range(rows)
                for col in range(cols)
            ]
        )
        patches = patches - patches.mean(0)
        pairs = [
            (
                a @ b / np.linalg.norm(a) / np.linalg.norm(b),
                p @ q / np.linalg.norm(p) / np.linalg.norm(q),
            )
            for place, (a, p) in enumerate(zip(patches, embedding, strict=True))
            for b, q in zip(patches[place + 1 :], embedding[place + 1 :], strict=True)
        ]
        assert found == pytest.approx(np.corrcoef(np.array(pairs).T)[0, 1], abs=1e-4)


@pytest.mark.parametrize("name", ["dinov3", "relative_position"])
def test_a_model_without_learned_positions_has_no_likeness(models, name):
    model: VisionModel = models[name]
    assert position_similarity(model) is None
    assert likeness(model, noise(model, 2)) == [None, None]


def test_a_picture_of_one_colour_has_no_likeness(models):
    model = models["class_token"]
    (found,) = likeness(model, torch.zeros(1, 3, *model.input_size))
    assert found is None or math.isfinite(found)
