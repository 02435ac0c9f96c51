"""Reading an observation's list columns as arrays, a shard at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from vitreport.analysis.statistics import Floats
from vitreport.store import Run, TechniqueRecord


def observation(run: Run, name: str) -> TechniqueRecord | None:
    """The first observation of that name that ran; None where the run has none."""
    return next((one for one in run.techniques if one.name == name and not one.skipped), None)


def sound_parts(run: Run, record: TechniqueRecord) -> Iterator[pa.Table]:
    """What an observation wrote, a shard at a time, without the images on which it failed."""
    for shard in run.shards:
        table = run.observations(record, shard)
        table = table.filter(pc.is_null(table["error"]))
        if len(table):
            yield table


def array_of(table: pa.Table, column: str, shape: Sequence[int]) -> Floats:
    """A list column as float64, ``(rows of the table, *shape)``."""
    flat = pc.list_flatten(table[column]).to_numpy().astype("float64")
    values: Floats = flat.reshape(len(table), *shape)
    return values
