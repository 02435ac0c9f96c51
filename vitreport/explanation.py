"""The seam types: what the explain wing makes and the report wing reads. numpy only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
_WORDNET_ID = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class ClassNames:
    """The classes of a model, in the order of its logits.

    Attributes:
        names: one readable name a class; ``class 7`` where nothing better is known.
        wordnet_ids: one WordNet id a class (``n02123045``), or empty.
        origin: where the names come from, in words.
    """

    names: tuple[str, ...]
    wordnet_ids: tuple[str, ...] = ()
    origin: str = "unnamed"

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> str:
        return self.names[index]

    def index_of(self, text: str) -> int | None:
        """Returns the class that `text` names, or None.

        A WordNet id, a full name, or one of the comma-separated synonyms of a name; case does not
        matter, and where a synonym is shared the first class has it. Integers are not names.
        """
        return self._lookup.get(_fold(text))

    @property
    def _lookup(self) -> dict[str, int]:
        cached: dict[str, int] | None = self.__dict__.get("_lookup_table")
        if cached is None:
            cached = {}
            for candidates in (self.wordnet_ids, self.names):
                for index, text in enumerate(candidates):
                    cached.setdefault(_fold(text), index)
            for index, text in enumerate(self.names):
                for synonym in text.split(","):
                    cached.setdefault(_fold(synonym), index)
            self.__dict__["_lookup_table"] = cached
        return cached


def _fold(text: str) -> str:
    return " ".join(text.replace("_", " ").casefold().split())


def is_wordnet_id(text: str) -> bool:
    """True for ``n`` and eight digits."""
    return _WORDNET_ID.fullmatch(text) is not None


@dataclass(frozen=True)
class ImageRef:
    """One image of the catalogue.

    Attributes:
        id: first 16 hex digits of the file's SHA-256; ``-2``, ``-3`` … for further identical files.
        uri: where the file is, as the user named it.
        sha256: of the file's bytes, hex.
        size: of the file, in bytes.
        label: ground-truth class index, or None.
        group: a slice that the image belongs to (a folder, a CSV column), or None.
        meta: further CSV columns, as text.
        shard: number of the shard (256 images in id order) that the image is stored in.
    """

    id: str
    uri: str
    sha256: str
    size: int
    label: int | None = None
    group: str | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    shard: int = 0


@dataclass(frozen=True)
class Prediction:
    """A class and its probability in [0, 1]; of a regression an output and its value."""

    index: int
    probability: float


@dataclass(frozen=True)
class View:
    """What the model saw of an image.

    Attributes:
        jpeg: the transformed input, as an encoded picture.
        width: of the picture, in pixels.
        height: of the picture, in pixels.
        crop: (left, top, right, bottom) of the part the model saw, in pixels of the upright original.
        original: (width, height) of the upright original.
    """

    jpeg: bytes
    width: int
    height: int
    crop: tuple[float, float, float, float]
    original: tuple[int, int]


@dataclass(frozen=True)
class PixelMap:
    """A map with a value a pixel of the model's input, as it is stored.

    Attributes:
        stored: ``(height, width)``, float16 or float32; finite.
        scale: what the values are to be multiplied by: of float16 the largest magnitude of the map, so that
            none is too large or too small for it.
    """

    stored: npt.NDArray[np.float16] | FloatArray
    scale: float

    @property
    def values(self) -> FloatArray:
        """The map, float32 ``(height, width)``; of float16 exact to 1/2048 of a value or, where that is more,
        3e-8 of the map's largest."""
        return self.stored.astype(np.float32) * np.float32(self.scale)


@dataclass(frozen=True)
class Attribution:
    """One technique's map of one image for one target.

    Attributes:
        technique: the technique's key, for example ``attention_rollout:fusion=max``.
        target: explained class index, or None where the technique does not depend on one.
        values: raw float32, ``(rows, cols)``; empty where `error` is set.
        error: why there is no map, or None.
        pixels: the same map pixel by pixel, whose sums over patches `values` are; None where it is not kept.
    """

    technique: str
    target: int | None
    values: FloatArray
    error: str | None = None
    pixels: PixelMap | None = None


@dataclass(frozen=True)
class Explanation:
    """What a model says of one image; maps and observations are stored by technique.

    `reason` is set, and everything after it empty, where the image could not be used.
    """

    ref: ImageRef
    reason: str | None = None
    view: View | None = None
    predictions: tuple[Prediction, ...] = ()
    targets: tuple[Prediction, ...] = ()
