"""Re-hashing a run: is every file still what was written? No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vitreport.errors import StoreError
from vitreport.report.site_record import read_record
from vitreport.store import Manifest, RunFolder
from vitreport.store import folder as paths
from vitreport.store.lock import check_idle
from vitreport.store.optimized import CONTROLS, ROOM, OptimizedRecord

Progress = Callable[[int, int], None]
"""Called with the files checked and the files there are."""

_SEALED = "sealed"
"""Stands for the digest of a file that vouches for itself."""


@dataclass(frozen=True)
class Verification:
    """What re-hashing a run found.

    Attributes:
        files: how many were checked.
        faults: what is not as it was written, a sentence each; empty of a run that is whole.
        manifest_sha256: of the manifest, which holds the digests of the store. Whoever keeps it elsewhere can
            tell that nobody has written the whole run anew.
    """

    files: int
    faults: tuple[str, ...]
    manifest_sha256: str


def verify(root: Path, progress: Progress | None = None) -> Verification:
    """Re-hashes every file of a run: the store, the report, the PDFs, the optimised pictures.

    Args:
        root: the run folder.
        progress: told how far it is.

    Raises:
        StoreError: `root` holds no run, or another process is at work in it.
    """
    folder = RunFolder(root)
    if not folder.has(paths.MANIFEST):
        folder.manifest()
    check_idle(root)
    manifest_sha256 = folder.sha256(paths.MANIFEST)
    try:
        manifest = folder.manifest()
    except StoreError as error:
        return Verification(1, (str(error),), manifest_sha256)
    faults: list[str] = []
    if not manifest.complete:
        faults.append(f"{root} is not finished; {paths.remedy(paths.CATALOGUE)}")
    listed = {**_of_store(folder, manifest), **_of_pictures(folder, faults)}
    strangers = [
        path
        for room in ("data", paths.DEMO, ROOM)
        for path in folder.files_below(room)
        if path not in listed and (room != paths.DEMO or manifest.complete)
    ]
    listed |= _of_report(folder, manifest_sha256, faults)
    for number, (path, sha256) in enumerate(sorted(listed.items()), start=1):
        faults += _fault(folder, path, sha256)
        if progress:
            progress(number, len(listed))
    faults += [f"{root / path} is in no list of the run; nobody vouches for it" for path in strangers]
    return Verification(1 + len(listed), tuple(faults), manifest_sha256)


def _fault(folder: RunFolder, path: str, sha256: str) -> Iterator[str]:
    if not folder.has(path):
        yield f"{folder.root / path} is missing; {paths.remedy(path)}"
        return
    try:
        whole = folder.is_whole(path) if sha256 == _SEALED else folder.sha256(path) == sha256
    except OSError as error:
        yield f"cannot read {folder.root / path}: {error.strerror}"
        return
    if not whole:
        yield str(folder.damaged(path))


def _of_store(folder: RunFolder, manifest: Manifest) -> Mapping[str, str]:
    """What `explain` wrote: as the manifest lists it, or, before it is finished, all tables."""
    listed = dict(manifest.files)
    if not manifest.complete:
        listed = dict.fromkeys(
            (path for path in folder.files_below("data") if path.endswith(".parquet")), _SEALED
        )
    return listed | ({paths.TIMINGS: _SEALED} if folder.has(paths.TIMINGS) else {})


def _of_pictures(folder: RunFolder, faults: list[str]) -> Mapping[str, str]:
    """The optimised pictures, as their records list them."""
    listed: dict[str, str] = {}
    for path in folder.files_below(ROOM):
        if not path.endswith(".json"):
            continue
        listed[path] = _SEALED
        if path == CONTROLS or not folder.is_whole(path):
            continue
        try:
            record = OptimizedRecord.from_json(folder.read_json(path), str(folder.root / path))
        except StoreError as error:
            faults.append(str(error))
        else:
            listed |= {picture.file: picture.sha256 for picture in (*record.pictures, record.noise)}
    return listed


def _of_report(folder: RunFolder, manifest_sha256: str, faults: list[str]) -> Mapping[str, str]:
    """The report, as its own record lists it."""
    if not folder.has(paths.REPORT):
        orphans = [path for path in ("report", "report.pdf", "pdf") if (folder.root / path).exists()]
        said = f"has no {paths.REPORT} beside it; {paths.remedy('report')}"
        faults += [f"{folder.root / path} {said}" for path in orphans]
        return {}
    try:
        record = read_record(folder.root)
    except StoreError as error:
        faults.append(str(error))
        return {}
    if record.manifest_sha256 != manifest_sha256:
        faults.append(f"the report of {folder.root} is that of an earlier state; {paths.remedy('report')}")
    return {**record.files, paths.REPORT: _SEALED}
