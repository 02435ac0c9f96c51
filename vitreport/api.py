"""The Python API: all that the command line calls, and what a notebook uses."""

from __future__ import annotations

import dataclasses
import json
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitreport.engines import Engine, LocalEngine, Resources
from vitreport.errors import SettingsError, StoreError, UnsupportedModelError
from vitreport.settings import RunSettings, digest
from vitreport.store import DataRecord, Manifest, ModelRecord, Run, RunFolder, TechniqueRecord, open_run
from vitreport.store import folder as paths
from vitreport.store.schema import catalogue_table

if TYPE_CHECKING:
    from vitreport.images import Catalogue
    from vitreport.model.load import VisionModel
    from vitreport.techniques.technique import Explainable

Progress = Callable[[str, int, int], None]
"""Called with a stage (``hash``, ``explain``, ``pages`` …), units done, and units in all."""


def explain(
    settings: RunSettings,
    output: str | Path,
    *,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> Run:
    """Runs every image through the techniques and writes what they find into a run folder.

    A run that was stopped goes on where it was; techniques can be added to a finished run. Nothing that
    is there is computed again.

    Args:
        settings: what to do.
        output: the run folder; it is made where it is missing.
        engine: where the work runs; None is this process.
        progress: told how far each stage is.

    Returns:
        The finished run, for reading.

    Raises:
        SettingsError: a setting cannot be used: unknown names, weights that do not fit, no images …
        UnsupportedModelError: the model's attention cannot be read.
        StoreError: `output` holds something else or another run, or cannot be written.
    """
    from vitreport.explainer import Explainer
    from vitreport.images import build_catalogue
    from vitreport.model.environment import choose_device, device_name, environment
    from vitreport.model.load import load_model
    from vitreport.model.memory import automatic_batch_size
    from vitreport.model.targets import Targets

    watch = _Stopwatch()
    folder = RunFolder(Path(output))
    before = folder.claim()
    techniques = _select(settings.techniques)
    device = choose_device(settings.device)
    model = load_model(
        settings.model,
        checkpoint=_path(settings.checkpoint),
        labels=_path(settings.labels),
        image_size=settings.image_size,
        device=device,
    )
    card = read_card(_path(settings.model_card))
    targets = Targets.parse(settings.targets, model.classes)
    watch.lap("load")
    catalogue = build_catalogue(settings.images, model.classes, settings.limit, _stage(progress, "hash"))
    _check_labels(targets.needs_labels, catalogue)
    watch.lap("hash")
    batch_size = settings.batch_size
    if batch_size == "auto":
        batch_size = before.bound["batch size"] if before else automatic_batch_size(model)
    bound = {
        "model": [model.weights_sha256, model.layout.readout.value, model.layout.grid],
        "transform": model.preparation.canary_sha256(),
        "images": catalogue.sha256,
        "targets": list(targets.specs),
        "seed": settings.seed,
        "batch size": batch_size,
        "device": device_name(device),
        "dtype": "float32",
    }
    records = [
        TechniqueRecord(**technique.describe(), skipped=technique.supports(model)) for technique in techniques
    ]
    shards = {
        number: [ref for ref in catalogue.refs if ref.shard == number]
        for number in {ref.shard: None for ref in catalogue.refs}
    }
    manifest = Manifest(
        run_digest=digest(bound),
        bound=json.loads(json.dumps(bound)),
        settings=settings.to_mapping(),
        command=settings.command(),
        model=_model_record(model, card),
        data=DataRecord(
            catalogue_sha256=catalogue.sha256,
            images=len(catalogue.refs),
            shards=len(shards),
            labelled=sum(ref.label is not None for ref in catalogue.refs),
            notices=catalogue.notices,
        ),
        techniques=tuple(records),
        environment=environment(device),
    )
    if before is not None:
        manifest = _join(before, manifest, folder)
    explainer = Explainer(
        folder=folder,
        model=model,
        techniques=[
            (record, technique)
            for record, technique in zip(records, techniques, strict=True)
            if record.skipped is None
        ],
        targets=targets,
        shards=shards,
        paths=catalogue.paths,
        batch_size=batch_size,
        seed=settings.seed,
    )
    work = [shard for shard in shards if not explainer.is_done(shard)]
    if before is None or work or not before.complete:
        folder.commit_manifest(manifest)
        folder.write_table(paths.CATALOGUE, catalogue_table(catalogue.refs))
        total = sum(len(shards[shard]) for shard in work)
        done = 0
        for receipt in (engine or LocalEngine()).map(explainer, work, Resources()):
            done += receipt.done
            if progress:
                progress("explain", done, total)
        watch.lap("explain")
        folder.commit_manifest(_finish(manifest, folder, progress))
        watch.lap("digest")
        watch.write(folder, images=total)
    elif manifest.techniques != before.techniques:
        folder.commit_manifest(_finish(manifest, folder, progress))
    return open_run(output)


def build_report(
    run: str | Path,
    *,
    pdf: bool = True,
    pdf_images: int = 60,
    progress: Progress | None = None,
) -> Path:
    """Renders the HTML site and the PDF of a run from its store. Needs neither torch nor the images.

    Args:
        run: the run folder.
        pdf: whether to write ``report.pdf`` too.
        pdf_images: images with a sheet of their own in the PDF.
        progress: told how far each stage is.

    Returns:
        The site's ``index.html``.

    Raises:
        StoreError: `run` holds no finished run.
        RenderError: a page or the PDF cannot be drawn.
    """
    from vitreport.report.build import build_report as build

    build(Path(run), pdf=pdf, pdf_images=pdf_images, progress=progress)
    return Path(run) / "report" / "index.html"


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
            return {"description": text}
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read the model card {path}: {error}") from error
    return content if isinstance(content, dict) else {"description": str(content)}


def _select(specs: Sequence[str]) -> list[Explainable]:
    from vitreport.techniques.technique import select

    return select(specs)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _stage(progress: Progress | None, stage: str) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda done, total: progress(stage, done, total)


def _check_labels(needed: bool, catalogue: Catalogue) -> None:
    if needed and all(ref.label is None for ref in catalogue.refs):
        raise SettingsError(
            "target 'label' is asked for, but no image has a label; give a CSV with a 'label' column, "
            "folders named like classes, or the target 'predicted'"
        )


def _model_record(model: VisionModel, card: dict[str, Any]) -> ModelRecord:
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
        transform=json.loads(json.dumps(dict(model.preparation.config))),
        canary_sha256=model.preparation.canary_sha256(),
        explained="the logit of the target class, before the softmax",
        class_names=model.classes.names,
        wordnet_ids=model.classes.wordnet_ids,
        class_names_origin=model.classes.origin,
        licence=model.licence,
        card=card,
    )


