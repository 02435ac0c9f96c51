"""A finished run made of numpy alone: what the report wing's tests render, without torch or a model."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from PIL import Image

from vitreport.explanation import Attribution, Explanation, FloatArray, ImageRef, PixelMap, Prediction, View
from vitreport.settings import SHARD_SIZE, digest
from vitreport.store import Check, DataRecord, Manifest, MetricRecord, ModelRecord, RunFolder, TechniqueRecord
from vitreport.store import folder as paths
from vitreport.store.schema import (
    catalogue_table,
    images_table,
    maps_table,
    observations_table,
    scores_table,
)

ROWS, COLS, BLOCKS, HEADS = 6, 8, 4, 3
FAILURE = "ValueError: the technique met its match"
COLUMNS = {
    "class_attention": dict.fromkeys(("blocks", "heads", "rows", "cols"), "int32")
    | {"values": "list<float16>"},
    "qkv": {"target": "int32", "pattern": "string"}
    | dict.fromkeys(("rank", "block", "head", "channel"), "int32")
    | {"score": "float32", "rows": "int32", "cols": "int32"}
    | dict.fromkeys("qkv", "list<float32>"),
    "logit_lens": {"blocks": "int32", "classes": "list<int32>"}
    | dict.fromkeys(("logits", "scores"), "list<float32>")
    | {"first": "list<int32>"},
    "token_norms": dict.fromkeys(("blocks", "prefix", "rows", "cols"), "int32")
    | dict.fromkeys(("prefix_values", "values"), "list<float32>"),
    "patch_rollout": dict.fromkeys(("prefix", "rows", "cols"), "int32")
    | dict.fromkeys(("readout", "own", "scales"), "list<float32>")
    | {"values": "list<uint8>"},
}
NO_CLASS = "the model has no classifier, so there is no class to explain"
CLASSES = ("disc", "square", "triangle", "star", "cross")


CONTROLS = ("random", "centre", "edges")
HIDDEN = [0.0, 0.25, 0.5, 0.75, 1.0]
QUALITY = {"gradient_rollout": 0.5, "raw_attention": 0.3, "signed_example": -0.2}
"""Roughly what a technique's relevance gain is; others have 0.1, controls 0."""


def technique_record(
    name: str, kind: str = "map", *, signed: bool = False, class_specific: bool = False, **given: object
) -> TechniqueRecord:
    defaults = {"attention_rollout": {"fusion": "mean", "discard_ratio": 0.0, "discard": "patches"}}.get(
        name, {}
    )
    parameters = {**defaults, **given}
    tail = ",".join(f"{key}={value}" for key, value in sorted(given.items()) if defaults[key] != value)
    return TechniqueRecord(
        key=f"{name}:{tail}" if tail else name,
        name=name,
        digest=digest([name, parameters], 8),
        parameters=parameters,
        defaults=defaults,
        parameter_help=dict.fromkeys(defaults, "What the parameter does."),
        kind=kind,  # type: ignore[arg-type]
        title=name.replace("_", " ").capitalize(),
        family="control" if name in CONTROLS else "attention",
        tier="core",
        class_specific=class_specific,
        signed=signed,
        source="Author, A. (2020). A title. arXiv:2005.00928, eq. 1.",
        shows="Which patches the readout draws on.",
        does_not_show="Why the model chose this class.",
        columns=COLUMNS.get(name, {}),
    )


def techniques() -> tuple[TechniqueRecord, ...]:
    rollout = [technique_record("attention_rollout", fusion=fusion) for fusion in ("mean", "max", "min")]
    sweep = [
        technique_record("attention_rollout", fusion="max", discard_ratio=ratio)
        for ratio in (0.5, 0.8, 0.9, 0.95)
    ]
    return (
        technique_record("raw_attention"),
        *rollout,
        *sweep,
        technique_record("gradient_rollout", class_specific=True),
        technique_record("random"),
        technique_record("centre"),
        technique_record("signed_example", signed=True, class_specific=True),
        technique_record("class_attention", "observation"),
        technique_record("qkv", "observation", class_specific=True),
        technique_record("logit_lens", "observation"),
        technique_record("token_norms", "observation"),
        technique_record("patch_rollout", "observation"),
    )


