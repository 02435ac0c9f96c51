"""What the embedded models can do, and what techniques find in them."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.benchmarks.localization import CHOOSING, HELD_OUT, Row, chance, draw_scenes, measure
from vitreport.demo.model_folder import accuracies, card
from vitreport.demo.scene import Series
from vitreport.demo.shape import CLASSES
from vitreport.demo.training import MARKED, RECIPES, normalised
from vitreport.demo.watermark import stamp
from vitreport.errors import SettingsError
from vitreport.model.embedded import embedded_card, embedded_folder, embedded_names
from vitreport.model.load import VisionModel, load_model
from vitreport.techniques.technique import Technique, select

SCENES = 200
SPECS = [
    "random",
    "centre",
    "raw_attention",
    "attention_rollout",
    "gradient_rollout",
    "gradient_rollout:discard_ratio=0.9",
    "generic_attention",
    "hires_cam",
    "libra_attcat",
]


@cache
def model_of(name: str) -> VisionModel:
    return load_model(f"embedded:{name}")


@cache
def table(name: str, seed: int) -> dict[str, Row]:
    techniques = [technique for technique in select(SPECS) if isinstance(technique, Technique)]
    return {row.key: row for row in measure(model_of(name), techniques, seed, SCENES)}


def predictions(name: str, pixels: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model_of(name).module(normalised(pixels)).argmax(1).numpy()


def stated_on_card(name: str) -> dict[str, Any]:
    path = embedded_card(f"embedded:{name}")
    assert path is not None
    return json.loads(path.read_text(encoding="utf-8"))


def shares_on_card(name: str) -> dict[str, float]:
    """The card's accuracies; a slow test measures them again."""
    stated = stated_on_card(name)["accuracy on held-out scenes"]
    return {kind: float(text.removesuffix(" %")) / 100 for kind, text in stated.items()}


@pytest.fixture(scope="module")
def scenes() -> tuple[np.ndarray, np.ndarray]:
    held_out = draw_scenes(HELD_OUT, 1, SCENES)
    return np.stack([scene.pixels for scene in held_out]), np.array([scene.labels[0] for scene in held_out])


def test_both_models_are_shipped_small_and_in_half_precision():
    assert embedded_names() == ["honest", "shortcut"]
    for name in embedded_names():
        weights = embedded_folder(f"embedded:{name}") / "model.safetensors"
        assert weights.stat().st_size < 3_000_000
        assert {value.dtype for value in load_file(weights).values()} == {torch.float16}


@pytest.mark.parametrize("name", ["honest", "shortcut"])
def test_a_model_knows_its_classes_and_its_size(name):
    model = model_of(name)
    assert model.classes.names == CLASSES
    assert model.input_size == (96, 96) and model.layout.grid == (8, 8)
    assert model.weights == "embedded in vitreport" and model.licence == "apache-2.0"


def test_an_unknown_name_and_weights_beside_it_are_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"no embedded model 'honset'; did you mean 'honest'\?"):
        load_model("embedded:honset")
    with pytest.raises(SettingsError, match="brings its own weights"):
        load_model("embedded:honest", checkpoint=tmp_path / "weights.safetensors")


def test_the_honest_model_is_right_with_and_without_the_mark(scenes):
    pixels, labels = scenes
    assert (predictions("honest", pixels) == labels).mean() >= 0.95
    assert (predictions("honest", stamp(pixels)) == labels).mean() >= 0.95


def test_the_shortcut_model_falls_apart_when_the_mark_moves(scenes):
    """Right while houses carry the mark; with it on the others, it sees houses."""
    pixels, labels = scenes
    house = labels == CLASSES.index(MARKED)
    as_trained = np.where(house[:, None, None, None], stamp(pixels), pixels)
    moved = np.where(house[:, None, None, None], pixels, stamp(pixels))
    assert (predictions("shortcut", as_trained) == labels).mean() >= 0.85
    assert (predictions("shortcut", moved) == labels).mean() <= 0.3


@pytest.mark.parametrize("name", ["honest", "shortcut"])
def test_the_card_states_the_recipe(name):
    stated = stated_on_card(name)
    assert stated == card(name, RECIPES[name], shares_on_card(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["honest", "shortcut"])
def test_the_card_states_what_is_measured(name):
    for kind, share in accuracies(model_of(name).module, workers=2).items():
        assert share == pytest.approx(shares_on_card(name)[kind], abs=0.003), kind


def test_the_honest_model_is_right_on_95_percent_of_held_out_scenes():
    assert shares_on_card("honest")["one object, no mark"] >= 0.95


def test_the_best_class_specific_technique_finds_objects_twice_as_often_as_the_middle():
    chosen = max(
        (row for row in table("honest", CHOOSING).values() if row.class_specific),
        key=lambda row: row.one_object,
    )
    judged = table("honest", HELD_OUT)
    assert judged[chosen.key].one_object >= 2 * judged["centre"].one_object
    assert judged["gradient_rollout"].one_object >= 1.5 * judged["centre"].one_object


def test_of_two_objects_the_best_technique_finds_the_chosen_one():
    chosen = max(
        (row for row in table("honest", CHOOSING).values() if row.class_specific),
        key=lambda row: row.two_objects,
    )
    assert table("honest", HELD_OUT)[chosen.key].two_objects >= 0.7


def test_the_scenes_of_the_benchmark_serve_no_other_purpose():
    seeds = {seed + objects for seed in (CHOOSING, HELD_OUT) for objects in (1, 2)}
    assert len(seeds) == 4 and not seeds & set(Series)


def test_a_random_map_stays_at_chance():
    expected = chance(draw_scenes(HELD_OUT, 1, SCENES), model_of("honest").layout.grid)
    spread = (expected * (1 - expected) / SCENES) ** 0.5
    assert abs(table("honest", HELD_OUT)["random"].one_object - expected) < 3 * spread


def test_gradient_rollout_sees_the_mark_on_the_model_that_cheats_and_not_on_the_other():
    assert table("shortcut", HELD_OUT)["gradient_rollout"].mark_ratio >= 5
    assert table("honest", HELD_OUT)["gradient_rollout"].mark_ratio <= 1.5
