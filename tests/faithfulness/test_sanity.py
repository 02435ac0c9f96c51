"""The metrics that explain anew: random weights, two classes, noise; each against a loop written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from tiny_model import noise, vision_model
from torch import Tensor

from vitreport.draws import generator
from vitreport.faithfulness.class_sensitivity import ClassSensitivity
from vitreport.faithfulness.metric import Case, Gallery
from vitreport.faithfulness.noise_stability import NoiseStability
from vitreport.faithfulness.randomisation import (
    Randomisation,
    entropy,
    likeness_by_chance,
    random_weights,
)
from vitreport.model.load import VisionModel, load_model
from vitreport.ranks import spearman
from vitreport.techniques.maps import maps_of
from vitreport.techniques.technique import Technique, select

KEYS = ("raw_attention", "attention_rollout", "gradient_rollout", "saliency", "libra_full_grad")
CONTROLS = ("centre", "edges", "random")
BLUR = np.exp(-8 * (np.fft.fftfreq(8)[:, None] ** 2 + np.fft.fftfreq(8)[None] ** 2))
"""Smooths maps of 8 x 8 patches, around their edges too."""


def case_of(model: VisionModel, batch: int, keys: tuple[str, ...] = KEYS + CONTROLS) -> Case:
    pixels = noise(model, batch)
    techniques = {one.key: one for one in select(keys) if isinstance(one, Technique)}
    targets = model.module(pixels).argmax(1)
    return Case(model, pixels, targets, tuple("abcdef"[:batch]), 0, 4, techniques)


def maps(case: Case) -> dict[str, Tensor]:
    (found,) = case.explain(case.techniques, case.pixels, case.targets)
    return found


@pytest.fixture(scope="module")
def tiny() -> VisionModel:
    return vision_model("class_token")


def test_weights_are_random_meanwhile_and_afterwards_the_same_to_the_bit(tiny: VisionModel) -> None:
    before = {name: weight.clone() for name, weight in tiny.module.state_dict().items()}
    draws = []
    for number in (0, 0, 1):
        with random_weights(tiny, 0, number):
            draws.append({name: weight.clone() for name, weight in tiny.module.state_dict().items()})
    assert all(torch.equal(before[name], weight) for name, weight in tiny.module.state_dict().items())
    weight = "blocks.0.attn.qkv.weight"
    assert torch.equal(draws[0][weight], draws[1][weight])
    assert not torch.equal(draws[0][weight], draws[2][weight])
    assert abs(np.corrcoef(draws[0][weight].ravel(), before[weight].ravel())[0, 1]) < 0.1
    assert draws[0][weight].std() == pytest.approx(float(before[weight].std()), rel=0.1)


def test_weights_come_back_after_an_error(tiny: VisionModel) -> None:
    before = tiny.module.state_dict()["blocks.0.attn.qkv.weight"].clone()
    with pytest.raises(RuntimeError), random_weights(tiny, 0, 0):
        raise RuntimeError
    assert torch.equal(tiny.module.state_dict()["blocks.0.attn.qkv.weight"], before)


def test_randomisation_is_the_mean_rank_correlation_and_the_rise_of_entropy(tiny: VisionModel) -> None:
    case = case_of(tiny, 3)
    given = maps(case)
    rows = Randomisation(seeds=2).score(case, given)
    for key in KEYS:
        for image in range(3):
            own = given[key][image].numpy().ravel().astype(np.float64)
            found, rises = [], []
            for number in range(2):
                with random_weights(tiny, 0, number):
                    other = maps(case)[key][image].numpy().ravel().astype(np.float64)
                found.append(spearmanr(own, other).statistic)
                entropies = []
                for values in (own, other):
                    share = np.histogram(values, 100)[0] / len(values)
                    entropies.append(-sum(p * np.log(p) for p in share if p))
                rises.append(entropies[1] / entropies[0] - 1)
            assert rows[key][image]["value"] == pytest.approx(np.mean(np.abs(found)), abs=1e-6)
            assert rows[key][image]["correlation"] == pytest.approx(np.mean(found), abs=1e-6)
            assert rows[key][image]["emprt"] == pytest.approx(np.mean(rises), abs=1e-6)
    assert [row["value"] for key in CONTROLS for row in rows[key]] == [1] * 9
    assert [row["emprt"] for key in CONTROLS for row in rows[key]] == [0] * 9


def test_likeness_by_chance_is_the_mean_over_all_shifts() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 4, 5)), rng.normal(size=(2, 4, 5))
    for image, found in enumerate(likeness_by_chance(one, other)):
        sizes = [
            abs(spearmanr(one[image].ravel(), np.roll(other[image], shift, (0, 1)).ravel()).statistic)
            for shift in np.ndindex(4, 5)
        ]
        assert found == pytest.approx(np.mean(sizes), abs=1e-12)
    assert np.isnan(likeness_by_chance(np.ones((1, 4, 5)), other[:1])).all()


def test_what_knows_nothing_of_the_model_fails_against_chance_though_all_its_maps_are_one(
    tiny: VisionModel,
) -> None:
    case = case_of(tiny, 3)
    rows = Randomisation(seeds=1).score(case, maps(case))
    limit = Randomisation.check.limit if Randomisation.check else 0
    for key in CONTROLS:
        assert all(row["value"] - row["chance"] > limit for row in rows[key])
    assert [row["others"] for row in rows["centre"]] == [1] * 3


def test_noise_as_a_technique_passes_against_chance() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 200, 8, 8))
    smooth = [np.array([np.abs(np.fft.ifft2(np.fft.fft2(m) * BLUR)) for m in some]) for some in (one, other)]
    sizes = np.abs(spearman(*(some.reshape(200, -1) for some in smooth)))
    chance = likeness_by_chance(*smooth)
    assert abs(np.mean(sizes) - np.mean(chance)) < 0.03 < np.mean(chance)


def test_others_are_the_maps_of_the_images_scored_together(tiny: VisionModel) -> None:
    case = case_of(tiny, 4, ("saliency",))
    given = maps(case)
    flat = given["saliency"].flatten(1).numpy()
    gallery = Gallery(case.pixels, torch.full((4,), -1), case.image_ids, given)
    part = replace(
        case,
        pixels=case.pixels[1:3],
        targets=case.targets[1:3],
        image_ids=case.image_ids[1:3],
        gallery=gallery,
    )
    rows = Randomisation(seeds=1).score(part, {"saliency": given["saliency"][1:3]})["saliency"]
    for place, row in zip((1, 2), rows, strict=True):
        rest = [abs(spearmanr(flat[place], flat[other]).statistic) for other in range(4) if other != place]
        assert row["others"] == pytest.approx(np.mean(rest), abs=1e-6)
    (alone,) = Randomisation(seeds=1).score(
        case_of(tiny, 1, ("saliency",)), {"saliency": given["saliency"][:1]}
    )["saliency"]
    assert alone["others"] is None and alone["chance"] is not None


def test_random_weights_destroy_what_a_trained_model_says_of_classes() -> None:
    model = load_model("embedded:honest")
    keys = ("gradient_rollout", "generic_attention", "libra_attcat", "grad_cam", "centre")
    rows = Randomisation().score(case := case_of(model, 6, keys), maps(case))
    for key in keys[:-1]:
        assert abs(np.mean([row["value"] for row in rows[key]])) < 0.25, key
    assert all(row["value"] == 1 for row in rows["centre"])


def test_a_constant_map_has_no_likeness_and_no_entropy(tiny: VisionModel) -> None:
    case = case_of(tiny, 2, ("saliency",))
    constant = torch.stack((torch.ones(4, 4), torch.full((4, 4), torch.nan)))
    for metric in (Randomisation(seeds=1), NoiseStability(draws=2)):
        assert [row["value"] for row in metric.score(case, {"saliency": constant})["saliency"]] == [
            None,
            None,
        ]
    assert np.isnan(entropy(constant.flatten(1).numpy())).all()


def test_what_knows_no_class_has_exactly_one(tiny: VisionModel) -> None:
    case = case_of(tiny, 5)
    rows = ClassSensitivity().score(case, maps(case))
    for key in ("raw_attention", "attention_rollout", *CONTROLS):
        assert [row["value"] for row in rows[key]] == [1.0] * 5
    for key in ("gradient_rollout", "saliency", "libra_full_grad"):
        assert max(row["value"] for row in rows[key]) < 1


def test_two_classes_are_the_explained_one_and_the_likeliest_other(tiny: VisionModel) -> None:
    case = case_of(tiny, 3)
    targets = tiny.module(case.pixels).topk(2).indices
    rows = ClassSensitivity().score(case, maps(case))
    techniques = list(case.techniques.values())
    two = [
        maps_of(tiny, techniques, case.pixels, [targets[:, place]], case.image_ids, 0, 4)[0]
        for place in range(2)
    ]
    for key in ("gradient_rollout", "saliency"):
        for image, row in enumerate(rows[key]):
            pair = (found[key][image].numpy().ravel() for found in two)
            assert row["value"] == pytest.approx(spearmanr(*pair).statistic, abs=0.01)
            assert row["other"] == targets[image, 1]


def test_noise_is_the_largest_relative_change(tiny: VisionModel) -> None:
    case = case_of(tiny, 3)
    given = maps(case)
    rows = NoiseStability(draws=3).score(case, given)
    for image, name in enumerate(case.image_ids):
        pixels = case.pixels[image]
        chance = generator(0, name, "noise").random((3, *pixels.shape), dtype=np.float32)
        reach = 0.02 * (pixels.max() - pixels.min())
        changes = []
        for draw in torch.from_numpy(chance):
            noisy = (pixels + reach * (2 * draw - 1))[None]
            assert (noisy - pixels).abs().max() <= reach
            if tiny.module(noisy).argmax(1) == case.targets[image]:
                (again,) = case.explain(KEYS, noisy, case.targets[image : image + 1], image_ids=[name])
                changes.append(again)
        for key in KEYS:
            own = given[key][image]
            largest = max(float((one[key][0] - own).norm() / own.norm()) for one in changes)
            assert rows[key][image]["value"] == pytest.approx(largest, rel=1e-3)
            assert rows[key][image]["kept"] == len(changes)
    assert [row["value"] for row in rows["centre"]] == [0] * 3


def test_draws_that_change_the_prediction_do_not_count(tiny: VisionModel) -> None:
    case = case_of(tiny, 4, ("saliency",))
    rows = NoiseStability(draws=6, noise=1).score(case, maps(case))["saliency"]
    assert any(row["kept"] < 6 for row in rows)
    assert all((row["value"] is None) == (row["kept"] == 0) for row in rows)
