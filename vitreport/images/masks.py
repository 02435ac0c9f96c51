"""Masks beside a set of images: which file belongs to which image."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
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

    Where several have that name, the one that shares most folders with the image is meant, counted from the
    file upwards; of these the one that has no others.

    Args:
        folder: with masks, in whatever folders below.
        refs: of the images.

    Raises:
        SettingsError: there is no such folder, no mask of any image in it, one that fits two images, or two
            that fit one.
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
            shared = [_shared(mask, image) for mask in candidates]
            best = [mask for mask, number in zip(candidates, shared, strict=True) if number == max(shared)]
            nearest = [mask for mask in best if len(mask.parts) - 1 == max(shared)] or best
            if len(nearest) > 1:
                raise SettingsError(
                    f"{ref.uri} could have the mask {nearest[0]} or {nearest[1]} of {folder}; "
                    "put masks into folders that are named like those of their images"
                )
            path = folder / nearest[0]
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
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
