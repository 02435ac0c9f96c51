"""``report.json``: which files a report consists of and what they were drawn from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vitreport.errors import StoreError
from vitreport.store import RunFolder
from vitreport.store.folder import REPORT as RECORD
from vitreport.store.folder import remedy

_FORMAT, _VERSION = "vitreport report", 3
_ROOMS = ("report/", "pdf/", "report.pdf")


@dataclass(frozen=True)
class PageRecord:
    """One page with the files that were written for it, or the PDF.

    Attributes:
        digest: of all that it was drawn from (`sources`).
        files: path below the run folder to SHA-256.
    """

    digest: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class SiteRecord:
    """What a report consists of.

    Attributes:
        manifest_sha256: of the manifest that it was drawn from.
        site: digest of all that the whole site was drawn from; empty while it is being written.
        pages: by name.
        stray: files that belong to no page and are to go: path below the run folder to SHA-256.
    """

    manifest_sha256: str = ""
    site: str = ""
    pages: Mapping[str, PageRecord] = field(default_factory=dict)
    stray: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, str]:
        """Every file of the report: path below the run folder to SHA-256."""
        found = dict(self.stray)
        for page in self.pages.values():
            found |= page.files
        return found

    @property
    def site_pages(self) -> dict[str, PageRecord]:
        """The pages of the site."""
        return {name: page for name, page in self.pages.items() if not _is_beside(page)}

    @property
    def pdfs(self) -> dict[str, PageRecord]:
        """What lies beside the site."""
        return {name: page for name, page in self.pages.items() if _is_beside(page)}

    def to_json(self) -> str:
        """The record as indented JSON with sorted names."""
        body = {
            "format": _FORMAT,
            "version": _VERSION,
            "manifest_sha256": self.manifest_sha256,
            "site": self.site,
            "files": self.files,
            "pages": {
                name: {"digest": page.digest, "files": sorted(page.files)}
                for name, page in self.pages.items()
            },
        }
        return json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class Earlier:
    """The report that is there.

    Attributes:
        pages: by name.
        standing: its files that are as they were written.
    """

    pages: Mapping[str, PageRecord]
    standing: Collection[str]

    def has(self, name: str, digest: str) -> bool:
        """True where a page need not be drawn again."""
        page = self.pages.get(name)
        return page is not None and page.digest == digest and self.is_whole({name: page})

    def is_whole(self, pages: Mapping[str, PageRecord]) -> bool:
        """True where every file of these pages stands."""
        return all(path in self.standing for page in pages.values() for path in page.files)


def read_record(folder: RunFolder) -> SiteRecord:
    """The record of the report that is there; an empty one where there is none.

    Raises:
        StoreError: it is not as it was written, or another program wrote it.
    """
    if not folder.has(RECORD):
        return SiteRecord()
    try:
        body = json.loads(folder.read_json(RECORD))
        if body["format"] != _FORMAT or body["version"] != _VERSION:
            raise ValueError("another format or version")
        files = {str(path): str(sha256) for path, sha256 in body["files"].items()}
        rooms = Rooms(folder.root)
        strangers = [path for path in files if not rooms.have(path)]
        if strangers:
            raise ValueError(f"{strangers[0]!r} is no file of a report")
        pages = {
            str(name): PageRecord(str(page["digest"]), {path: files[path] for path in page["files"]})
            for name, page in body["pages"].items()
        }
        kept = {path for page in pages.values() for path in page.files}
        stray = {path: sha256 for path, sha256 in files.items() if path not in kept}
        return SiteRecord(str(body["manifest_sha256"]), str(body["site"]), pages, stray)
    except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
        raise StoreError(f"{folder.place(RECORD)} cannot be read ({error}); {remedy(RECORD)}") from error


def standing(root: Path, record: SiteRecord) -> frozenset[str]:
    """Those of a report's files that are there as they were written."""
    return frozenset(path for path, sha256 in record.files.items() if _sha256(root / path) == sha256)


def _is_beside(page: PageRecord) -> bool:
    return not any(path.startswith("report/") for path in page.files)


class Rooms:
    """Which paths a report may have written: those in its rooms that lead nowhere else."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._real = root.resolve()
        self._folders: dict[Path, bool] = {}

    def have(self, path: str) -> bool:
        """True for a path that may be a report's."""
        if not path.startswith(_ROOMS) or ".." in Path(path).parts:
            return False
        folder = Path(path).parent
        if folder not in self._folders:
            self._folders[folder] = (self._root / folder).resolve() == self._real / folder
        return self._folders[folder]


def _sha256(place: Path) -> str:
    try:
        if not place.is_file():
            return ""
        with place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
