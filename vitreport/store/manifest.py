"""The manifest: what a run is, in one JSON file that a person can read.

It holds no dates and no durations, so that equal runs have equal manifests (``timings.json`` has those).
What the report says of a technique travels in here, because the report wing cannot ask the technique.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from vitreport.errors import StoreError
from vitreport.explanation import ClassNames
from vitreport.settings import Parameter, TechniqueSpec
from vitreport.store.record import decoded, parsed

FORMAT = "vitreport run"
VERSION = 2
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")
_DIGEST = re.compile(r"[0-9a-f]{8}")
_MOST = 2**40


@dataclass(frozen=True)
class TechniqueRecord:
    """One technique with one setting of its parameters, as it stands in a run.

    Attributes:
        key: how the run refers to it: the name and the parameters that differ from their defaults.
        digest: 8 hex digits of name, version and all parameters; part of the folder's name.
        parameters: every parameter with the value used.
        defaults: every parameter with its default.
        kind: ``map`` (scored, one map an image and target) or ``observation`` (own result type).
        columns: of an observation's table: name to Arrow type; empty for maps.
        class_specific: whether the result depends on the target.
        signed: whether values below zero mean evidence against the target.
        shows: what a reader may conclude from it.
        does_not_show: what a reader may not.
        differs: where it departs from its source, or None.
        licence_note: a notice that goes with its use, or None.
        cost: passes through the model, in words.
        opt_in: whether no tier runs it.
        most_images: how many images of the run it explains at most, the first by identity; None: all.
        skipped: why this model cannot have it, or None.
    """

    key: str
    name: str
    digest: str
    parameters: Mapping[str, Parameter]
    defaults: Mapping[str, Parameter]
    parameter_help: Mapping[str, str]
    kind: Literal["map", "observation"]
    title: str
    family: str
    tier: str
    class_specific: bool
    signed: bool
    source: str
    shows: str
    does_not_show: str
    columns: Mapping[str, str] = field(default_factory=dict)
    differs: str | None = None
    licence_note: str | None = None
    cost: str = ""
    opt_in: bool = False
    most_images: int | None = None
    skipped: str | None = None

    @property
    def folder(self) -> str:
        """``<name>-<digest>``, the folder of its parts."""
        return f"{self.name}-{self.digest}"

    def answers(self, spec: TechniqueSpec) -> bool:
        """True where `spec` means this setting: parameters it does not name have their defaults."""
        return spec.name == self.name and {**self.defaults, **dict(spec.parameters)} == dict(self.parameters)


@dataclass(frozen=True)
class Check:
    """How a metric that ranks nothing tells which techniques pass: by a mean that stays below a limit.

    Attributes:
        limit: of the mean.
        reason: why the limit lies there, as a sentence.
        above: the column from which the value is counted, image by image; empty: from 0.
    """

    limit: float
    reason: str
    above: str = ""


@dataclass(frozen=True)
class MetricRecord:
    """One metric with one setting of its parameters, as it stands in a run.

    Attributes:
        key: how the run refers to it.
        digest: 8 hex digits of name, version, all parameters and the number of images.
        images: how many images of the run are scored, drawn by chance; None: all.
        short: the title in a word or two, for the head of a column.
        higher_is_better: whether a larger value speaks for a technique; None: it ranks nothing.
        columns: what a row has beside its value: name to Arrow type.
        measures: what a reader may conclude from it.
        does_not_measure: what a reader may not.
        skipped: why this model cannot be scored by it, or None.
        check: what tells which techniques pass; None: it is no check.
        details: columns of numbers whose means a report shows beside that of the value: name to words.
    """

    key: str
    name: str
    digest: str
    parameters: Mapping[str, Parameter]
    defaults: Mapping[str, Parameter]
    parameter_help: Mapping[str, str]
    title: str
    source: str
    measures: str
    does_not_measure: str
    short: str
    higher_is_better: bool | None
    columns: Mapping[str, str]
    images: int | None
    skipped: str | None = None
    check: Check | None = None
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """``<name>-<digest>``, the folder of its parts."""
        return f"{self.name}-{self.digest}"

    def answers(self, spec: TechniqueSpec) -> bool:
        """True where `spec` means this setting: parameters it does not name have their defaults."""
        return spec.name == self.name and {**self.defaults, **dict(spec.parameters)} == dict(self.parameters)


@dataclass(frozen=True)
class ModelRecord:
    """The model card of a run.

    Attributes:
        weights_sha256: of the weights file, or of the tensors where they came from a hub.
        readout: how the head reads tokens, in words.
        grid: (rows, cols) of the patch grid.
        patch_size: (height, width) in pixels.
        input_size: (height, width) in pixels.
        transform: timm's resolved data config.
        canary_sha256: of the transformed canary image, which shows whether two machines prepare alike.
        explained: which scalar is explained, in words.
        head: how the outputs are read: ``softmax``, ``sigmoid``, ``regression``, or ``none`` without any.
        card: free text or fields that the user gave about the model.
    """

    name: str
    weights: str
    weights_sha256: str
    parameters: int
    blocks: int
    heads: int
    width: int
    readout: str
    prefix_tokens: int
    grid: tuple[int, int]
    patch_size: tuple[int, int]
    input_size: tuple[int, int]
    transform: Mapping[str, Any]
    canary_sha256: str
    explained: str
    class_names: tuple[str, ...]
    wordnet_ids: tuple[str, ...]
    class_names_origin: str
    head: Literal["softmax", "sigmoid", "regression", "none"] = "softmax"
    licence: str | None = None
    card: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> ClassNames:
        """The model's classes."""
        return ClassNames(self.class_names, self.wordnet_ids, self.class_names_origin)

    @property
    def tells_classes(self) -> bool:
        """Whether it tells classes from each other, so that an image's label is right or wrong."""
        return self.head in ("softmax", "sigmoid") and len(self.class_names) > 1


