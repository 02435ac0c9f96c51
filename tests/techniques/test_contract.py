"""What every technique keeps, over the whole registry and every kind of model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tiny_model import EVERYTHING, NAMES, VARIANTS, context, every_technique, fits, noise, trace
from torch import Tensor

import vitreport.techniques
from vitreport.errors import SettingsError
from vitreport.model.load import VisionModel
from vitreport.model.trace import Backward, Need
from vitreport.settings import TechniqueSpec
from vitreport.store import TechniqueRecord
from vitreport.store.schema import observations_table
from vitreport.techniques.technique import (
    TECHNIQUES,
    TIERS,
    Context,
    Explainable,
    Observation,
    Technique,
    register,
    select,
)

assert vitreport.techniques
SETTINGS = {technique.key: technique for technique in every_technique()}
FURTHER = (
    "attention_rollout:discard=public,discard_ratio=0.5",
    "attention_rollout:discard=public,discard_ratio=0.9,fusion=min",
    "gradient_rollout:fusion=max",
    "gradient_rollout:discard_ratio=0.9",
    "gradient_rollout:discard=public,discard_ratio=0.5,fusion=min",
    "gradient_rollout:at=scores",
    "gradient_rollout:fusion=gradient",
    "gradient_rollout:at=scores,discard_ratio=0.5,fusion=gradient",
    "logit_lens:classes=2",
    "random:draw=3",
    "centre:sigma=0.1",
    "beyond_intuition_head:start_block=0,steps=2",
    "beyond_intuition_token:start_block=0,steps=2",
    "transformer_attribution:start_block=1",
    "cp_lrp:conv_gamma=0,linear_gamma=0",
    "attn_lrp:linear_gamma=0",
    "occlusion_blur:window=3",
    "rise:cells=4,samples=10",
    "vit_cx:distance=0.3",
    "qkv:channels=1",
)
SETTINGS |= {technique.key: technique for technique in select(FURTHER)}
MAPS = {key: technique for key, technique in SETTINGS.items() if isinstance(technique, Technique)}
every_setting = pytest.mark.parametrize("key", SETTINGS)
every_map = pytest.mark.parametrize("key", MAPS)
every_kind = pytest.mark.parametrize("name", VARIANTS)
every_setting_and_kind = pytest.mark.parametrize(
    ("key", "name"), [(key, name) for key in SETTINGS for name in VARIANTS if fits(SETTINGS[key], name)]
)
every_map_and_kind = pytest.mark.parametrize(
    ("key", "name"), [(key, name) for key in MAPS for name in VARIANTS if fits(MAPS[key], name)]
)
TARGETS = [0, 3, 2]
Contexts = dict[tuple[str, Backward], Context]


@pytest.fixture(scope="session")
def contexts(models: dict[str, VisionModel]) -> Contexts:
    """Three images for every kind of model and of gradient."""
    return {
        (name, backward): context(model, noise(model, 3), TARGETS, backward=backward)
        for name, model in models.items()
        for backward in Backward
    }


def fitting(name: str) -> dict[str, Explainable]:
    return {key: technique for key, technique in SETTINGS.items() if fits(technique, name)}


def fresh(known: Context) -> Context:
    return dataclasses.replace(known, maps={}, shared={})


def results(technique: Explainable, known: Context) -> list[Any]:
    """What a technique gives each image: a map, or rows."""
    if isinstance(technique, Technique):
        return list(technique.attribute(fresh(known)))
    assert isinstance(technique, Observation)
    return list(technique.observe(fresh(known)))


def _flat(result: Any) -> Iterator[tuple[str, Any]]:
    """Name and value of all that an image got."""
    if isinstance(result, Tensor):
        yield "map", result.numpy()
        return
    for number, row in enumerate(result):
        for name, value in row.items():
            yield f"{number} {name}", value


def assert_equal(one: Any, other: Any) -> None:
    for (name, left), (again, right) in zip(_flat(one), _flat(other), strict=True):
        assert name == again
        assert np.array_equal(left, right), name


def assert_close(one: Any, other: Any, share: float = 1e-5) -> None:
    for (name, left), (_, right) in zip(_flat(one), _flat(other), strict=True):
        if isinstance(left, str):
            assert left == right, name
        else:
            largest = float(np.abs(np.asarray(right, np.float64)).max(initial=0))
            coarse = {"float16": 1e-3, "uint8": 1 / 255}
            room = coarse.get(str(np.asarray(left).dtype), share)
            assert (
                float(np.abs(np.subtract(left, right, dtype=np.float64)).max(initial=0)) <= room * largest
            ), name


@every_map_and_kind
def test_a_map_has_the_grid_of_the_model_and_is_finite_float32(
    key: str, name: str, contexts: Contexts
) -> None:
    maps = MAPS[key].attribute(fresh(contexts[name, MAPS[key].backward]))
    assert maps.dtype is torch.float32
    rows, cols = VARIANTS[name].grid
    height, width = VARIANTS[name].size
    assert maps.shape in {(3, rows, cols), (3, height, width)}
    assert maps.isfinite().all()
    assert not maps.requires_grad
    if not MAPS[key].signed:
        assert maps.min() >= 0


@every_setting_and_kind
def test_results_are_the_same_each_time(key: str, name: str, contexts: Contexts) -> None:
    for one, other in zip(
        *(results(SETTINGS[key], contexts[name, SETTINGS[key].backward]) for _ in range(2)), strict=True
    ):
        assert_equal(one, other)


@every_setting_and_kind
def test_a_batch_gives_what_its_images_give_alone(
    key: str, name: str, models: dict[str, VisionModel], contexts: Contexts
) -> None:
    together = results(SETTINGS[key], contexts[name, SETTINGS[key].backward])
    for image, target in enumerate(TARGETS):
        pixels = noise(models[name], 3)[image : image + 1]
        alone = context(
            models[name], pixels, [target], ids=(f"image{image}",), backward=SETTINGS[key].backward
        )
        assert_close(together[image], results(SETTINGS[key], alone)[0])


EIGHT = [0, 3, 2, 1, 4, 0, 2, 3]


@pytest.fixture(scope="session")
def parts_of_nine(models: dict[str, VisionModel]) -> dict[tuple[Backward, tuple[int, ...]], Context]:
    """Nine images together, the first eight of them, and each of these alone, for every kind of gradient."""
    model = models["class_token"]
    pixels, targets = noise(model, 9), [*EIGHT, 1]
    parts = [tuple(range(9)), tuple(range(8)), *((image,) for image in range(8))]
    return {
        (backward, part): context(
            model,
            pixels[list(part)],
            [targets[image] for image in part],
            ids=tuple(f"image{image}" for image in part),
            backward=backward,
        )
        for backward in Backward
        for part in parts
    }


@pytest.mark.parametrize("key", [key for key in SETTINGS if fits(SETTINGS[key], "class_token")])
def test_eight_images_give_what_each_gives_alone_and_a_ninth_changes_nothing(
    key: str, parts_of_nine: dict[tuple[Backward, tuple[int, ...]], Context]
) -> None:
    known = {
        part: results(SETTINGS[key], one)
        for (backward, part), one in parts_of_nine.items()
        if backward is SETTINGS[key].backward
    }
    eight, nine = known[tuple(range(8))], known[tuple(range(9))]
    for image in range(8):
        assert_close(eight[image], known[(image,)][0])
        assert_close(nine[image], eight[image])


@every_kind
def test_the_order_of_images_in_a_batch_does_not_matter(
    name: str, models: dict[str, VisionModel], contexts: Contexts
) -> None:
    order = [2, 0, 1]
    turned = {
        backward: context(
            models[name],
            noise(models[name], 3)[order],
            [TARGETS[place] for place in order],
            ids=tuple(f"image{place}" for place in order),
            backward=backward,
        )
        for backward in Backward
    }
    for technique in fitting(name).values():
        straight = results(technique, contexts[name, technique.backward])
        other = results(technique, turned[technique.backward])
        for place, image in enumerate(order):
            assert_close(other[place], straight[image])


@every_kind
def test_techniques_do_not_disturb_each_other(name: str, contexts: Contexts) -> None:
    members = fitting(name)
    alone = {
        key: results(technique, contexts[name, technique.backward]) for key, technique in members.items()
    }
    for order in (list(members), list(reversed(members))):
        contexts_of_order = {backward: fresh(contexts[name, backward]) for backward in Backward}
        for key in order:
            technique = SETTINGS[key]
            shared = contexts_of_order[technique.backward]
            if isinstance(technique, Technique):
                found: list[Any] = list(technique.attribute(shared))
                shared.maps[key] = technique.attribute(shared)
            else:
                found = list(technique.observe(shared))  # type: ignore[attr-defined]
            for one, other in zip(found, alone[key], strict=True):
                assert_equal(one, other)


def _bytes(known: Context) -> list[bytes]:
    """All tensors that techniques share."""
    seen = known.trace
    tensors = [seen.logits, seen.pixels, seen.readout, seen.targets, *seen.attention, *seen.tokens]
    tensors += [*seen.attention_gradient, *seen.token_gradient, *(seen.biases or ())]
    further = (seen.features, seen.feature_gradient, seen.pixel_gradient)
    tensors += [tensor for tensor in further if tensor is not None]
    for block in seen.projections:
        tensors += [block.queries, block.keys, block.values]
    return [tensor.detach().numpy().tobytes() for tensor in tensors]


@every_setting
def test_the_model_and_the_trace_are_left_as_they_were(
    key: str, models: dict[str, VisionModel], contexts: Contexts
) -> None:
    model, known = models["class_token"], contexts["class_token", SETTINGS[key].backward]

    def state() -> list[object]:
        return [
            _bytes(known),
            [tensor.numpy().tobytes() for tensor in model.module.state_dict().values()],
            [
                (part.training, getattr(part, "fused_attn", None), len(part._forward_hooks))
                for part in model.module.modules()
            ],
            [(parameter.requires_grad, parameter.grad) for parameter in model.module.parameters()],
        ]

    before = state()
    results(SETTINGS[key], known)
    assert state() == before


@every_setting
def test_another_class_changes_class_specific_results_and_no_others(
    key: str, models: dict[str, VisionModel], contexts: Contexts
) -> None:
    model = models["class_token"]
    backward = SETTINGS[key].backward
    others = [(target + 1) % len(NAMES) for target in TARGETS]
    other = context(model, noise(model, 3), others, backward=backward)
    for one, changed in zip(
        results(SETTINGS[key], contexts["class_token", backward]), results(SETTINGS[key], other), strict=True
    ):
        if SETTINGS[key].class_specific:
            differing = [
                not np.array_equal(left, right)
                for (_, left), (_, right) in zip(_flat(one), _flat(changed), strict=True)
            ]
            assert any(differing)
        else:
            assert_equal(one, changed)


@every_setting
def test_a_technique_says_truly_what_it_needs(key: str, models: dict[str, VisionModel]) -> None:
    model, technique = models["class_token"], SETTINGS[key]
    pixels = noise(model, 3)
    names = ("image0", "image1", "image2")
    backward = technique.backward
    sparing = Context(trace(model, pixels, TARGETS, technique.needs, backward), model, names, 0)
    full = Context(trace(model, pixels, TARGETS, EVERYTHING[backward], backward), model, names, 0)
    for one, other in zip(results(technique, sparing), results(technique, full), strict=True):
        assert_close(one, other)
    assert isinstance(technique.needs, Need)


@every_map
def test_settings_explained_together_equal_each_alone(key: str, contexts: Contexts) -> None:
    kind = type(MAPS[key])
    members = [technique for technique in MAPS.values() if type(technique) is kind]
    for name in ("class_token", "distilled", "patch_mean"):
        for order in (members, members[::-1], [*members, MAPS[key]]):
            known = contexts[name, kind.backward]
            together = list(kind.attribute_all(order, fresh(known)))
            assert len(together) == len(order)
            for technique, maps in zip(order, together, strict=True):
                assert torch.equal(maps, technique.attribute(fresh(known)))


@every_setting
def test_an_image_that_is_no_number_leaves_its_neighbours_alone(
    key: str, models: dict[str, VisionModel], contexts: Contexts
) -> None:
    model, technique = models["class_token"], SETTINGS[key]
    pixels = noise(model, 3)
    pixels[1] = torch.nan
    broken = context(model, pixels, TARGETS, backward=technique.backward)
    found, whole = results(technique, broken), results(technique, contexts["class_token", technique.backward])
    for image in (0, 2):
        assert_close(found[image], whole[image])


@every_setting
def test_a_description_is_complete_and_plain(key: str) -> None:
    technique = SETTINGS[key]
    described = json.loads(json.dumps(technique.describe()))
    for name in ("name", "title", "family", "tier", "source", "shows", "does_not_show", "key", "digest"):
        assert described[name].strip() == described[name] != "", name
    assert described["tier"] in TIERS
    assert (
        described["parameters"].keys() == described["defaults"].keys() == described["parameter_help"].keys()
    )
    assert all(described["parameter_help"].values())
    record = TechniqueRecord(**described)
    assert record.kind == ("map" if key in MAPS else "observation")
    assert bool(record.columns) == (record.kind == "observation")
    assert type(technique).__doc__


@every_setting
def test_a_key_leads_back_to_its_setting(key: str) -> None:
    technique = SETTINGS[key]
    spec = TechniqueSpec.parse(key)
    again = TECHNIQUES[spec.name].from_spec(spec)
    assert again == technique
    assert (again.key, again.digest) == (key, technique.digest)
    assert TechniqueRecord(**technique.describe()).answers(spec)
    whole = TechniqueSpec(technique.name, tuple(sorted(technique.parameters.items())))
    assert TECHNIQUES[spec.name].from_spec(TechniqueSpec.parse(str(whole))) == technique


def test_keys_and_digests_tell_all_settings_apart() -> None:
    assert len({technique.digest for technique in SETTINGS.values()}) == len(SETTINGS)
    assert len({(technique.name, technique.digest) for technique in SETTINGS.values()}) == len(SETTINGS)
    for text in (*SETTINGS, "core"):
        others = [
            key
            for key in SETTINGS
            if TechniqueRecord(**SETTINGS[key].describe()).answers(TechniqueSpec.parse(text))
        ]
        assert others == ([text] if text in SETTINGS else [])


@pytest.mark.parametrize("key", [key for key in SETTINGS if key not in MAPS])
@every_kind
def test_observed_rows_fit_their_columns(key: str, name: str, contexts: Contexts) -> None:
    technique = SETTINGS[key]
    assert isinstance(technique, Observation)
    observed = results(technique, contexts[name, technique.backward])
    assert len(observed) == 3
    rows = [{"id": "x", **row} for image in observed for row in image]
    table = observations_table(rows, technique.columns)
    assert table.num_rows == len(rows) > 0
    for column in technique.columns:
        assert table[column].null_count == 0
        values = table[column].combine_chunks()
        if column not in ("pattern",):
            flat = values.flatten() if hasattr(values, "flatten") else values
            assert np.isfinite(flat.to_numpy(zero_copy_only=False).astype(np.float64)).all()
    assert table["error"].null_count == table.num_rows


@every_setting
def test_a_tiny_model_is_supported(key: str, models: dict[str, VisionModel]) -> None:
    for name, model in models.items():
        reason = SETTINGS[key].supports(model)
        assert (reason is None) == fits(SETTINGS[key], name)
        assert reason is None or reason.startswith("relevance rules are known for timm's standard")


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="technique 'raw_attention' is registered twice"):
        register(TECHNIQUES["raw_attention"])


def test_registered_names_are_those_that_runs_refer_to() -> None:
    fixed = {
        "raw_attention",
        "attention_rollout",
        "gradient_rollout",
        "class_attention",
        "qkv",
        "random",
        "centre",
    }
    assert fixed <= set(TECHNIQUES)
    assert all(TECHNIQUES[name].name == name for name in TECHNIQUES)


def test_the_study_s_settings_are_in_the_core_tier() -> None:
    keys = {technique.key for technique in select(["core"])}
    assert {"attention_rollout", "attention_rollout:fusion=max", "attention_rollout:fusion=min"} <= keys
    assert {f"attention_rollout:discard_ratio={ratio},fusion=max" for ratio in (0.5, 0.8, 0.9, 0.95)} <= keys
    assert {"gradient_rollout", "raw_attention", "class_attention", "qkv", "random", "centre"} <= keys


def test_tiers_contain_each_other() -> None:
    core, standard, everything = ({one.key for one in select([tier])} for tier in TIERS)
    assert core <= standard <= everything


def test_a_setting_asked_for_twice_is_there_once_and_in_order() -> None:
    chosen = select(["random", "core", "random:draw=0", "attention_rollout:fusion=mean"])
    assert [one.key for one in chosen].count("random") == 1
    assert chosen[0].key == "random"
    assert len(chosen) == len(select(["core"]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "attention_rolout",
            "unknown technique 'attention_rolout'; did you mean 'attention_rollout'? 'vitreport",
        ),
        ("§", "unknown technique '§'; 'vitreport techniques' lists them"),
        (
            "attention_rollout:fuson=max",
            "no parameter 'fuson'; did you mean 'fusion'? it takes: fusion, discard",
        ),
        ("raw_attention:x=1", "raw_attention has no parameter 'x'; it takes: none"),
        ("attention_rollout:fusion=maxx", "fusion is 'maxx'; did you mean 'max'? allowed: mean, max, min"),
        ("attention_rollout:fusion=7", "fusion is '7'; allowed: mean, max, min"),
        ("attention_rollout:discard_ratio=1", "discard_ratio is 1; it must lie in [0, 1)"),
        ("attention_rollout:discard_ratio=-0.1", "discard_ratio is -0.1; it must lie in [0, 1)"),
        ("attention_rollout:discard_ratio=nan", "discard_ratio is nan; it must lie in [0, 1)"),
        ("attention_rollout:discard_ratio=much", "discard_ratio is 'much'; it must be a number in [0, 1)"),
        ("attention_rollout:discard_ratio=true", "must be a number in [0, 1)"),
        ("centre:sigma=inf", "sigma is inf; it must lie in [0.01, 10]"),
        ("core:fusion=max", "'core:fusion=max': a tier takes no parameters; name the technique"),
        ("attention_rollout:max", "'max' is not key=value; write it like attention_rollout:fusion=max"),
    ],
)
def test_what_cannot_be_had_is_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        select([text])
    assert said in str(caught.value)


def test_a_map_made_once_is_not_made_again(contexts: Contexts) -> None:
    known = fresh(contexts["class_token", Backward.PLAIN])
    technique = MAPS["gradient_rollout"]
    assert known.map_of(technique) is known.map_of(technique)
    assert torch.equal(known.map_of(technique), technique.attribute(fresh(known)))
