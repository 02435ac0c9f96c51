"""A folder of photos as a model sees them, and what a metric says of maps of them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tests.benchmarks.pointing import Maps, maps_of
from vitreport.faithfulness.metric import Case, Metric, Row
from vitreport.images.decode import decode
from vitreport.model.load import VisionModel, load_model
from vitreport.techniques.technique import Technique, select

SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")
BATCH = 32


@dataclass(frozen=True)
class Photos:
    """Photos, prepared.

    Attributes:
        pixels: normalised, ``(photos, 3, height, width)``.
        predicted: the model's likeliest class of each, ``(photos,)``.
    """

    pixels: Tensor
    predicted: Tensor


def parser(description: str | None) -> argparse.ArgumentParser:
    """Options of a benchmark on photos."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--images", type=Path, required=True, help="folder of photos, searched recursively")
    options.add_argument("--checkpoint", type=Path, help="weights; without them the model's own")
    options.add_argument("--model", default="deit_tiny_patch16_224")
    options.add_argument("--limit", type=int, help="only the first photos, by name")
    options.add_argument("--threads", type=int, default=2)
    return options


def open_model(given: argparse.Namespace) -> VisionModel:
    torch.set_num_threads(given.threads)
    return load_model(given.model, checkpoint=given.checkpoint)


def read_photos(model: VisionModel, folder: Path, limit: int | None = None) -> Photos:
    """Every photo below a folder, in the order of their names."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)[:limit]
    pixels = torch.stack([model.preparation(decode(path))[0] for path in paths])
    with torch.no_grad():
        predicted = torch.cat([model.module(part).argmax(1) for part in torch.split(pixels, BATCH)])
    return Photos(pixels, predicted)


def techniques_of(specs: Sequence[str]) -> list[Technique]:
    """The techniques of some specs, in their order."""
    return [technique for technique in select(specs) if isinstance(technique, Technique)]


def maps_of_prediction(
    model: VisionModel, techniques: Sequence[Technique], photos: Photos
) -> dict[str, Maps]:
    """Each technique's maps for the predicted class, by its key."""
    return maps_of(model, techniques, photos.pixels, photos.predicted.tolist(), BATCH)


def scores(
    metric: Metric, model: VisionModel, photos: Photos, maps: Mapping[str, Maps]
) -> dict[str, list[Row]]:
    """A metric's row of every photo, by technique."""
    rows: dict[str, list[Row]] = {key: [] for key in maps}
    for start in range(0, len(photos.pixels), BATCH):
        part = slice(start, start + BATCH)
        pixels = photos.pixels[part]
        ids = tuple(f"{number:016x}" for number in range(start, start + len(pixels)))
        case = Case(model, pixels, photos.predicted[part], ids, seed=0, chunk=BATCH)
        some = {key: torch.from_numpy(values[part]) for key, values in maps.items()}
        for key, found in metric.score(case, some).items():
            rows[key] += found
    return rows
