"""Re-hashing a run: is every file still what was written? No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from vitreport.errors import StoreError
from vitreport.report.site_record import read_record
from vitreport.store import Manifest, RunFolder, RunPlace, run_folder
from vitreport.store import folder as paths
from vitreport.store.lock import check_idle
from vitreport.store.optimized import CONTROLS, ROOM, OptimizedRecord

Progress = Callable[[int, int], None]
"""Called with the files checked and the files there are."""

_FETCHED = 256
"""Files of a run on a URL that are fetched together."""

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


def verify(run: RunPlace, progress: Progress | None = None) -> Verification:
    """Re-hashes every file of a run: the store, the report, the PDFs, the optimised pictures.

    Args:
        run: the run folder, as a path or a URL.
        progress: told how far it is.

    Raises:
        StoreError: `run` holds no run, or another process is at work in it.
    """
    folder = run_folder(run)
    if not folder.has(paths.MANIFEST):
        folder.manifest()
    check_idle(folder.root)
    manifest_sha256 = folder.sha256(paths.MANIFEST)
    try:
        manifest = folder.manifest()
    except StoreError as error:
        return Verification(1, (str(error),), manifest_sha256)
    faults: list[str] = []
    if not manifest.complete:
        faults.append(f"{folder.place()} is not finished; {paths.remedy(paths.CATALOGUE)}")
    listed = {**_of_store(folder, manifest), **_of_pictures(folder, faults)}
    strangers = [
        path
        for room in ("data", paths.DEMO, ROOM)
        for path in folder.files_below(room)
        if path not in listed and (room != paths.DEMO or manifest.complete)
    ]
    listed |= _of_report(folder, manifest_sha256, faults)
    listing = sorted(listed.items())
    for number, (path, sha256) in enumerate(listing):
        if number % _FETCHED == 0:
            folder.fetch(path for path, _ in listing[number : number + _FETCHED])
        faults += _fault(folder, path, sha256)
        if progress:
            progress(number + 1, len(listed))
    faults += [f"{folder.place(path)} is in no list of the run; nobody vouches for it" for path in strangers]
    return Verification(1 + len(listed), tuple(faults), manifest_sha256)


def _fault(folder: RunFolder, path: str, sha256: str) -> Iterator[str]:
    if not folder.has(path):
        yield str(folder.missing(path))
        return
    try:
        whole = folder.is_whole(path) if sha256 == _SEALED else folder.sha256(path) == sha256
    except OSError as error:
        yield f"cannot read {folder.place(path)}: {error.strerror}"
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
            record = OptimizedRecord.from_json(folder.read_json(path), str(folder.place(path)))
        except StoreError as error:
            faults.append(str(error))
        else:
            listed |= {picture.file: picture.sha256 for picture in (*record.pictures, record.noise)}
    return listed


def _of_report(folder: RunFolder, manifest_sha256: str, faults: list[str]) -> Mapping[str, str]:
    """The report, as its own record lists it."""
    if not folder.has(paths.REPORT):
        rooms = ("report", "report.pdf", "pdf")
        orphans = [path for path in rooms if folder.has(path) or any(folder.files_below(path))]
        said = f"has no {paths.REPORT} beside it; {paths.remedy('report')}"
        faults += [f"{folder.place(path)} {said}" for path in orphans]
        return {}
    try:
        record = read_record(folder)
    except StoreError as error:
        faults.append(str(error))
        return {}
    if record.manifest_sha256 != manifest_sha256:
        faults.append(f"the report of {folder.place()} is that of an earlier state; {paths.remedy('report')}")
    return {**record.files, paths.REPORT: _SEALED}
