"""A run whose every number a test has chosen: what is planted in it, the analysis must find."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from tests.synthetic_run import technique_record, write_run
from vitreport.explanation import Attribution, Explanation, ImageRef, Prediction, View
from vitreport.settings import SHARD_SIZE
from vitreport.store import Run, RunFolder, TechniqueRecord, open_run
from vitreport.store import folder as paths
from vitreport.store.schema import catalogue_table, images_table, maps_table, observations_table

CLASSES = ("boat", "car", "house, home")
STATISTICS = {
    **dict.fromkeys(("blocks", "heads"), "int32"),
    **dict.fromkeys(("entropy", "distance", "prefix_mass", "redundancy"), "list<float32>"),
}


def image_id(number: int) -> str:
    """The id of an image; ids rise with the number."""
    return f"{number:08x}{hashlib.sha256(str(number).encode()).hexdigest()[:8]}"


def observation_record(name: str) -> TechniqueRecord:
    """An observation of that name."""
    record = technique_record(name, "observation")
    return replace(record, columns=STATISTICS) if name == "attention_statistics" else record


def _photo(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (120, 140, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


def plant(
    root: Path,
    *,
    scores: Sequence[Sequence[float]],
    grid: tuple[int, int] = (8, 8),
    labels: Sequence[int | None] | None = None,
    groups: Sequence[str | None] | None = None,
    meta: Sequence[Mapping[str, str]] | None = None,
    maps: Sequence[tuple[TechniqueRecord, Sequence[object]]] = (),
    observations: Mapping[str, Sequence[Mapping[str, object]]] | None = None,
    targets: Sequence[Sequence[int]] | None = None,
    head: str = "softmax",
    classes: tuple[str, ...] = CLASSES,
    quarantined: Sequence[int] = (),
) -> Run:
    """Writes a run.

    Args:
        root: the run folder.
        scores: by image, of each class.
        grid: (rows, cols).
        labels: by image; None where unknown.
        groups: by image.
        meta: by image, the metadata columns.
        maps: techniques with their maps, by image: an array; a text for a failure; None for no row; or a
            list of (target, array).
        observations: by name the rows by image; an empty row for a failure.
        targets: by image, the explained classes; by default the likeliest.
        head: of the model.
        classes: names of the outputs.
        quarantined: numbers of the images that could not be used.
    """
    write_run(root, 1, quarantined=0, targets=())
    folder = RunFolder(root)
    count = len(scores)
    refs = [
        ImageRef(
            image_id(number),
            f"photos/{number:05d}.png",
            f"{number:064x}",
            1000,
            None if labels is None else labels[number],
            None if groups is None else groups[number],
            {} if meta is None else meta[number],
            number // SHARD_SIZE,
        )
        for number in range(count)
    ]
    said = []
    for row in scores:
        order = np.argsort(-np.asarray(row, float), kind="stable")
        said.append(tuple(Prediction(int(index), float(row[index])) for index in order))
    shards = (count - 1) // SHARD_SIZE + 1
    chosen = targets or [[row[0].index] if row else [] for row in said]
    folder.write_table(paths.CATALOGUE, catalogue_table(refs))
    planted = list(maps)
    looked = {name: observation_record(name) for name in observations or {}}
    view = View(_photo(grid[1] * 16, grid[0] * 16), grid[1] * 16, grid[0] * 16, (0.0, 0.0, 1.0, 1.0), (1, 1))
    for shard in range(shards):
        numbers = [n for n in range(count) if n // SHARD_SIZE == shard]
        usable = [n for n in numbers if n not in set(quarantined)]
        explanations = [
            Explanation(
                refs[n],
                view=view,
                predictions=said[n],
                targets=tuple(one for target in chosen[n] for one in said[n] if one.index == target),
            )
            if n in usable
            else Explanation(refs[n], reason="the file is truncated")
            for n in numbers
        ]
        folder.write_table(paths.images_part(shard), images_table(explanations))
        for record, values in planted:
            rows = [row for n in usable for row in _map_rows(record, refs[n].id, values[n], chosen[n])]
            folder.write_table(paths.technique_part(record, shard), maps_table(rows))
        for name, record in looked.items():
            given = (observations or {})[name]
            table = [
                {"id": refs[n].id, **given[n]} if given[n] else {"id": refs[n].id, "error": "ValueError: no"}
                for n in usable
            ]
            folder.write_table(paths.technique_part(record, shard), observations_table(table, record.columns))
    manifest = folder.manifest()
    model = replace(manifest.model, grid=grid, head=head, class_names=classes)  # type: ignore[arg-type]
    data = replace(manifest.data, images=count, shards=shards, quarantined=len(quarantined))
    records = (*(record for record, _ in planted), *looked.values())
    folder.commit_manifest(replace(manifest, model=model, data=data, techniques=records))
    return open_run(root)


def _map_rows(
    record: TechniqueRecord, name: str, given: object, targets: Sequence[int]
) -> list[tuple[str, Attribution]]:
    nothing = np.zeros((0, 0), np.float32)
    if given is None:
        return []
    first = targets[0] if record.class_specific and targets else None
    if isinstance(given, str):
        return [(name, Attribution(record.key, first, nothing, given))]
    if isinstance(given, list):
        return [(name, Attribution(record.key, target, np.float32(values))) for target, values in given]
    return [(name, Attribution(record.key, first, np.float32(given)))]


def even_scores(predicted: Sequence[int], confidence: Sequence[float] | float = 0.8) -> list[list[float]]:
    """Scores of three classes; what the predicted one leaves is shared out evenly."""
    sure = np.broadcast_to(confidence, len(predicted))
    rows = np.repeat((1 - sure)[:, None] / 2, 3, axis=1)
    rows[np.arange(len(predicted)), predicted] = sure
    return [row.tolist() for row in rows]


def blob(rng: np.random.Generator, row: float, col: float, grid: tuple[int, int] = (8, 8)) -> np.ndarray:
    """A map with one bright spot and a little noise."""
    y, x = np.mgrid[0 : grid[0], 0 : grid[1]]
    return np.exp(-((y - row) ** 2 + (x - col) ** 2) / 2) + 0.05 * rng.random(grid)
