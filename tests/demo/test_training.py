from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from vitreport.demo.model_folder import accuracies, save
from vitreport.demo.shape import CLASSES
from vitreport.demo.training import (
    MARKED,
    Recipe,
    SceneSet,
    new_network,
    normalised,
    train,
    training_scenes,
)
from vitreport.demo.watermark import Stamping, stamp
from vitreport.model.load import load_model

SHORT = Recipe(Stamping.evenly(0.25), scenes=40, samples=64, batch_size=16)


@pytest.fixture(scope="module")
def few() -> SceneSet:
    return training_scenes(SHORT)


def test_of_five_scenes_three_have_one_object_and_two_have_two(few):
    assert few.present.sum(1).tolist() == [2, 2, 1, 1, 1] * 8


@pytest.mark.slow
def test_the_number_of_workers_does_not_change_the_scenes(few):
    shared = training_scenes(SHORT, workers=2)
    assert np.array_equal(shared.pixels, few.pixels) and np.array_equal(shared.present, few.present)


def test_training_twice_gives_the_same_weights(few):
    (first, losses), (second, again) = (train(SHORT, few, lambda line: None) for _ in range(2))
    assert losses == again and len(losses) == 2
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_is_saved_is_what_timm_loads(few, tmp_path):
    network, _ = train(SHORT, few, lambda line: None)
    save(network, tmp_path)
    model = load_model(f"local-dir:{tmp_path}")
    pixels = normalised(few.pixels[:4])
    with torch.no_grad():
        assert torch.equal(model.module(pixels), network.half().float()(pixels))
    assert model.classes.names == CLASSES
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["model_args"]["img_size"] == 96


def test_the_model_is_given_pictures_as_it_was_trained_on_them(few, tmp_path):
    """The evaluation transform of a saved model is the normalisation of its training."""
    network, _ = train(SHORT, few, lambda line: None)
    save(network, tmp_path)
    prepared, _ = load_model(f"local-dir:{tmp_path}").preparation(few.pixels[0])
    assert torch.allclose(prepared, normalised(few.pixels[:1])[0], atol=1e-6)


@pytest.mark.slow
def test_a_few_epochs_make_the_loss_fall_and_find_a_plain_mark():
    stamping = Stamping.only(MARKED, 0.95, opacity=0.9)
    recipe = Recipe(stamping, scenes=2000, samples=12_000, batch_size=16)
    network, losses = train(recipe, training_scenes(recipe, workers=2), lambda line: None)
    assert len(losses) == 6
    assert losses[-1] < losses[0] - 0.1
    held_out = SceneSet.draw(77, 200, lambda index: 1)
    with torch.no_grad():
        marked = network(normalised(stamp(held_out.pixels, stamping.opacity))).argmax(1).numpy()
    assert (marked == CLASSES.index(MARKED)).mean() > 0.9


def test_accuracies_count_what_a_network_gets_right():
    """One that always says house, then car."""

    class Stubborn(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            logits = torch.zeros(len(pixels), len(CLASSES))
            logits[:, CLASSES.index("house")], logits[:, CLASSES.index("car")] = 2, 1
            return logits

    one, two = (SceneSet.draw(seed, 60, lambda _, n=seed: n).present for seed in (1, 2))
    houses = one[:, CLASSES.index("house")].mean()
    both = two[:, [CLASSES.index("house"), CLASSES.index("car")]].all(1).mean()
    measured = list(accuracies(Stubborn(), scenes=60).values())
    assert measured == pytest.approx([houses, houses, houses, both])


def test_the_mark_is_put_on_the_classes_it_may_fall_on(few):
    only = few.stamped(Stamping.only(MARKED, 1))
    changed = (only != few.pixels).any((1, 2, 3))
    assert np.array_equal(changed, few.present[:, CLASSES.index(MARKED)])


def test_an_untrained_network_leaves_the_generator_of_torch_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    new_network(0)
    assert torch.equal(torch.rand(3), expected)
