"""The page that holds all that is on record of a run: what a reviewer files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from vitreport.report.audit_names import AuditNames
from vitreport.report.chapter import Chapter, Download, Section, Table, table
from vitreport.report.csv_file import csv_text
from vitreport.report.outputs import Outputs
from vitreport.report.wording import count, plain, setting
from vitreport.store import Run

PATH, TITLE = "analysis/record.html", "The run on record"
FILES = "analysis/files.csv"
MOST_EXCLUSIONS = 200
"""Images that could not be used, in the table; the file of checksums has all."""


def record_chapter(names: AuditNames) -> Chapter:
    """Model, data, preprocessing, environment, method and results, with the digests of each."""
    run = names.run
    manifest = run.manifest
    data = manifest.data
    command = Section("command", "The command that reproduces the run", (manifest.command,))
    sections = [
        *([command] if manifest.command else []),
        Section("model", "Model", tables=(_model(run),)),
        Section("data", "Data", _data_words(run), tables=tuple(_data_tables(names))),
        Section(
            "preprocessing",
            "Preprocessing",
            (
                "The canary is a fixed picture that went through the same transform; whoever reproduces "
                "the run "
                "must get the same digest.",
            ),
            tables=(
                _facts(
                    "Preprocessing",
                    {**manifest.model.transform, "canary SHA-256": manifest.model.canary_sha256},
                ),
            ),
        ),
        Section("environment", "Environment", tables=(_facts("Environment", manifest.environment),)),
        Section("method", "Method", _method_words(run), tables=(_techniques(run), *_metrics(run))),
        Section("settings", "Settings as they were given", tables=(_facts("Settings", manifest.settings),)),
    ]
    failed = f"; {count(data.failed, 'result')} failed" if data.failed else "; no result failed"
    return Chapter(
        path=PATH,
        kicker="Analysis",
        title=TITLE,
        lead=f"{count(data.images - data.quarantined, 'image')} of {data.images:,} explained{failed}. "
        "Run digest "
        f"{manifest.run_digest}.",
        sections=tuple(sections),
        setup='from vitreport import open_run\n\nrun = open_run("RUN")\n',
        code="print(run.manifest.run_digest, run.manifest.model.weights_sha256)\n"
        "print(run.manifest.environment)\n"
        "for image in run.catalogue:\n"
        "    print(image.uri, image.sha256)",
        downloads=(_files(run),),
    )


def _facts(label: str, values: Mapping[str, object]) -> Table:
    rows = [[name.replace("_", " "), plain(value) or "none"] for name, value in values.items()]
    return table(label, ("What", "Value"), rows)


def _model(run: Run) -> Table:
    model = run.manifest.model
    return _facts(
        "Model",
        {
            "name": model.name,
            "licence": model.licence or "not stated",
            "weights": model.weights,
            "weights SHA-256": model.weights_sha256,
            "parameters": f"{model.parameters:,}",
            "head": Outputs.of(model).fact,
            "readout": model.readout,
            "what is explained": model.explained,
            "class names": model.class_names_origin,
            **{str(name): value for name, value in model.card.items()},
        },
    )


def _data_words(run: Run) -> tuple[str, ...]:
    data = run.manifest.data
    words = (
        f"{count(data.images, 'image')}, {data.labelled:,} with a label, {data.quarantined:,} set "
        "aside. Digest of "
        f"the catalogue: {data.catalogue_sha256}.",
    )
    return (*words, *data.notices)


def _data_tables(names: AuditNames) -> list[Table]:
    said = names.audit.outcomes
    labels = Counter(said.label[said.label >= 0].tolist())
    tables = []
    if labels:
        order = sorted(labels.items(), key=lambda pair: (-pair[1], pair[0]))
        tables.append(
            table(
                "Images by label",
                ("Label", "#Images"),
                [[names.class_cell(index), f"{amount:,}"] for index, amount in order],
            )
        )
    aside = [row for row in names.rows.values() if row.reason is not None]
    if aside:
        further = len(aside) - MOST_EXCLUSIONS
        tables.append(
            table(
                "Images set aside",
                ("File", "Reason"),
                [[row.uri, row.reason or ""] for row in aside[:MOST_EXCLUSIONS]],
                f"and {count(further, 'further image')}" if further > 0 else "",
            )
        )
    return tables


def _method_words(run: Run) -> tuple[str, ...]:
    settings = run.manifest.settings
    return (
        f"Explained: {run.manifest.model.explained}, for {plain(settings.get('targets', ()))}. Every "
        "random draw is "
        f"seeded with {plain(settings.get('seed', 0))} and the image’s id.",
        "How long each stage took is in timings.json of the run folder; it is not here, so that equal "
        "runs give "
        "equal reports.",
        "A map is no causal proof. Faithfulness depends on the occluder. Localisation is not "
        "faithfulness. The "
        "report claims no conformity with any rule.",
    )


def _techniques(run: Run) -> Table:
    rows = [
        [
            record.title,
            setting(record) or "no parameters",
            f"did not run: {record.skipped}" if record.skipped else "ran",
            record.source,
        ]
        for record in run.techniques
    ]
    return table("Techniques", ("Technique", "Parameters", "Outcome", "Source"), rows)


def _metrics(run: Run) -> list[Table]:
    rows = [
        [
            record.title,
            setting(record) or "no parameters",
            f"did not run: {record.skipped}" if record.skipped else "ran",
            record.source,
        ]
        for record in run.manifest.metrics
    ]
    return [table("Metrics", ("Metric", "Parameters", "Outcome", "Source"), rows)] if rows else []


def _files(run: Run) -> Download:
    """One row an image, in the order of the ids; a published copy has neither checksums nor sizes."""
    outcome = {row["id"]: row for row in run.images.select(["id", "status", "reason"]).to_pylist()}
    published = bool(run.manifest.published)
    heads = ["id", "file", *([] if published else ["sha256", "bytes"]), "label", "status", "reason"]
    rows = (
        [
            image.id,
            image.uri,
            *([] if published else [image.sha256, image.size]),
            image.label,
            outcome[image.id]["status"],
            outcome[image.id]["reason"],
        ]
        for image in sorted(run.catalogue, key=lambda image: image.id)
    )
    text = "Every image with its outcome (CSV)" if published else "Every file with its SHA-256 (CSV)"
    return Download(FILES, text, csv_text(heads, rows).encode())
