"""Where the PDFs of a run are, below the run folder."""

from __future__ import annotations

PDF = "report.pdf"
"""The summary report."""

FOLDER = "pdf"
"""Of the volumes and of the documents of one image."""

VOLUME = 50
"""Images in a volume."""

_VOLUME_STEM = f"{FOLDER}/volume-"


def volume_path(number: int) -> str:
    """``pdf/volume-001.pdf``."""
    return f"{_VOLUME_STEM}{number:03d}.pdf"


def single_path(image_id: str) -> str:
    """``pdf/<id>.pdf``."""
    return f"{FOLDER}/{image_id}.pdf"


def is_volume(path: str) -> bool:
    """Whether `path` is that of a volume; ids of images have no hyphen after letters."""
    return path.startswith(_VOLUME_STEM)


def is_single(path: str) -> bool:
    """Whether `path` is that of a document of one image."""
    return path.startswith(f"{FOLDER}/") and not is_volume(path)
