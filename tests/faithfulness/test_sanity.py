"""The metrics that explain anew: random weights, two classes, noise; each against a loop written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from tiny_model import noise, vision_model
from torch import Tensor

from vitreport.draws import generator
from vitreport.faithfulness.class_sensitivity import ClassSensitivity
from vitreport.faithfulness.metric import Case
from vitreport.faithfulness.noise_stability import NoiseStability
from vitreport.faithfulness.randomisation import Randomisation, entropy, random_weights
from vitreport.model.load import VisionModel, load_model
from vitreport.techniques.maps import maps_of
from vitreport.techniques.technique import Technique, select

KEYS = ("raw_attention", "attention_rollout", "gradient_rollout", "saliency", "libra_full_grad")
CONTROLS = ("centre", "edges", "random")


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
