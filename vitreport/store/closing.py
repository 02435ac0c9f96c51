"""The two moments of a run's manifest that need the folder: going on with a run, and closing it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from vitreport.errors import StoreError
from vitreport.store import folder as paths
from vitreport.store.folder import RunFolder
from vitreport.store.manifest import Manifest


def check_same_run(folder: RunFolder, before: Manifest, now: Manifest) -> None:
    """Makes sure that work goes into the run that it belongs to.

    Raises:
        StoreError: the run that is there is another one; the message says what differs.
    """
    if before.run_digest != now.run_digest:
        names = {**now.bound, **before.bound}
        differing = [name for name in names if before.bound.get(name) != now.bound.get(name)]
        several = len(differing) > 1 or differing[0].endswith("s")
        raise StoreError(
            f"{folder.place()} holds another run: the {' and the '.join(differing)} "
            f"{'differ' if several else 'differs'}; nothing was touched; choose another -o"
        )


def discard_damaged(folder: RunFolder, before: Manifest) -> list[str]:
    """Removes the tables of a run that are not as they were written, so that they are computed again.

    Args:
        folder: the run folder.
        before: its manifest; of a finished run it lists what must be there.

    Returns:
        Paths of what was damaged or, of a finished run, missing.
    """
    tables = [path for path in folder.files_below("data") if path.endswith(".parquet")]
    folder.fetch(tables)
    damaged = [
        path
        for path in tables
        if not folder.is_whole(path) or before.files.get(path) not in (None, folder.sha256(path))
    ]
    for path in damaged:
        folder.remove(path)
    missing = before.files.keys() - set(tables) if before.complete else set()
    return sorted({*damaged, *(path for path in missing if path.endswith(".parquet"))})


def said_of_damage(damaged: Sequence[str]) -> str:
    """What a user is told of damaged files, at least one."""
    more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
    return f"{damaged[0]}{more} of the run {'were' if more else 'was'} damaged or missing; computed again"


def close(
    folder: RunFolder, manifest: Manifest, progress: Callable[[int, int], None] | None = None
) -> Manifest:
    """The manifest of a complete run: counts, and the digest of every file.

    Args:
        folder: the run folder, with every part in its place.
        manifest: of the run.
        progress: told how many files are digested.
    """
    folder.fetch(folder.files_below("data"))
    parts = [paths.CATALOGUE]
    quarantined = failed = 0
    for shard in range(manifest.data.shards):
        status = folder.read_table(paths.images_part(shard), ["status"])["status"].to_pylist()
        quarantined += status.count("quarantined")
        parts.append(paths.images_part(shard))
        for record in manifest.techniques:
            if record.skipped is None:
                part = paths.technique_part(record, shard)
                errors = folder.read_table(part, ["error"])["error"]
                failed += len(errors) - errors.null_count
                parts.append(part)
    for metric in manifest.metrics:
        for record in (*manifest.techniques, *manifest.controls):
            parts += folder.score_parts(metric, record)
    parts += folder.files_below(paths.DEMO)
    data = dataclasses.replace(manifest.data, quarantined=quarantined, failed=failed)
    files = {}
    for number, part in enumerate(sorted(parts)):
        files[part] = folder.sha256(part)
        if progress:
            progress(number + 1, len(parts))
    return dataclasses.replace(manifest, data=data, files=files, complete=True)
