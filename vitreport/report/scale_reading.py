"""From a run to the fixed scales of its maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vitreport.explanation import FloatArray
from vitreport.figures.scale import Scale, common_scale
from vitreport.store import Run, TechniqueRecord
from vitreport.store import folder as paths

SAMPLES = 1 << 15
"""The most values that one shard gives to a fixed scale."""


def dataset_scales(run: Run) -> dict[str, Scale]:
    """The fixed scale of every technique setting that has maps, by key.

    From the 1st to the 99th percentile of all its values in the run; for signed techniques ± the 99th
    percentile of their sizes. Of a shard with more than `SAMPLES` values, a sample counts.
    """
    scales = {}
    for record in run.techniques:
        if record.kind == "map" and not record.skipped:
            scale = _dataset_scale(run, record)
            if scale is not None:
                scales[record.key] = scale
    return scales


def _dataset_scale(run: Run, record: TechniqueRecord) -> Scale | None:
    samples = []
    sampled = False
    for shard in run.shards:
        values = _values(run, record, shard)
        samples.append(even_sample(values, SAMPLES, seed=shard))
        sampled = sampled or values.size > SAMPLES
    scale = common_scale(samples, record.signed)
    return None if scale is None else replace(scale, sampled=sampled)


def _values(run: Run, record: TechniqueRecord, shard: int) -> FloatArray:
    maps = run.folder.read_table(paths.technique_part(record, shard), ["map"])["map"].combine_chunks()
    return np.asarray(maps.flatten().to_numpy(zero_copy_only=False), np.float32)


def even_sample(values: FloatArray, most: int, seed: int) -> FloatArray:
    """At most `most` of `values`: one of every stretch of equal length, at a place drawn with `seed`.

    A fixed step would meet the same columns of every map wherever it shares a factor with their width.
    """
    length = max(1, -(-values.size // most))
    starts = np.arange(0, values.size, length)
    lengths = np.minimum(length, values.size - starts)
    sample: FloatArray = values[starts + np.random.default_rng(seed).integers(lengths)]
    return sample
