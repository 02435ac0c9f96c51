"""How alike the maps of different techniques are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vitreport.analysis.statistics import Floats
from vitreport.ranks import centred_ranks
from vitreport.store import Run, TechniqueRecord
from vitreport.store import folder as paths


@dataclass(frozen=True, eq=False)
class Agreement:
    """How alike the maps of two techniques order the patches.

    Attributes:
        keys: of the techniques that have maps in the store.
        mean: Spearman's rank correlation, mean over the images, ``(techniques, techniques)`` in [-1, 1]; NaN
            where no image has both maps.
        images: how many images have both maps, ``(techniques, techniques)``.
    """

    keys: tuple[str, ...]
    mean: Floats
    images: NDArray[np.int64]


def rank_agreement(maps: Sequence[NDArray[np.floating]]) -> Floats:
    """Spearman's rank correlation of every two maps of one image, exact where values are tied.

    Source:
        Spearman 1904; as a measure of agreement of explanations: Krishna et al. 2022, The Disagreement
        Problem in Explainable Machine Learning, arXiv:2202.01602.

    Args:
        maps: of equal size each, in any shape.

    Returns:
        ``(maps, maps)`` in [-1, 1]; NaN in the rows and columns of maps that are empty, constant, not finite,
        or of another size than most.
    """
    sizes = Counter(values.size for values in maps if values.size)
    size = sizes.most_common(1)[0][0] if sizes else 1
    table = np.full((len(maps), size), np.nan)
    for place, values in enumerate(maps):
        if values.size == size:
            table[place] = values.ravel()
    return _correlations(_unit_ranks(table))


def map_agreement(run: Run, targets: Mapping[str, int | None]) -> Agreement:
    """Mean rank correlation of every two techniques' maps, over some images.

    One shard's maps are in memory at a time.

    Args:
        run: the run.
        targets: the images, by id, and the class whose maps are compared where they depend on one.
    """
    records = [record for record in run.techniques if record.kind == "map" and not record.skipped]
    size = run.manifest.model.grid[0] * run.manifest.model.grid[1]
    sums = np.zeros((len(records), len(records)))
    images = np.zeros(sums.shape, np.int64)
    by_shard: dict[int, list[str]] = defaultdict(list)
    for ref in run.catalogue if records else ():
        if ref.id in targets:
            by_shard[ref.shard].append(ref.id)
    for shard, ids in sorted(by_shard.items()):
        ranks = np.stack([_unit_ranks(_maps(run, record, shard, ids, targets, size)) for record in records])
        for place in range(len(ids)):
            found = _correlations(ranks[:, place])
            defined = np.isfinite(found)
            sums += np.where(defined, found, 0)
            images += defined
    mean = np.where(images > 0, sums / np.maximum(images, 1), np.nan)
    return Agreement(tuple(record.key for record in records), mean, images)


def _maps(
    run: Run,
    record: TechniqueRecord,
    shard: int,
    ids: Sequence[str],
    targets: Mapping[str, int | None],
    size: int,
) -> Floats:
    """A technique's maps of some images, ``(images, patches)``; NaN where there is none."""
    table = run.folder.read_table(paths.technique_part(record, shard), ["id", "target", "map", "error"])
    table = table.filter(pc.is_in(table["id"], pa.array(ids, pa.string())))
    places = {image_id: place for place, image_id in enumerate(ids)}
    found = np.full((len(ids), size), np.nan)
    maps = table["map"]
    for number, row in enumerate(table.select(["id", "target", "error"]).to_pylist()):
        if row["error"] or row["target"] not in (None, targets[row["id"]]):
            continue
        values = maps[number].values.to_numpy(zero_copy_only=False)
        if values.size == size:
            found[places[row["id"]]] = values
    return found


def _unit_ranks(table: Floats) -> Floats:
    """Rows as centred ranks of length 1, ``(rows, items)``; NaN where a row is constant or not finite."""
    ranks = centred_ranks(table)
    size = np.sqrt((ranks * ranks).sum(-1, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        unit: Floats = ranks / size
    return unit


def _correlations(unit: Floats) -> Floats:
    """Products of every two rows; exactly 1 of a row with itself."""
    found: Floats = np.clip(unit @ unit.T, -1, 1)
    own = np.diagonal(found)
    np.fill_diagonal(found, np.where(np.isfinite(own), 1.0, np.nan))
    return found