def _join(before: Manifest, now: Manifest, folder: RunFolder) -> Manifest:
    """The manifest of a run that goes on, with the techniques of both.

    Raises:
        StoreError: the run that is there is another one.
    """
    if before.run_digest != now.run_digest:
        differing = [name for name in now.bound if before.bound.get(name) != now.bound[name]]
        raise StoreError(
            f"{folder.root} holds another run: the {' and the '.join(differing)} "
            f"{'differs' if len(differing) == 1 else 'differ'}; nothing was touched; choose another -o"
        )
    known = {record.key: record for record in before.techniques}
    known |= {record.key: record for record in now.techniques}
    return dataclasses.replace(now, techniques=tuple(known.values()))


def _finish(manifest: Manifest, folder: RunFolder, progress: Progress | None) -> Manifest:
    """The manifest of a complete run: counts, and the digest of every file."""
    parts = [paths.CATALOGUE]
    quarantined = failed = 0
    for shard in range(manifest.data.shards):
        status = folder.read_table(paths.images_part(shard), ["status"])["status"].to_pylist()
        quarantined += status.count("quarantined")
        parts.append(paths.images_part(shard))
        for record in manifest.techniques:
            if record.skipped is None:
                part = paths.technique_part(record, shard)
                errors = folder.read_table(part, ["error"])["error"]
                failed += len(errors) - errors.null_count
                parts.append(part)
    data = dataclasses.replace(manifest.data, quarantined=quarantined, failed=failed)
    files = {}
    for number, part in enumerate(sorted(parts)):
        files[part] = folder.sha256(part)
        if progress:
            progress("digest", number + 1, len(parts))
    return dataclasses.replace(manifest, data=data, files=files, complete=True)


class _Stopwatch:
    """Seconds of each stage; they live apart from the manifest, so that equal runs stay equal."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self._seconds[stage] = round(now - self._last, 3)
        self._last = now

    def write(self, folder: RunFolder, images: int) -> None:
        content = {"finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "explained_images": images}
        body = json.dumps({**content, "seconds": self._seconds}, indent=1)
        folder.write(paths.TIMINGS, body.encode() + b"\n")


__all__ = [
    "Progress",
    "RunSettings",
    "UnsupportedModelError",
    "build_report",
    "explain",
    "open_run",
]
