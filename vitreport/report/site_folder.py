"""Where the site's files go: written whole, remembered with their digests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from vitreport.store import RunFolder

SITE = "report"
"""Folder of the site, below the run folder."""


@dataclass
class SiteFolder:
    """The site of a run while it is written.

    Attributes:
        root: the run folder.
        files: path below the run folder to SHA-256, of every file written so far.
    """

    root: Path
    files: dict[str, str] = field(default_factory=dict)

    def write(self, path: str, content: bytes) -> None:
        """Commits a file of the site; one that is there with the same bytes is left alone.

        Args:
            path: below the site's folder.
            content: of the file.

        Raises:
            StoreError: the place cannot be written.
        """
        place = f"{SITE}/{path}"
        self.files[place] = hashlib.sha256(content).hexdigest()
        if not _holds(self.root / place, content):
            RunFolder(self.root).write(place, content)

    def asset(self, stem: str, suffix: str, content: bytes) -> str:
        """Commits an asset and returns its file name."""
        name = asset_name(stem, suffix, content)
        self.write(f"assets/{name}", content)
        return name


def asset_name(stem: str, suffix: str, content: bytes) -> str:
    """``<stem>-<8 digits of the content's SHA-256>.<suffix>``."""
    return f"{stem}-{hashlib.sha256(content).hexdigest()[:8]}.{suffix}"


def _holds(place: Path, content: bytes) -> bool:
    try:
        return place.stat().st_size == len(content) and place.read_bytes() == content
    except OSError:
        return False
