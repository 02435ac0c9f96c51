"""Masks beside a set of images: which file belongs to which image."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from vitreport.errors import SettingsError
from vitreport.explanation import ImageRef


@dataclass(frozen=True)
class Masks:
    """The masks of a run.

    Attributes:
        paths: of the masks, by image id.
        sha256: of all of them with their ids, hex; empty without any.
    """

    paths: Mapping[str, Path] = field(default_factory=dict)
    sha256: str = ""


def find_masks(folder: Path, refs: Sequence[ImageRef]) -> Masks:
    """Finds the mask of each image: a PNG of the same name beside its suffix.

    Where several have that name, the one whose folders are named like most of the image's own is meant.

    Args:
        folder: with masks, in whatever folders below.
        refs: of the images.

    Raises:
        SettingsError: there is no such folder, no mask of any image in it, or one that fits two images.
    """
    if not folder.is_dir():
        raise SettingsError(f"the folder of masks {folder} does not exist")
    named: dict[str, list[PurePosixPath]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() == ".png" and path.is_file():
            named[path.stem].append(PurePosixPath(path.relative_to(folder).as_posix()))
    found: dict[str, Path] = {}
    owners: dict[Path, ImageRef] = {}
    root = hashlib.sha256()
    for ref in refs:
        image = PurePosixPath(ref.uri)
        candidates = named.get(image.stem)
        if candidates:
            path = folder / max(candidates, key=lambda mask: _shared(mask, image))
            owner = owners.setdefault(path, ref)
            if owner.sha256 != ref.sha256:
                raise SettingsError(
                    f"the mask {path} could belong to {owner.uri} or to {ref.uri}; "
                    "put masks into folders that are named like those of their images"
                )
            found[ref.id] = path
            content = hashlib.sha256(found[ref.id].read_bytes()).hexdigest()
            root.update(f"{ref.id} {content}\n".encode())
    if not found:
        raise SettingsError(
            f"{folder} has no mask of any image; a mask is a PNG with the name of its image, in which 0 is "
            "background and k is the class of index k - 1"
        )
    return Masks(found, root.hexdigest())


def _shared(mask: PurePosixPath, image: PurePosixPath) -> int:
    """How many folders, from the file upwards, have the same names."""
    pairs = zip(reversed(mask.parent.parts), reversed(image.parent.parts), strict=False)
    return next((number for number, (one, other) in enumerate(pairs) if one != other), len(mask.parts) - 1)
