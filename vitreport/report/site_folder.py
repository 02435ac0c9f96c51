"""Where a report's files go: first into a folder of their own, then all of them into their places.

Whoever ends a report at any moment leaves nothing behind that the next one would not tidy up. What is
drawn waits in ``.report.writing``, which is always ours to remove. Before the first file moves into its
place, ``report.json`` lists all that will be there; only at the end it says that the site is whole.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from vitreport.errors import StoreError
from vitreport.report.site_record import Rooms, SiteRecord
from vitreport.store import RunFolder
from vitreport.store.folder import REPORT as RECORD
from vitreport.store.folder import Told
from vitreport.store.seal import sealed_json

SITE = "report"
"""Folder of the site, below the run folder."""

WRITING = ".report.writing"
"""Folder of what is drawn and not yet in its place, below the run folder."""


@dataclass
class SiteFolder:
    """The files of a page while it is drawn.

    Attributes:
        folder: the run folder; one on a URL is that of a worker on another machine, whose files wait there.
        files: path below the run folder to SHA-256, of every file written so far.
    """

    folder: RunFolder
    files: dict[str, str] = field(default_factory=dict)

    def write(self, path: str, content: bytes) -> None:
        """Draws a file of the site; one that is there with the same bytes is left alone.

        Args:
            path: below the site's folder.
            content: of the file.

        Raises:
            StoreError: the place cannot be written.
        """
        self.write_beside(f"{SITE}/{path}", content)

    def write_beside(self, path: str, content: bytes) -> None:
        """Like `write`, with a path below the run folder."""
        self.files[path] = hashlib.sha256(content).hexdigest()
        if not self.folder.is_on_disk:
            self.folder.write(f"{WRITING}/{path}", content)
            return
        if _holds(self.folder.root / path, content):
            return
        place = self.folder.root / WRITING / path
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        except OSError as error:
            raise refusal(place, error) from error

    def asset(self, stem: str, suffix: str, content: bytes) -> str:
        """Draws an asset and returns its file name."""
        name = asset_name(stem, suffix, content)
        self.write(f"assets/{name}", content)
        return name


def asset_name(stem: str, suffix: str, content: bytes) -> str:
    """``<stem>-<8 digits of the content's SHA-256>.<suffix>``."""
    return f"{stem}-{hashlib.sha256(content).hexdigest()[:8]}.{suffix}"


def collect(folder: RunFolder) -> None:
    """Has what workers on other machines drew wait here, as if it had been drawn here.

    Raises:
        StoreError: it cannot be fetched.
    """
    folder.look()
    drafts = list(folder.files_below(WRITING))
    folder.fetch(drafts)
    for draft in drafts:
        drawn = folder.root / draft
        if _holds(folder.root / draft.removeprefix(f"{WRITING}/"), drawn.read_bytes()):
            drawn.unlink()


def scratch(root: Path) -> Path:
    """A folder for what only a report under way needs; `tidy` removes what an ended one leaves there.

    Raises:
        StoreError: the place cannot be written.
    """
    place = root / WRITING
    try:
        place.mkdir(exist_ok=True)
    except OSError as error:
        raise refusal(place, error) from error
    return place


def tidy(folder: RunFolder) -> None:
    """Removes what a report that was ended early has left unlisted.

    Raises:
        StoreError: the report's place is a link.
    """
    root = folder.root
    for place in (root / SITE, root / "pdf"):
        if place.is_symlink():
            raise _outside(place)
    if (root / WRITING).is_symlink():
        (root / WRITING).unlink()  # nobody's files move because a stranger's run has a link in this place
    _discard_drafts(folder)


def commit(folder: RunFolder, old: SiteRecord, new: SiteRecord, told: Told | None = None) -> None:
    """Moves what was drawn into its place, removes what only `old` lists, and records `new`.

    Nothing else is ever removed.

    Args:
        folder: the run folder.
        old: the report that is there.
        new: the report that is drawn.
        told: how many files are sent, of a run on a URL.

    Raises:
        StoreError: the place cannot be written; the same command goes on from there. Or it is behind a link.
    """
    root = folder.root
    writing = root / WRITING
    drawn = sorted(place for place in writing.rglob("*") if place.is_file())
    rooms = Rooms(root)
    for place in drawn:
        if not rooms.have(path := place.relative_to(writing).as_posix()):
            raise _outside((root / path).parent)
    gone = {path: sha256 for path, sha256 in old.files.items() if path not in new.files}
    if drawn or gone:
        _write_record(folder, replace(new, site="", stray=gone))
        try:
            for place in drawn:
                final = root / place.relative_to(writing)
                final.parent.mkdir(parents=True, exist_ok=True)
                _move(root, place, final)
        except OSError as error:
            raise refusal(root / SITE, error) from error
        folder.send((place.relative_to(writing).as_posix() for place in drawn), told)
        _remove(root, gone)
        folder.send(gone)
        if hasattr(os, "sync"):
            os.sync()  # once, since one wait a file would take longer than the drawing
    _discard_drafts(folder)
    _write_record(folder, new)


def _discard_drafts(folder: RunFolder) -> None:
    shutil.rmtree(folder.root / WRITING, ignore_errors=True)
    folder.send(list(folder.files_below(WRITING)))


def _move(root: Path, place: Path, final: Path) -> None:
    try:
        place.replace(final)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # another disk is mounted there
        RunFolder(root).write(final.relative_to(root).as_posix(), place.read_bytes())
        place.unlink()


def _write_record(folder: RunFolder, record: SiteRecord) -> None:
    content = sealed_json(record.to_json())
    if not _holds(folder.root / RECORD, content):
        folder.write(RECORD, content)


def _remove(root: Path, paths: Iterable[str]) -> None:
    """Removes these files, where they are still there, and the folders that this empties."""
    folders = set()
    for path in sorted(paths):
        (root / path).unlink(missing_ok=True)
        folders.add((root / path).parent)
    for folder in sorted(folders - {root}, reverse=True):
        with suppress(OSError):  # it holds something else, or is gone
            folder.rmdir()


def _holds(place: Path, content: bytes) -> bool:
    try:
        there = place.is_file() and place.stat().st_size == len(content)
        return there and place.read_bytes() == content
    except OSError:
        return False


def _outside(place: Path) -> StoreError:
    return StoreError(
        f"{place} is a link out of the run or lies behind one, and a report is written into its run only; "
        "nothing was touched: remove the link, and copy the finished report to where it led"
    )


def refusal(place: Path, error: OSError) -> StoreError:
    """What is said where a report cannot be written."""
    return StoreError(
        f"cannot write {place}: {error.strerror}; what is finished is kept: "
        "make room and run the same command again"
    )
