"""What is wanted of a published copy, and what it says of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Photos(StrEnum):
    """What a published copy shows of the pictures that the model saw."""

    FULL = "full"
    THUMBNAILS = "thumbnails"
    BLURRED = "blurred"
    NONE = "none"

    @property
    def side(self) -> int | None:
        """How many pixels the longer side keeps; None: all; 0: the picture is not shown."""
        return {"full": None, "thumbnails": 64, "blurred": 16, "none": 0}[self.value]

    @property
    def change(self) -> str:
        """What became of one photo, in a few words; empty where it is as it was."""
        if self is Photos.FULL:
            return ""
        return f"reduced to {self.side} pixels of its longer side" if self.side else "not shown in this copy"

    @property
    def words(self) -> str:
        """What became of the photos, as the end of a sentence."""
        if self is Photos.FULL:
            return "photos are as the model saw them"
        if self is Photos.NONE:
            return "photos are not shown"
        return f"photos keep {self.side} pixels of their longer side"


@dataclass(frozen=True)
class Publication:
    """What is wanted of a published copy.

    Attributes:
        photos: what it shows of the pictures.
        columns: metadata columns that it shows; ``group`` stands for the groups.
        pdf: whether its site has the PDF too.
    """

    photos: Photos = Photos.FULL
    columns: tuple[str, ...] = ()
    pdf: bool = True

    @property
    def words(self) -> str:
        """What a copy says of itself, in a sentence."""
        shown = f"of groups and metadata only {', '.join(self.columns)} is shown" if self.columns else ""
        hidden = shown or "groups and metadata are left out"
        return (
            "This is a published copy: images have numbers instead of names and checksums, "
            f"{self.photos.words}, {hidden}, and paths, notices and the command are left out."
        )

    def to_mapping(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "photos": self.photos.value, "columns": list(self.columns)}