def metric_record(
    name: str,
    *,
    short: str,
    higher_is_better: bool | None = True,
    columns: Mapping[str, str] | None = None,
    skipped: str | None = None,
    images: int | None = None,
    check: Check | None = None,
    details: Mapping[str, str] | None = None,
    **given: object,
) -> MetricRecord:
    defaults = {"relevance_gain": {"occluder": "token_drop", "steps": 4}}.get(name, {})
    parameters = {**defaults, **given}
    tail = ",".join(f"{key}={value}" for key, value in sorted(given.items()) if defaults[key] != value)
    return MetricRecord(
        key=f"{name}:{tail}" if tail else name,
        name=name,
        digest=digest([name, parameters], 8),
        parameters=parameters,
        defaults=defaults,
        parameter_help=dict.fromkeys(defaults, "what the parameter does"),
        title=f"{name.replace('_', ' ').capitalize()} ({short})",
        source="Author, A. (2024). A metric. arXiv:2401.06654, eq. 4.",
        measures="What hiding patches costs.",
        does_not_measure="What a person would point at.",
        short=short,
        higher_is_better=higher_is_better,
        columns=columns or {},
        images=images,
        skipped=skipped,
        check=check,
        details=details or {},
    )


CURVES = dict.fromkeys(("hidden", "most_first", "least_first"), "list<float>")


def metrics() -> tuple[MetricRecord, ...]:
    """The headline, a check, one where less is better, one with notes, one that describes, one skipped."""
    return (
        metric_record("relevance_gain", short="SRG", columns=CURVES),
        metric_record(
            "randomisation",
            short="Random weights",
            higher_is_better=None,
            check=Check(0.2, "Why <this> limit.", above="chance"),
            columns={"chance": "float", "emprt": "float"},
            details={"emprt": "rise of <entropy>"},
        ),
        metric_record("completeness", short="Completeness", higher_is_better=False),
        metric_record("mask_agreement", short="Masks", columns={"note": "string"}),
        metric_record("concentration", short="Gini", higher_is_better=None),
        metric_record("grid_pointing", short="Mosaic", skipped="no image has a <label>"),
    )


def controls() -> tuple[TechniqueRecord, ...]:
    """What is scored beside the techniques, without maps in the store."""
    drawn = [
        replace(technique_record("random"), key=f"random:draw={draw}", digest=f"{draw:08x}")
        for draw in (1, 2)
    ]
    return (*drawn, technique_record("edges"))


def write_scores(
    root: Path,
    *,
    by: Sequence[MetricRecord] | None = None,
    most: int | None = None,
    undefined: Sequence[str] = ("attention_rollout:fusion=min",),
    partial: Mapping[str, int] | None = None,
    seed: int = 0,
    quality: Mapping[str, float] | None = None,
) -> Path:
    """Adds scores to a run that `write_run` wrote.

    Args:
        root: the run folder.
        by: the metrics; by default those of `metrics`.
        most: how many images are scored, the first ones; None takes all that have a target.
        undefined: keys of techniques whose maps say nothing.
        partial: by key how many images have a score; techniques that are not named have all.
        seed: of all values.
        quality: roughly what the relevance gain of a technique is, by key or name.
    """
    rng = np.random.default_rng(seed + 1000)
    folder = RunFolder(root)
    manifest = folder.manifest()
    chosen = tuple(metrics() if by is None else by)
    have = {record.key for record in manifest.techniques}
    beside = tuple(record for record in controls() if record.key not in have)
    maps = [record for record in manifest.techniques if record.kind == "map" and not record.skipped]
    rows = []
    for shard in range(manifest.data.shards):
        table = folder.read_table(paths.images_part(shard), ["id", "targets"])
        rows += [(row["id"], row["targets"][0]) for row in table.to_pylist() if row["targets"]]
    level = {image_id: rng.normal(0, 0.05) for image_id, _ in rows[:most]}
    files = dict(manifest.files)
    for metric in chosen:
        if metric.skipped:
            continue
        for record in (*maps, *beside):
            if record.most_images is not None:
                continue
            gain = {**QUALITY, **(quality or {})}
            size = gain.get(record.key, gain.get(record.name, 0.0 if record.family == "control" else 0.1))
            scored = []
            for place, (image_id, target) in enumerate(rows[:most]):
                value: float | None = size + level[image_id] + rng.normal(0, 0.03)
                silent = record.key in undefined or place >= (partial or {}).get(record.key, len(rows))
                if silent or (metric.name == "completeness" and record.name != "signed_example"):
                    value = None
                scored.append({"id": image_id, "target": target, "value": value, **_columns(metric, value)})
            path = paths.score_part(metric, record, 0)
            folder.write_table(path, scores_table(scored, metric.columns))
            files[path] = folder.sha256(path)
    folder.commit_manifest(replace(manifest, metrics=chosen, controls=beside, files=files))
    return root


