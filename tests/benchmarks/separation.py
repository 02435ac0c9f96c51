"""How far each technique tells two classes in one picture apart, on real weights.

    python -m tests.benchmarks.separation [--technique all attention_flow --shared ../shared]

Two pictures show two animals each, with known boxes. For each of the two classes: the share of positive
relevance in its own box, of that in both boxes. Separation is the sum of both shares minus 1: 1 is perfect,
and a map that is the same for every class has 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tests.benchmarks.pointing import maps_of
from vitreport.images.decode import decode
from vitreport.model.load import VisionModel, load_model
from vitreport.techniques.technique import Technique, select

Box = tuple[slice, slice]
PICTURES: dict[str, tuple[tuple[int, int], tuple[Box, Box]]] = {
    "both": ((243, 282), ((slice(0, 8), slice(4, 10)), (slice(8, 14), slice(2, 14)))),
    "dogbird": ((161, 90), ((slice(0, 13), slice(6, 13)), (slice(3, 14), slice(0, 6)))),
}
"""Classes of the two animals in a picture, and their boxes on the patch grid: rows, columns."""


def separation(maps: NDArray[np.float32], boxes: Sequence[Box]) -> float:
    """Of two maps, ``(2, rows, cols)``; see the module."""
    total = -1.0
    for number, values in enumerate(np.maximum(maps, 0)):
        masses = [float(values[box].sum()) for box in boxes]
        total += masses[number] / sum(masses) if sum(masses) else 0.5
    return total


def measure(
    model: VisionModel, techniques: Sequence[Technique], images: Path
) -> dict[str, tuple[float, float]]:
    """The separation that every technique reaches on the two pictures, by key."""
    found: dict[str, list[float]] = {technique.key: [] for technique in techniques}
    for name, (classes, boxes) in PICTURES.items():
        pixels, _ = model.preparation(decode(images / "seed" / f"{name}.png"))
        maps = maps_of(model, techniques, torch.stack([pixels, pixels]), classes)
        for key, values in maps.items():
            found[key].append(separation(values, boxes))
    return {key: (first, second) for key, (first, second) in found.items()}


def main(arguments: list[str] | None = None, say: Callable[[str], None] = print) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--technique", nargs="+", default=["all", "attention_flow"])
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    given = parser.parse_args(arguments)
    weights = next((given.shared / "weights").glob("*.safetensors"))
    model = load_model("deit_tiny_patch16_224", checkpoint=weights)
    techniques = [
        technique
        for technique in select(given.technique)
        if isinstance(technique, Technique) and technique.supports(model) is None
    ]
    say(f"{'technique':48} " + " ".join(f"{name:>8}" for name in PICTURES))
    for key, values in measure(model, techniques, given.shared / "images").items():
        say(f"{key:48} " + " ".join(f"{round(value, 2) + 0:8.2f}" for value in values))


if __name__ == "__main__":
    main()
