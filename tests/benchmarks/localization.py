"""How often each technique points at the object, on the embedded models.

    python -m tests.benchmarks.localization [--technique all attention_flow --scenes 200]

Scenes with one object: the map of the object's class points at it. Two objects: the map of one of the two
classes, chosen in turn, points at that one. A map points at an object where the object fills at least
half of the patch of the map's largest value. Mark: relevance on the patches of the watermark, for the
predicted class of stamped scenes, over that on the same patches in the other corners.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from tests.benchmarks.pointing import corner_ratio, maps_of, patch_shares, pointing
from vitreport.demo.scene import Scene, make_scene
from vitreport.demo.training import normalised
from vitreport.demo.watermark import mark_area, stamp
from vitreport.model.embedded import EMBEDDED, embedded_names
from vitreport.model.load import VisionModel, load_model
from vitreport.techniques.technique import Technique, select

CHOOSING, HELD_OUT = 21, 31
"""Seeds of the scenes on which the best technique is chosen, and of those on which it is judged."""


@dataclass(frozen=True)
class Row:
    """What one technique reaches on one model.

    Attributes:
        key: of the technique.
        class_specific: whether its map is one class's.
        one_object: share of scenes with one object where the map points at it.
        two_objects: share of scenes with two objects where the map points at the chosen one.
        mark_ratio: relevance on the mark over that on the other corners, on stamped scenes.
    """

    key: str
    class_specific: bool
    one_object: float
    two_objects: float
    mark_ratio: float


@cache
def draw_scenes(seed: int, objects: int, scenes: int) -> tuple[Scene, ...]:
    """Scenes that no embedded model was trained on."""
    return tuple(make_scene((seed + objects, number), objects=objects) for number in range(scenes))


def chance(scenes: Sequence[Scene], grid: tuple[int, int]) -> float:
    """How often a random patch would be mostly object, on scenes with one."""
    return float(np.mean([patch_shares(scene.mask > 0, grid) >= 0.5 for scene in scenes]))


def measure(model: VisionModel, techniques: Sequence[Technique], seed: int, scenes: int) -> list[Row]:
    """The table of a model."""
    one, two = (draw_scenes(seed, objects, scenes) for objects in (1, 2))
    labels, chosen = (
        [scene.labels[0] for scene in one],
        [scene.labels[turn % 2] for turn, scene in enumerate(two)],
    )
    singles, pairs = (np.stack([scene.pixels for scene in scenes]) for scenes in (one, two))
    stamped = normalised(stamp(singles))
    with torch.no_grad():
        predicted = model.module(stamped).argmax(1).tolist()
    of_one = maps_of(model, techniques, normalised(singles), labels)
    of_two = maps_of(model, techniques, normalised(pairs), chosen)
    of_stamped = maps_of(model, techniques, stamped, predicted)
    return [
        Row(
            technique.key,
            technique.class_specific,
            float(pointing(of_one[technique.key], one, labels).mean()),
            float(pointing(of_two[technique.key], two, chosen).mean()),
            corner_ratio(of_stamped[technique.key], mark_area()),
        )
        for technique in techniques
    ]


def main(arguments: list[str] | None = None, say: Callable[[str], None] = print) -> None:
    """Prints a table a model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--technique", nargs="+", default=["all", "attention_flow"])
    parser.add_argument("--scenes", type=int, default=200)
    given = parser.parse_args(arguments)
    techniques = [technique for technique in select(given.technique) if isinstance(technique, Technique)]
    for name in embedded_names():
        model = load_model(f"{EMBEDDED}{name}")
        expected = chance(draw_scenes(HELD_OUT, 1, given.scenes), model.layout.grid)
        say(f"{name}: {given.scenes} held-out scenes of each kind; a random patch hits {expected:.1%}")
        say(f"  {'technique':48} {'one object':>10} {'two objects':>11} {'mark':>7}")
        for row in measure(model, techniques, HELD_OUT, given.scenes):
            say(f"  {row.key:48} {row.one_object:10.1%} {row.two_objects:11.1%} {row.mark_ratio:6.1f}x")


if __name__ == "__main__":
    main()
