"""``results.json``: the numbers behind a PDF, attached to it for machines.

The file is JSON in ASCII with these fields:

    format          ``vitreport results``
    version         1
    run_digest      of the run, as in its manifest
    command         what reproduces the run
    part            null in ``report.pdf``, which is about the whole run; in a volume ``volume`` (its number,
                    from 1) and ``volumes`` (how many there are), in the document of one image ``image`` (id)
    model           ``name``, ``weights_sha256``, ``readout``, ``head`` (``softmax``, ``sigmoid``,
                    ``regression`` or ``none``), ``explained`` (the explained scalar)
    techniques      a list: ``key``, ``name``, ``title``, ``kind``, ``digest``, ``parameters``,
                    ``class_specific``, ``signed``, ``skipped`` (why this model cannot have it, or null)
    images          every image of the run in id order, the ones without a sheet in the PDF included; in a
                    part its own images:
        id, uri, sha256, label, group, status, reason
                    as in the store; ``label`` is a class index or null
        predictions a list of ``class`` (index), ``name`` and ``probability``, the likeliest first; where
                    the head is a regression ``value`` stands for ``probability``
        targets     the explained classes, in the same form
        techniques  keys of the techniques that gave a result for this image
        failed      a list of ``technique``, ``target`` and ``error``, a line a map or observation that
                    could not be made; ``target`` is null where the technique does not depend on the
                    class, and for observations, which fail for all classes at once

In ``report.pdf`` there are also:

    findings        what the audit of the whole set flags, the most severe first, a list: ``kind``,
                    ``severity`` (``severe``, ``warning`` or ``note``), ``subject``, ``headline``,
                    ``sentence`` (the headline and what else is to be said), ``numbers`` (by name),
                    ``images`` (ids of examples), ``technique`` (key, or null)

and, where the run was asked for scores:

    metrics         a list: ``key``, ``name``, ``title``, ``digest``, ``parameters``, ``higher_is_better``
                    (null: it ranks nothing), ``check`` (``limit``, ``above`` which column, ``reason``; null:
                    it is none), ``images`` (how many it was to score; null: all), ``skipped``
    scores          a list, a line a metric, part of the images and technique: ``metric``, ``images_of``
                    (``all``, or ``correct`` and ``wrong`` predictions), ``technique``, ``control``, ``n``
                    (images with a defined score), ``mean``, ``low`` and ``high`` (of its 95 % interval; null
                    for too few images), ``group`` (tie group, 1 is the best; null for controls), ``p_random``
                    (against the random control, after Holm's correction), ``better_than_random``,
                    ``p_controls`` and ``ahead_of_controls`` (of all controls at once, after Holm's
                    correction), ``verdict`` of a check (``passes``, ``fails``, ``undecided`` or null),
                    ``details`` (means of the metric's further numbers, by name; empty for a part); the
                    random control's draws are one line, under the first one's key

Probabilities and values are the stored float32 numbers, written so that nothing is lost. Maps stay in the
run folder.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from vitreport.analysis.finding import Finding
from vitreport.analysis.trust import Measured, Trust
from vitreport.report.outputs import Outputs
from vitreport.store import ModelRecord, Run
from vitreport.store.folder import technique_part

NAME = "results.json"
DESCRIPTION = "Predictions, explained classes and techniques of every image of the run"

_IMAGE_FIELDS = ("id", "uri", "sha256", "label", "group", "status", "reason")
_MODEL_FIELDS = ("name", "weights_sha256", "readout", "head", "explained")
_TECHNIQUE_FIELDS = (
    "key",
    "name",
    "title",
    "kind",
    "digest",
    "parameters",
    "class_specific",
    "signed",
    "skipped",
)

_METRIC_FIELDS = ("key", "name", "title", "digest", "parameters", "higher_is_better", "images", "skipped")
_SCORE_FIELDS = (
    "control",
    "n",
    "mean",
    "low",
    "high",
    "group",
    "p_random",
    "better_than_random",
    "p_controls",
    "ahead_of_controls",
    "verdict",
)


class Results:
    """Writes the attachments of a run's documents; equal runs give equal bytes."""

    def __init__(self, run: Run) -> None:
        manifest = run.manifest
        model = manifest.model
        given, failed = _given(run)
        self._head = {
            "format": "vitreport results",
            "version": 1,
            "run_digest": manifest.run_digest,
            "command": manifest.command,
            "model": {name: getattr(model, name) for name in _MODEL_FIELDS},
            "techniques": [
                {name: getattr(record, name) for name in _TECHNIQUE_FIELDS} for record in run.techniques
            ],
        }
        self._images = {
            row["id"]: {name: row[name] for name in _IMAGE_FIELDS}
            | {
                "predictions": _classes(model, row["top_index"], row["top_probability"]),
                "targets": _classes(model, row["targets"], row["target_probability"]),
                "techniques": given.get(row["id"], []),
                "failed": failed.get(row["id"], []),
            }
            for row in sorted(run.images.to_pylist(), key=lambda row: row["id"])
        }

    def whole(self, trust: Trust | None = None, findings: Sequence[Finding] = ()) -> bytes:
        """The attachment about the whole run, with its `trust` and its `findings`."""
        body = self._head | {
            "part": None,
            "images": list(self._images.values()),
            "findings": [one.as_json() for one in findings],
        }
        if trust is not None:
            body |= {"metrics": _metrics(trust), "scores": _scores(trust)}
        return _written(body)

    def part(self, ids: Collection[str], part: Mapping[str, int | str]) -> bytes:
        """The attachment about some images, in the order of their ids; `part` says which they are."""
        images = [self._images[image_id] for image_id in sorted(ids)]
        return _written(self._head | {"part": dict(part), "images": images})