def _columns(metric: MetricRecord, value: float | None) -> dict[str, object]:
    found: dict[str, object] = {}
    if "note" in metric.columns:
        found["note"] = "the mask shows <nothing>" if value is None else None
    if "chance" in metric.columns:
        found |= {"chance": 0.05, "emprt": None if value is None else 0.25}
    if "hidden" in metric.columns:
        hidden = np.array(HIDDEN)
        bent = hidden * (1 - hidden) * 3 * (value or 0)  # its area is half the value
        found |= {
            "hidden": HIDDEN,
            "most_first": (0.9 * (1 - hidden) - bent).tolist(),
            "least_first": (0.9 * (1 - hidden) + bent).tolist(),
        }
    return found


def write_run(
    root: Path,
    images: int = 5,
    *,
    quarantined: int = 1,
    targets: tuple[int, ...] = (1, 3),
    uris: tuple[str, ...] = (),
    labelled: bool = True,
    seed: int = 0,
    failing: tuple[str, ...] = (),
    untargeted: int = 0,
    head: Literal["softmax", "sigmoid", "regression", "none"] = "softmax",
    classes: tuple[str, ...] = CLASSES,
    in_pixels: tuple[str, ...] = (),
) -> Path:
    """Writes a complete run.

    Args:
        root: the run folder.
        images: how many there are.
        quarantined: how many of them, the last ones, are unusable.
        targets: the explained classes of every image.
        uris: of the first images.
        labelled: whether images have labels.
        seed: of all values.
        failing: techniques that failed on every image.
        untargeted: how many images, the first ones, have no label and therefore no explained class.
        head: of the model.
        classes: names of its outputs; without any, techniques that depend on a class are skipped.
        in_pixels: techniques whose maps are kept pixel by pixel too.
    """
    rng = np.random.default_rng(seed)
    refs = []
    for number in range(images):
        sha256 = hashlib.sha256(f"{seed} {number}".encode()).hexdigest()
        uri = uris[number] if number < len(uris) else f"photos/picture_{number:03d}.jpg"
        label = int(rng.integers(len(CLASSES))) if labelled and number >= untargeted else None
        refs.append(
            ImageRef(sha256[:16], uri, sha256, 1000 + number, label, "indoor" if number % 2 else "outdoor")
        )
    refs.sort(key=lambda ref: ref.id)
    refs = [ImageRef(**{**ref.__dict__, "shard": number // SHARD_SIZE}) for number, ref in enumerate(refs)]
    explained = {ref.id: targets if ref.label is not None or not untargeted else () for ref in refs}
    bad = {ref.id for ref in refs[images - quarantined :]}
    records = tuple(
        replace(record, skipped=NO_CLASS if _needs_a_class(record) and not classes else None)
        for record in techniques()
    )
    folder = RunFolder(root)
    folder.claim()
    written = [paths.CATALOGUE]
    folder.write_table(paths.CATALOGUE, catalogue_table(refs))
    shards = max(ref.shard for ref in refs) + 1
    for shard in range(shards):
        members = [ref for ref in refs if ref.shard == shard]
        explanations = [
            Explanation(ref, reason="the file is truncated")
            if ref.id in bad
            else _explanation(ref, explained[ref.id], rng, head, len(classes))
            for ref in members
        ]
        tables = {paths.images_part(shard): images_table(explanations)}
        usable = [ref for ref in members if ref.id not in bad]
        said = {found.ref.id: found.predictions for found in explanations}
        for record in records:
            if record.skipped:
                continue
            tables[paths.technique_part(record, shard)] = _technique_table(
                record, usable, explained, said, rng, failing, in_pixels
            )
        for path, table in tables.items():
            folder.write_table(path, table)
            written.append(path)
    manifest = Manifest(
        run_digest="0" * 64,
        bound={"seed": 0, **({"pixel maps": "float16"} if in_pixels else {})},
        settings={"images": ["photos"], "targets": [str(target) for target in targets]},
        command="vitreport run photos --model tiny_vit_for_tests -o RUN",
        model=ModelRecord(
            name="tiny_vit_for_tests",
            weights="weights.safetensors",
            weights_sha256="ab" * 32,
            parameters=123456,
            blocks=BLOCKS,
            heads=HEADS,
            width=48,
            readout="class token",
            prefix_tokens=1,
            grid=(ROWS, COLS),
            patch_size=(16, 16),
            input_size=(ROWS * 16, COLS * 16),
            transform={
                "input_size": [3, 96, 128],
                "interpolation": "bicubic",
                "mean": [0.5] * 3,
                "std": [0.5] * 3,
                "crop_pct": 0.9,
                "crop_mode": "center",
            },
            canary_sha256="cd" * 32,
            explained="the logit of the target class",
            class_names=classes,
            wordnet_ids=(),
            class_names_origin="the file labels.txt",
            head=head,
        ),
        data=DataRecord(
            catalogue_sha256="ef" * 32,
            images=images,
            shards=shards,
            labelled=images - untargeted if labelled else 0,
            quarantined=quarantined,
            notices=("the column 'label' of photos.csv holds no class of this model; it is used as a group",),
        ),
        techniques=records,
        environment={"python": "3.11.7", "torch": "2.6.0", "device": "cpu", "dtype": "float32", "threads": 2},
        complete=True,
        files={path: folder.sha256(path) for path in sorted(written)},
    )
    folder.commit_manifest(manifest)
    return root


def _needs_a_class(record: TechniqueRecord) -> bool:
    return record.class_specific or record.name == "logit_lens"


def _explanation(
    ref: ImageRef, targets: tuple[int, ...], rng: np.random.Generator, head: str, outputs: int
) -> Explanation:
    width, height = COLS * 16, ROWS * 16
    y, x = np.mgrid[0:height, 0:width]
    centre = rng.uniform(0.3, 0.7, 2)
    disc = ((x / width - centre[0]) ** 2 + (y / height - centre[1]) ** 2) < 0.03
    pixels = np.stack([x * 255 / width, y * 255 / height, np.where(disc, 250, 60)], -1).astype(np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=90)
    order = rng.permutation(outputs)
    scores = {
        "softmax": lambda: rng.dirichlet(np.ones(outputs) * 0.5),
        "sigmoid": lambda: rng.random(outputs),
        "regression": lambda: rng.normal(0, 500, outputs),
        "none": lambda: np.zeros(0),
    }[head]()
    predictions = tuple(
        Prediction(int(index), float(score))
        for index, score in zip(order, np.sort(scores)[::-1], strict=True)
    )
    by_index = {prediction.index: prediction for prediction in predictions}
    return Explanation(
        ref,
        view=View(encoded.getvalue(), width, height, (10.0, 5.0, 310.0, 230.0), (320, 240)),
        predictions=predictions,
        targets=tuple(by_index[target] for target in targets),
    )


def _blob(rng: np.random.Generator) -> FloatArray:
    y, x = np.mgrid[0:ROWS, 0:COLS]
    row, col = rng.uniform(1, ROWS - 1), rng.uniform(1, COLS - 1)
    blob = np.exp(-((y - row) ** 2 + (x - col) ** 2) / 3) + 0.15 * rng.random((ROWS, COLS))
    return blob.astype(np.float32)


def _pixels(values: FloatArray) -> PixelMap:
    """A map pixel by pixel, stripes within every patch, whose sums over patches are `values`."""
    stripes = np.tile(np.float32([0, 2]) / 256, (ROWS * 16, COLS * 8))
    pixels = np.kron(values, np.ones((16, 16), np.float32)) * stripes
    scale = float(np.abs(pixels).max())
    return PixelMap((pixels / scale).astype(np.float16), scale)


def _technique_table(
    record: TechniqueRecord,
    refs: list[ImageRef],
    targets: Mapping[str, tuple[int, ...]],
    said: Mapping[str, Sequence[Prediction]],
    rng: np.random.Generator,
    failing: tuple[str, ...],
    in_pixels: tuple[str, ...],
) -> pa.Table:
    if record.name in failing and record.kind == "observation":
        return observations_table([{"id": ref.id, "error": FAILURE} for ref in refs], record.columns)
    if record.name == "class_attention":
        return observations_table(class_attention_rows(refs, rng), record.columns)
    if record.name == "qkv":
        chosen = [ref for ref in refs if targets[ref.id]]
        first = next((targets[ref.id][0] for ref in chosen), 0)
        return observations_table(qkv_rows(chosen, first, rng), record.columns)
    if record.name == "logit_lens":
        return observations_table([lens_row(ref, said[ref.id]) for ref in refs], record.columns)
    if record.name == "token_norms":
        return observations_table(token_norm_rows(refs, rng), record.columns)
    if record.name == "patch_rollout":
        return observations_table([patch_rollout_row(ref, rng) for ref in refs], record.columns)
    rows = []
    for ref in refs:
        for target in targets[ref.id] if record.class_specific else (None,):
            if record.name in failing:
                nothing = np.zeros((0, 0), np.float32)
                rows.append((ref.id, Attribution(record.key, target, nothing, FAILURE)))
                continue
            values = _blob(rng) - (_blob(rng) if record.signed else 0)
            pixels = _pixels(values) if record.name in in_pixels else None
            rows.append((ref.id, Attribution(record.key, target, np.float32(values), pixels=pixels)))
    return maps_table(rows)


def class_attention_rows(refs: list[ImageRef], rng: np.random.Generator) -> list[dict[str, object]]:
    """Readout attention ``(blocks, heads, rows, cols)`` of every image."""
    shape = {"blocks": BLOCKS, "heads": HEADS, "rows": ROWS, "cols": COLS}
    return [
        {
            "id": ref.id,
            **shape,
            "values": np.stack([_blob(rng) for _ in range(BLOCKS * HEADS)]).astype(np.float16).ravel(),
        }
        for ref in refs
    ]


def qkv_rows(refs: list[ImageRef], target: int, rng: np.random.Generator) -> list[dict[str, object]]:
    """Per image and pattern the best channels, with their raw q, k and v pictures."""
    return [
        {
            "id": ref.id,
            "target": target,
            "pattern": pattern,
            "rank": rank,
            "block": int(rng.integers(BLOCKS)),
            "head": int(rng.integers(HEADS)),
            "channel": int(rng.integers(16)),
            "score": 0.9 - 0.1 * rank,
            "rows": ROWS,
            "cols": COLS,
            **{name: (_blob(rng) * 4 - 2).ravel() for name in "qkv"},
        }
        for ref in refs
        for pattern in ("one_way", "two_way")
        for rank in range(3)
    ]


def lens_row(ref: ImageRef, predictions: Sequence[Prediction]) -> dict[str, object]:
    """From the scores turned round in the first block to those of `predictions` in the last."""
    final = np.array([prediction.probability for prediction in predictions], np.float32)
    shares = np.linspace(0, 1, BLOCKS, dtype=np.float32)[:, None]
    scores = (1 - shares) * final[::-1] + shares * final
    classes = [prediction.index for prediction in predictions]
    return {
        "id": ref.id,
        "blocks": BLOCKS,
        "classes": classes,
        "logits": scores.ravel(),
        "scores": scores.ravel(),
        "first": [classes[position] for position in scores.argmax(1)],
    }


def token_norm_rows(refs: list[ImageRef], rng: np.random.Generator) -> list[dict[str, object]]:
    """Norms ``(blocks, rows, cols)`` of every image, and of one prefix token."""
    return [
        {
            "id": ref.id,
            "blocks": BLOCKS,
            "prefix": 1,
            "rows": ROWS,
            "cols": COLS,
            "prefix_values": 10 + np.arange(BLOCKS, dtype=np.float32),
            "values": np.stack([10 * _blob(rng) for _ in range(BLOCKS)]).ravel(),
        }
        for ref in refs
    ]


def patch_rollout_row(ref: ImageRef, rng: np.random.Generator) -> dict[str, object]:
    """Rollout between all tokens; every patch draws most from itself, then from its right neighbour."""
    tokens = 1 + ROWS * COLS
    matrix = 0.2 * rng.random((tokens, tokens)) + np.eye(tokens) + 0.5 * np.eye(tokens, k=1)
    matrix /= matrix.sum(1, keepdims=True)
    own = matrix.diagonal().astype(np.float32)
    np.fill_diagonal(matrix, 0)
    scales = matrix.max(0)
    return {
        "id": ref.id,
        "prefix": 1,
        "rows": ROWS,
        "cols": COLS,
        "readout": [1.0, *[0.0] * (tokens - 1)],
        "own": own,
        "scales": scales.astype(np.float32),
        "values": np.rint(255 * matrix / scales).astype(np.uint8).ravel(),
    }
