"""From a run to what its techniques could not do."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from vitreport.report.technique_page import Failures
from vitreport.store import Run
from vitreport.store import folder as paths


@dataclass(frozen=True)
class FailedResult:
    """One map or observation that could not be made: of which image, and why."""

    image_id: str
    error: str


def failed_results(run: Run) -> dict[str, list[FailedResult]]:
    """What every technique setting could not do, by key; the settings that did it all are not in it."""
    found: dict[str, list[FailedResult]] = defaultdict(list)
    for record in run.techniques:
        if record.skipped:
            continue
        for shard in run.shards:
            table = run.folder.read_table(paths.technique_part(record, shard), ["id", "error"])
            for row in table.filter(pc.is_valid(table["error"])).to_pylist():
                found[record.key].append(FailedResult(row["id"], row["error"]))
    return dict(found)


def failures(results: Sequence[FailedResult]) -> Failures | None:
    """Counts them; None where there are none."""
    if not results:
        return None
    errors = Counter(result.error for result in results)
    reason = min(errors, key=lambda error: (-errors[error], error))
    return Failures(len({result.image_id for result in results}), len(results), reason, len(errors) - 1)