def results(run: Run, trust: Trust | None = None, findings: Sequence[Finding] = ()) -> bytes:
    """The attachment for the whole of `run`, its `trust` and its `findings`."""
    return Results(run).whole(trust, findings)


def _written(body: Mapping[str, Any]) -> bytes:
    return (json.dumps(body, indent=1, sort_keys=True) + "\n").encode("ascii")


def _metrics(trust: Trust) -> list[dict[str, Any]]:
    ran = (one.record for one in trust.measured)
    return [
        {name: getattr(record, name) for name in _METRIC_FIELDS}
        | {"check": asdict(record.check) if record.check else None}
        for record in (*ran, *trust.skipped)
    ]


def _scores(trust: Trust) -> list[dict[str, Any]]:
    parts = [
        (one, part, rows)
        for one in trust.measured
        for part, rows in (
            ("all", one.rows),
            ("correct", one.correct.rows if one.correct else ()),
            ("wrong", one.wrong.rows if one.wrong else ()),
        )
    ]
    return [
        {"metric": one.record.key, "images_of": part, "technique": row.key}
        | {name: getattr(row, name) for name in _SCORE_FIELDS}
        | {"details": _details(one, row.key) if part == "all" else {}}
        for one, part, rows in parts
        for row in rows
    ]


def _details(one: Measured, key: str) -> dict[str, float | None]:
    means = {name: values[key] for name, values in one.details.items()}
    return {name: value if isfinite(value) else None for name, value in means.items()}


def _classes(
    model: ModelRecord, indices: list[int] | None, scores: list[float] | None
) -> list[dict[str, Any]]:
    names, kind = model.class_names, Outputs.of(model).score
    return [
        {"class": index, "name": names[index] if index < len(names) else f"class {index}", kind: score}
        for index, score in zip(indices or (), scores or (), strict=True)
    ]


def _given(run: Run) -> tuple[dict[str, list[str]], dict[str, list[dict[str, Any]]]]:
    """By image id: the techniques that gave something, and the ones that failed."""
    given: dict[str, list[str]] = defaultdict(list)
    failed: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in run.techniques:
        if record.skipped:
            continue
        columns = ["id", "target", "error"] if record.kind == "map" else ["id", "error"]
        for shard in run.shards:
            table = run.folder.read_table(technique_part(record, shard), columns)
            done: dict[str, None] = {}
            for row in table.to_pylist():
                if row["error"]:
                    trouble = {
                        "technique": record.key,
                        "target": row.get("target"),
                        "error": row["error"],
                    }
                    failed[row["id"]].append(trouble)
                else:
                    done[row["id"]] = None
            for image_id in done:
                given[image_id].append(record.key)
    return given, failed
