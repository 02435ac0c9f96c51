"""``report.json``: which files a report consists of, so that the next one can tidy up after it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vitreport.errors import StoreError
from vitreport.store import RunFolder
from vitreport.store.folder import REPORT as RECORD
from vitreport.store.folder import remedy
from vitreport.store.seal import sealed_json

_FORMAT, _VERSION = "vitreport report", 2
_ROOMS = ("report/", "pdf/", "report.pdf")


@dataclass(frozen=True)
class SiteRecord:
    """What a report consists of.

    Attributes:
        manifest_sha256: of the manifest that it was drawn from.
        files: path below the run folder to SHA-256.
    """

    manifest_sha256: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    def pdfs(self) -> dict[str, str]:
        """The files that are not part of the site."""
        return {path: sha256 for path, sha256 in self.files.items() if not path.startswith("report/")}

    def to_json(self) -> str:
        """The record as indented JSON with sorted names."""
        body = {
            "format": _FORMAT,
            "version": _VERSION,
            "manifest_sha256": self.manifest_sha256,
            "files": dict(self.files),
        }
        return json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read_record(root: Path) -> SiteRecord:
    """The record of the report that is there; an empty one where there is none.

    Raises:
        StoreError: it is not as it was written, or another program wrote it.
    """
    folder = RunFolder(root)
    if not folder.has(RECORD):
        return SiteRecord()
    try:
        body = json.loads(folder.read_json(RECORD))
        if body["format"] != _FORMAT or body["version"] != _VERSION:
            raise ValueError("another format or version")
        files = {str(path): str(sha256) for path, sha256 in body["files"].items()}
        strangers = [path for path in files if not _is_ours(root, path)]
        if strangers:
            raise ValueError(f"{strangers[0]!r} is no file of a report")
        return SiteRecord(str(body["manifest_sha256"]), files)
    except (AttributeError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
        raise StoreError(f"{root / RECORD} cannot be read ({error}); {remedy(RECORD)}") from error


def replace_record(root: Path, old: SiteRecord, new: SiteRecord) -> None:
    """Removes what only `old` lists, then commits `new`. Nothing else is ever removed."""
    remove(root, old.files.keys() - new.files.keys())
    content = sealed_json(new.to_json())
    if not (root / RECORD).is_file() or (root / RECORD).read_bytes() != content:
        RunFolder(root).write(RECORD, content)


def remove(root: Path, paths: Iterable[str]) -> None:
    """Removes these files, where they are still there, and the folders that this empties."""
    for path in sorted(paths):
        place = root / path
        place.unlink(missing_ok=True)
        if place.parent != root and place.parent.is_dir() and not any(place.parent.iterdir()):
            place.parent.rmdir()


def _is_ours(root: Path, path: str) -> bool:
    """True for a path that a report may have written: one in its rooms, that leads nowhere else."""
    if not path.startswith(_ROOMS) or ".." in Path(path).parts:
        return False
    place = root / path
    return place.parent.resolve() == (root.resolve() / path).parent
