"""Why a technique has no score for an image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import pyarrow as pa

from vitreport.store import Run
from vitreport.store.folder import technique_part

CONSTANT = "its map is constant or holds values that are not numbers"
Reasons = Mapping[tuple[str, str], str]
"""By technique key and image id."""


def failures(run: Run, targets: Mapping[str, int | None]) -> dict[tuple[str, str], str]:
    """What went wrong where a technique could not make the map that was to be scored.

    Args:
        run: the run.
        targets: the class that was scored, by image id.
    """
    by_shard: dict[int, list[str]] = defaultdict(list)
    for ref in run.catalogue:
        if ref.id in targets:
            by_shard[ref.shard].append(ref.id)
    found = {}
    for record in run.techniques:
        if record.kind != "map" or record.skipped:
            continue
        for shard in sorted(by_shard):
            table = run.folder.read_table(technique_part(record, shard), ["id", "target", "error"])
            for row in table.filter(table["error"].is_valid()).to_pylist():
                if row["id"] in targets and row["target"] in (None, targets[row["id"]]):
                    found[record.key, row["id"]] = f"it failed: {row['error']}"
    return found


def written(tables: Mapping[str, pa.Table]) -> dict[tuple[str, str], str]:
    """What the rows of a metric say themselves; nothing where it writes no reasons.

    Args:
        tables: its scores, by technique key.
    """
    return {
        (key, row["id"]): row["note"]
        for key, table in tables.items()
        if "note" in table.column_names
        for row in table.select(["id", "note"]).to_pylist()
        if row["note"]
    }
