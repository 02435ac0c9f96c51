"""Optimised pictures of a run: what is written beside each, and how it is read back. No torch.

They are additions to a run that its manifest does not list: a run is complete without them.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from vitreport.errors import StoreError
from vitreport.store.folder import RunFolder
from vitreport.store.record import decoded, parsed

ROOM = "optimized"
CONTROLS = f"{ROOM}/controls.json"
_FILE = re.compile(rf"{ROOM}/[A-Za-z0-9][A-Za-z0-9._-]*\.png")
_RECORD = re.compile(rf"{ROOM}/[^/]*-[^/]{{8}}\.json")
FORMAT, VERSION = "vitreport optimised pictures", 1


@dataclass(frozen=True)
class Gate:
    """One test that a picture, or all pictures of a target, should pass before anyone believes them.

    Attributes:
        name: ``activation``, ``seam``, ``clean``, ``shifted``, ``blurred``, ``seeds`` or ``judge``.
        passed: None where it could not be tested.
        value: what was measured, or None.
        says: what was asked, in words, with the bound.
    """

    name: str
    passed: bool | None
    value: float | None
    says: str


@dataclass(frozen=True)
class Look:
    """What the model makes of a picture as it is, moved or blurred.

    Attributes:
        activation: of the target.
        predicted: the likeliest class, or None without classes.
        score: of the target class, as the head is read (a probability, for most); None for other targets.
        rank: of the target class among all, 1 is the likeliest; None for other targets.
    """

    activation: float
    predicted: int | None
    score: float | None
    rank: int | None


@dataclass(frozen=True)
class OptimizedPicture:
    """One picture.

    Attributes:
        name: ``seed 0``, or of a control ``noise``.
        file: path of the PNG below the run folder.
        seam_ratio: steps across patch borders over steps inside patches; natural pictures have about 1.
        likeness: correlation, over all pairs of patches, of how alike they look and how alike their position
            embeddings are, or None where the model has none.
        looks: by ``clean``, ``shifted`` and ``blurred``.
        gates: of this picture.
        sha256: of the file, hex.
    """

    name: str
    file: str
    seam_ratio: float
    likeness: float | None
    looks: Mapping[str, Look]
    gates: tuple[Gate, ...]
    sha256: str = ""

    @property
    def passed(self) -> bool:
        """Whether no gate is failed and one at least is passed."""
        return _passed(self.gates)


@dataclass(frozen=True)
class Audited:
    """What the audited images say of a target.

    Attributes:
        images: how many were looked at.
        from_views: how many of these were read from the run's own views, which are JPEGs of what the model
            saw, because their files are gone or have changed.
        mean: of their activations.
        deviation: standard deviation of their activations.
        most: largest activation.
        bound: what a picture has to exceed, or None without images.
        rule: how the bound was chosen, in words.
        top: ids and activations of the images that activate it most, falling.
        likeness: mean over images of what `OptimizedPicture.likeness` is, or None.
    """

    images: int
    from_views: int
    mean: float | None
    deviation: float | None
    most: float | None
    bound: float | None
    rule: str
    top: tuple[tuple[str, float], ...] = ()
    likeness: float | None = None


@dataclass(frozen=True)
class OptimizedRecord:
    """All pictures of one target, made with one recipe.

    Attributes:
        target: its key, for example ``unit:8:17``.
        title: in words.
        kind: ``class``, ``unit``, ``head`` or ``channel``.
        index: of the class, unit, head or channel.
        block: or None of a class.
        digest: 8 hex digits of weights, target, recipe and seeds; part of the files' names.
        parametrisation: ``fourier``, ``maco`` or ``pixels``.
        recipe: how the pictures were made.
        weights_sha256: of the model.
        device: where they were made.
        statistics: where spectrum and colours come from, in words.
        audited: what the audited images say.
        pictures: one a seed.
        noise: the control: colours and spectrum of natural pictures, random phases.
        gates: of all pictures together.
        feature_cosine: mean over pairs of seeds of the cosine of what the classifier is given; None with one
            seed, or where the model does not show it.
    """

    target: str
    title: str
    kind: str
    index: int
    block: int | None
    digest: str
    parametrisation: str
    recipe: Mapping[str, Any]
    weights_sha256: str
    device: str
    statistics: str
    audited: Audited
    pictures: tuple[OptimizedPicture, ...]
    noise: OptimizedPicture
    gates: tuple[Gate, ...]
    feature_cosine: float | None

    @property
    def passed(self) -> bool:
        """Whether no gate is failed, and every picture passes one at least."""
        return not self.failed_gates and all(picture.passed for picture in self.pictures)

    @property
    def failed_gates(self) -> tuple[str, ...]:
        """Names of the gates that any picture, or all together, fail."""
        return self._gates(False)

    @property
    def untested_gates(self) -> tuple[str, ...]:
        """Names of the gates that could not be tested."""
        return self._gates(None)

    def _gates(self, passed: bool | None) -> tuple[str, ...]:
        gates = [*(gate for picture in self.pictures for gate in picture.gates), *self.gates]
        return tuple(dict.fromkeys(gate.name for gate in gates if gate.passed is passed))

    def to_json(self) -> str:
        """Indented JSON with sorted names."""
        body = {"format": FORMAT, "version": VERSION, **dataclasses.asdict(self)}
        return json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> Self:
        """Reads what `to_json` wrote.

        Raises:
            StoreError: `text` is something else, or of another version.
        """
        try:
            body = parsed(text, finite=False)
            if not isinstance(body, dict) or (body.pop("format", None), body.pop("version", None)) != (
                FORMAT,
                VERSION,
            ):
                raise ValueError("another format or version")
            found = decoded(cls, body)
            for picture in (*found.pictures, found.noise):
                if not _FILE.fullmatch(picture.file):
                    raise ValueError(f"{picture.file!r} is no picture of its folder")
            return found
        except ValueError as error:
            raise _damaged(where, error) from error


@dataclass(frozen=True)
class CrossControl:
    """Pictures of classes judged for each other's class: a picture should pass for its own alone.

    Attributes:
        digest: 8 hex digits of the recipe that the pictures share.
        targets: keys of the classes.
        scores: of the class in each column for the first picture of the class in each row.
        passes: whether that picture passes the gates of the class in each column.
    """

    digest: str
    targets: tuple[str, ...]
    scores: tuple[tuple[float, ...], ...]
    passes: tuple[tuple[bool, ...], ...]

    def to_json(self) -> str:
        """Indented JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> Self:
        """Reads what `to_json` wrote.

        Raises:
            StoreError: `text` is something else.
        """
        try:
            return decoded(cls, parsed(text, finite=False))
        except ValueError as error:
            raise _damaged(where, error) from error


