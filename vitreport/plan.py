"""What a run computes: settings, resolved against a model and an image set."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from vitreport.errors import SettingsError
from vitreport.explanation import ClassNames, ImageRef
from vitreport.faithfulness.metric import Metric
from vitreport.faithfulness.metric import select as select_metrics
from vitreport.images import Catalogue, build_catalogue
from vitreport.images.file import printable, relative
from vitreport.images.masks import Masks, find_masks
from vitreport.images.remote import shown
from vitreport.model.embedded import embedded_card
from vitreport.model.environment import choose_device, device_name, environment
from vitreport.model.load import VisionModel, load_model
from vitreport.model.memory import automatic_batch_size, check_room
from vitreport.model.targets import Targets
from vitreport.settings import RunSettings, digest
from vitreport.store import DataRecord, Manifest, MetricRecord, ModelRecord, TechniqueRecord
from vitreport.techniques.attention.patch_rollout import PatchRollout
from vitreport.techniques.technique import Explainable, select
from vitreport.url import is_url

CONTROLS = (*(f"random:draw={draw}" for draw in range(5)), "centre", "edges")
"""What every score is read against: five random maps, the middle of the picture, and its edges."""
SCORED_ON_CPU, SCORED_ON_GPU = 16, 64

__all__ = ["Plan", "make_plan", "read_card"]


@dataclass(frozen=True)
class Plan:
    """A run before it starts.

    Attributes:
        settings: what the user asked for.
        model: what is explained.
        record: what the run says of the model.
        techniques: with what, each with its record.
        metrics: by what their maps are scored, each with its record.
        score_images: how many images are scored; None: all.
        masks: paths of masks, by image id; empty without any.
        controls: what is scored beside the techniques, each with its record.
        targets: for which classes.
        catalogue: on which images.
        batch_size: images at a time.
        device: ``cpu`` or ``cuda``.
        precision: of the passes that only look at the model's score: ``float32``, ``float16``, ``bfloat16``.
    """

    settings: RunSettings
    model: VisionModel
    record: ModelRecord
    techniques: Sequence[tuple[TechniqueRecord, Explainable]]
    metrics: Sequence[tuple[MetricRecord, Metric]]
    score_images: int | None
    masks: Mapping[str, Path]
    controls: Sequence[tuple[TechniqueRecord, Explainable]]
    targets: Targets
    catalogue: Catalogue
    batch_size: int
    device: str
    precision: str

    @cached_property
    def shards(self) -> dict[int, list[ImageRef]]:
        """The images of each shard, in id order."""
        shards: dict[int, list[ImageRef]] = {}
        for ref in self.catalogue.refs:
            shards.setdefault(ref.shard, []).append(ref)
        return shards

    @property
    def bound(self) -> dict[str, Any]:
        """What a run folder is bound to, by name; equal values, equal numbers."""
        values = {
            "model": [self.model.weights_sha256, self.model.layout.readout.value, self.model.layout.grid],
            "head": self.record.head,
            "transform": self.model.preparation.canary_sha256(),
            "images": self.catalogue.sha256,
            "targets": self.targets.specs,
            "seed": self.settings.seed,
            "batch size": self.batch_size,
            "device": device_name(self.device),
            "dtype": "float32",
        }
        if self.settings.pixel_maps != "none":
            values["pixel maps"] = self.settings.pixel_maps
        return _plain(values)

    def manifest(self, home: Path | None = None) -> Manifest:
        """The manifest of this run, not complete yet.

        Args:
            home: the run folder; what was named in it is recorded as ``RUN/…``, wherever it lies.
        """
        refs = self.catalogue.refs
        asked = replace(
            self.settings,
            images=tuple(_shown(name, home) for name in self.settings.images),
            masks=None if self.settings.masks is None else _shown(self.settings.masks, home),
        )
        return Manifest(
            run_digest=digest(self.bound),
            bound=self.bound,
            settings=asked.to_mapping(),
            command=asked.command(),
            model=self.record,
            data=DataRecord(
                catalogue_sha256=self.catalogue.sha256,
                images=len(refs),
                shards=len(self.shards),
                labelled=sum(ref.label is not None for ref in refs),
                notices=self.catalogue.notices,
            ),
            techniques=tuple(record for record, _ in self.techniques),
            metrics=tuple(record for record, _ in self.metrics),
            controls=tuple(record for record, _ in self.controls),
            environment={**environment(self.device), "scoring": self.precision},
        )


def make_plan(
    settings: RunSettings,
    batch_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    home: Path | None = None,
) -> Plan:
    """Resolves settings. What can be refused is refused here: names first, then weights, then images.

    Args:
        settings: what the user asked for.
        batch_size: what ``auto`` means; None measures what fits.
        progress: told how many images are read.
        home: the run folder, see `Plan.manifest`.

    Raises:
        SettingsError: a setting cannot be used.
        UnsupportedModelError: the model's attention cannot be read.
    """
    techniques = _inspected(select(settings.techniques), settings.inspect)
    metrics = select_metrics(settings.metrics)
    card = read_card(_path(settings.model_card) or embedded_card(settings.model))
    device = choose_device(settings.device)
    model = load_model(
        settings.model,
        checkpoint=_path(settings.checkpoint),
        labels=_path(settings.labels),
        image_size=settings.image_size,
        device=device,
        head=settings.head,
    )
    check_room(model)
    record = _model_record(model, card)
    targets = Targets.parse(settings.targets, model.classes, labels=record.tells_classes)
    labels = model.classes if record.tells_classes else ClassNames(())
    catalogue = build_catalogue(settings.images, labels, settings.limit, progress, home)
    if targets.needs_labels and all(ref.label is None for ref in catalogue.refs):
        raise SettingsError(
            "target 'label' is asked for, but no image has a label; give a CSV with a 'label' column, "
            "folders named like classes, or the target 'predicted'"
        )
    if settings.batch_size != "auto":
        batch_size = settings.batch_size
    score_images = _score_images(settings, device)
    usual = "float32" if device == "cpu" else "float16"
    precision = usual if settings.precision == "auto" else settings.precision
    unusual = None if precision == usual else precision
    masks = Masks() if settings.masks is None else find_masks(Path(settings.masks), catalogue.refs)
    labelled = record.tells_classes and any(ref.label is not None for ref in catalogue.refs)
    return Plan(
        settings=settings,
        model=model,
        record=record,
        techniques=_with_records(techniques, model),
        metrics=[
            (_metric_record(metric, model, score_images, masks, unusual, labelled=labelled), metric)
            for metric in metrics
        ],
        score_images=score_images,
        masks=masks.paths,
        controls=_with_records(_further_controls(techniques), model) if metrics else (),
        targets=targets,
        catalogue=catalogue,
        batch_size=batch_size or automatic_batch_size(model),
        device=device,
        precision=precision,
    )


def _shown(name: str, home: Path | None) -> str:
    if is_url(name):
        return shown(name)
    below = relative(Path(name), home)
    return printable(name) if below is None else printable(Path("RUN") / below)


def read_card(path: Path | None) -> dict[str, Any]:
    """Reads what the user says of a model: JSON, TOML, or any other text.

    Raises:
        SettingsError: the file cannot be read.
    """
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            content = json.loads(text)
        elif path.suffix == ".toml":
            content = json.loads(json.dumps(tomllib.loads(text), default=str))
        else:
            content = text
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read the model card {path}: {error}") from error
    return content if isinstance(content, dict) else {"description": str(content)}


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _with_records(
    techniques: Sequence[Explainable], model: VisionModel
) -> list[tuple[TechniqueRecord, Explainable]]:
    return [
        (TechniqueRecord(**technique.describe(), skipped=technique.supports(model)), technique)
        for technique in techniques
    ]


def _inspected(techniques: Sequence[Explainable], images: int | None) -> list[Explainable]:
    """Techniques with the patch inspector for so many images; None leaves them as they are."""
    if images is None:
        return list(techniques)
    others = [technique for technique in techniques if not isinstance(technique, PatchRollout)]
    return [*others, PatchRollout(images)] if images else others


def _further_controls(techniques: Sequence[Explainable]) -> list[Explainable]:
    """The controls against which scores are read and that are not among the techniques."""
    present = {technique.key for technique in techniques}
    return [control for control in select(CONTROLS) if control.key not in present]


def _score_images(settings: RunSettings, device: str) -> int | None:
    if settings.score_images == "all":
        return None
    if settings.score_images == "auto":
        return SCORED_ON_CPU if device == "cpu" else SCORED_ON_GPU
    return int(settings.score_images)


def _metric_record(
    metric: Metric,
    model: VisionModel,
    sample: int | None,
    masks: Masks,
    unusual: str | None,
    *,
    labelled: bool,
) -> MetricRecord:
    """What the run says of a metric; an `unusual` precision is part of its identity."""
    skipped = metric.supports(model)
    if skipped is None and not len(model.classes):
        skipped = "the model has no classifier, so no class is explained and scored"
    if skipped is None and metric.needs_labels and not labelled:
        skipped = "no image has a label"
    if skipped is None and metric.needs_masks and not masks.paths:
        skipped = "no masks are given; --masks names their folder"
    identity = [metric.name, metric.version, metric.parameters, sample]
    if metric.needs_masks:
        identity.append(masks.sha256)
    if unusual is not None:
        identity.append(unusual)
    return MetricRecord(
        **{**metric.describe(), "check": metric.check},
        digest=digest(identity, 8),
        images=min((most for most in (sample, metric.most_images) if most is not None), default=None),
        skipped=skipped,
    )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives it back: tuples become lists."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def _model_record(model: VisionModel, card: Mapping[str, Any]) -> ModelRecord:
    return ModelRecord(
        name=model.name,
        weights=model.weights,
        weights_sha256=model.weights_sha256,
        parameters=sum(parameter.numel() for parameter in model.module.parameters()),
        blocks=model.blocks,
        heads=model.heads,
        width=model.width,
        readout=model.layout.readout.value,
        prefix_tokens=model.layout.num_prefix_tokens,
        grid=model.layout.grid,
        patch_size=model.layout.patch_size,
        input_size=model.input_size,
        transform=_plain(dict(model.preparation.config)),
        canary_sha256=model.preparation.canary_sha256(),
        explained=model.head.explained(len(model.classes)),
        head=model.head.value,
        class_names=model.classes.names,
        wordnet_ids=model.classes.wordnet_ids,
        class_names_origin=model.classes.origin,
        licence=model.licence,
        card=card,
    )