@dataclass(frozen=True)
class DataRecord:
    """The image set of a run.

    Attributes:
        catalogue_sha256: root digest over id, uri, SHA-256, label and group of every image.
        images: all images of the catalogue, the quarantined ones included.
        quarantined: images that could not be used.
        failed: results (maps, observations) that could not be made.
        labelled: images with a ground-truth label.
        notices: what the run says about its sources ("the column 'label' holds no class …").
    """

    catalogue_sha256: str
    images: int
    shards: int
    labelled: int
    quarantined: int = 0
    failed: int = 0
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """``manifest.json``.

    Attributes:
        run_digest: what the run is bound to (weights, transform, catalogue, targets, seed, batch size,
            device, dtype): a run folder takes only work of the same digest.
        bound: the values behind `run_digest`, by name, so that a refusal can say which differs.
        command: the command that reproduces the run.
        metrics: by which maps are scored.
        controls: techniques that are scored beside those of the run, without maps in the store.
        complete: false while work is pending.
        files: path below the run folder to SHA-256, of every file that `explain` wrote.
        published: of a published copy (`vitreport.publication`) its ``words``, which say what it leaves out,
            ``photos``, what became of each, and ``pdf``, the file's name in the site or empty; empty for all
            other runs.
    """

    run_digest: str
    bound: Mapping[str, Any]
    settings: Mapping[str, Any]
    command: str
    model: ModelRecord
    data: DataRecord
    techniques: tuple[TechniqueRecord, ...]
    environment: Mapping[str, Any]
    metrics: tuple[MetricRecord, ...] = ()
    controls: tuple[TechniqueRecord, ...] = ()
    complete: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, str] = field(default_factory=dict)

    @property
    def asked(self) -> tuple[object, ...]:
        """All that is computed: two manifests of one run that agree in it have the same results."""
        return self.techniques, self.metrics, self.controls

    def to_json(self) -> str:
        """The manifest as indented JSON with sorted names."""
        body = {"format": FORMAT, "version": VERSION, **dataclasses.asdict(self)}
        return json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> Self:
        """Reads what `to_json` wrote.

        Raises:
            StoreError: `text` is no manifest, or one of another version.
        """
        try:
            manifest = decoded(cls, _body(text, where))
            manifest.check()
        except ValueError as error:
            raise StoreError(
                f"{where} cannot be read: {error}; put back a copy of it, or choose another -o"
            ) from error
        return manifest

    def check(self) -> None:
        """Refuses what no run has: names become paths, and numbers lengths.

        Raises:
            ValueError: what is wrong.
        """
        records: list[TechniqueRecord | MetricRecord] = [*self.techniques, *self.controls, *self.metrics]
        for record in records:
            if not _NAME.fullmatch(record.name) or not _DIGEST.fullmatch(record.digest):
                raise ValueError(f"{record.folder[:40]!r} is no name of a technique or metric")
        for path in self.files:
            if path.startswith("/") or not {"", ".", ".."}.isdisjoint(path.split("/")) or "\\" in path:
                raise ValueError(f"{path[:40]!r} is no file of a run")
        counts = (self.data.images, self.data.shards, self.data.labelled, self.data.quarantined)
        sizes = (*self.model.grid, *self.model.patch_size, *self.model.input_size)
        if min(*counts, self.data.failed) < 0 or min(sizes) < 1 or max(*counts, *sizes) > _MOST:
            raise ValueError("a count or a size is out of range")
        if self.data.shards > self.data.images or bool(self.data.images) != bool(self.data.shards):
            raise ValueError(f"{self.data.images} images have {self.data.shards} shards")


def check_format(content: bytes, where: str) -> None:
    """Refuses what was never the manifest of a run that this version reads, whatever became of its bytes.

    Raises:
        StoreError: `content` is JSON of something else, or a manifest of another version.
    """
    with suppress(ValueError):
        if isinstance(parsed(content.decode()), dict):
            _body(content.decode(), where)


def _body(text: str, where: str) -> dict[str, Any]:
    try:
        body = parsed(text)
    except ValueError as error:
        raise StoreError(f"{where} is not valid JSON: {error}") from error
    if not isinstance(body, dict) or body.pop("format", None) != FORMAT:
        raise StoreError(f"{where} is not the manifest of a vitreport run")
    version = body.pop("version", None)
    if version != VERSION:
        shown = str(version) if str(version).isprintable() else repr(version)
        raise StoreError(f"{where} has version {shown[:40]}; this vitreport reads version {VERSION}")
    return body