def record_path(slug: str, digest: str) -> str:
    """Path of a target's JSON below the run folder."""
    return f"{ROOM}/{slug}-{digest}.json"


def picture_path(slug: str, digest: str, name: str) -> str:
    """Path of a picture below the run folder; `name` as of `OptimizedPicture`."""
    return f"{ROOM}/{slug}-{digest}-{name.replace(' ', '-')}.png"


def read_record(folder: RunFolder, path: str) -> OptimizedRecord | None:
    """Reads a target's record; None where it, or a picture that it names, is missing.

    Raises:
        StoreError: it, or a picture, is not as it was written.
    """
    if not folder.has(path):
        return None
    record = OptimizedRecord.from_json(folder.read_json(path), str(folder.place(path)))
    pictures = (*record.pictures, record.noise)
    if not all(folder.has(picture.file) for picture in pictures):
        return None
    for picture in pictures:
        if folder.sha256(picture.file) != picture.sha256:
            raise folder.damaged(picture.file)
    return record


def optimized_records(folder: RunFolder) -> list[OptimizedRecord]:
    """Every target of a run that has its pictures, in the order of the files' names.

    Raises:
        StoreError: a record cannot be read.
    """
    records = (read_record(folder, path) for path in folder.files_below(ROOM) if _RECORD.fullmatch(path))
    return [record for record in records if record is not None]


def cross_control(folder: RunFolder) -> CrossControl | None:
    """The classes' pictures judged for each other; None where there are fewer than two.

    Raises:
        StoreError: it cannot be read.
    """
    if not folder.has(CONTROLS):
        return None
    return CrossControl.from_json(folder.read_json(CONTROLS), str(folder.place(CONTROLS)))


def _damaged(where: str, error: Exception) -> StoreError:
    return StoreError(f"{where} cannot be read ({error}); delete it and run 'vitreport maximize' again")


def _passed(gates: tuple[Gate, ...]) -> bool:
    tested = [gate.passed for gate in gates if gate.passed is not None]
    return bool(tested) and all(tested)
