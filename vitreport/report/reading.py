"""From a run to the views of its index, technique and list pages (images: `image_reading`)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from vitreport.analysis.trust import Trust
from vitreport.figures.scale import Scale
from vitreport.report.audit_reading import audit_page
from vitreport.report.chapter import AuditPage
from vitreport.report.failure_reading import FailedResult, failed_results, failures
from vitreport.report.outputs import EVEN, Outputs
from vitreport.report.pages import (
    ClassView,
    Fact,
    ImageRow,
    IndexPage,
    Slice,
    Slices,
)
from vitreport.report.technique_page import ParameterView, SettingView, TechniquePage
from vitreport.report.trust_page import TechniqueScore, TrustPage
from vitreport.report.trust_reading import trust_page
from vitreport.report.wording import count, file_name, percent, plain, setting, short_class, tier_text
from vitreport.settings import format_parameter
from vitreport.store import Manifest, ModelRecord, Run, TechniqueRecord

SLICES_SHOWN = 12
"""Labels or groups in a table; the rest are counted."""


def class_view(model: ModelRecord, index: int, score: float | None = None) -> ClassView:
    """The class with this index, named where the model has a name for it."""
    names = model.class_names
    name = names[index] if 0 <= index < len(names) else f"class {index}"
    return ClassView(index, name, short_class(name), score, Outputs.of(model).text(score))


def image_rows(run: Run) -> tuple[ImageRow, ...]:
    """Every image of the run, in the order of their files' names."""
    wanted = ["id", "uri", "label", "group", "status", "reason", "top_index", "top_probability"]
    columns = run.images.select(wanted).to_pylist()
    shards = {ref.id: ref.shard for ref in run.catalogue}
    rows = (_image_row(row, run.manifest.model, shards[row["id"]]) for row in columns)
    return tuple(sorted(rows, key=lambda row: (row.uri, row.id)))


def _image_row(row: Mapping[str, object], model: ModelRecord, shard: int) -> ImageRow:
    label, indices, scores = row["label"], row["top_index"], row["top_probability"]
    outputs = Outputs.of(model)
    predicted = None
    if isinstance(indices, list) and isinstance(scores, list) and indices:
        predicted = class_view(model, indices[0], scores[0])
    judged = outputs.judged and predicted is not None and isinstance(label, int)
    group = row["group"]
    reason = str(row["reason"] or "no reason given") if row["status"] == "quarantined" else None
    return ImageRow(
        id=str(row["id"]),
        name=file_name(str(row["uri"])),
        uri=str(row["uri"]),
        shard=shard,
        label=class_view(model, label) if isinstance(label, int) else None,
        group=None if group is None else str(group),
        predicted=predicted,
        correct=predicted.index == label if predicted is not None and judged else None,
        reason=reason,
        outputs=outputs,
    )


def index_page(run: Run, scales: Mapping[str, Scale], trust: Trust | None = None) -> IndexPage:
    """The start page.

    Args:
        run: the run.
        scales: `scale_reading.dataset_scales` of it.
        trust: `vitreport.analysis.trust.trust` of it.
    """
    manifest = run.manifest
    rows = image_rows(run)
    found = trust_page(run, trust)
    techniques = technique_pages(run, scales, found)
    audit = audit_page(run, trust, rows)
    return IndexPage(
        title=f"Explanation report: {manifest.model.name}",
        outputs=Outputs.of(manifest.model),
        summary=_summary(manifest, rows, techniques, found, audit),
        model=_model_facts(manifest),
        data=_data_facts(manifest, rows),
        slices=tuple(filter(None, (_slices("label", rows), _slices("group", rows)))),
        notices=manifest.data.notices,
        techniques=techniques,
        provenance=_provenance(manifest),
        command=manifest.command,
        rows=rows,
        trust=found,
        audit=audit,
        published=manifest.published,
    )


def technique_pages(
    run: Run, scales: Mapping[str, Scale], trust: TrustPage | None = None
) -> tuple[TechniquePage, ...]:
    """One page a technique name, in the order of the run, with all its settings."""
    by_name: dict[str, list[TechniqueRecord]] = defaultdict(list)
    for record in run.techniques:
        by_name[record.name].append(record)
    failed = failed_results(run)
    scores = trust.by_technique if trust else {}
    return tuple(
        _technique_page(records, scales, failed, scores.get(name, ())) for name, records in by_name.items()
    )


def _technique_page(
    records: list[TechniqueRecord],
    scales: Mapping[str, Scale],
    failed: Mapping[str, Sequence[FailedResult]],
    scores: tuple[TechniqueScore, ...],
) -> TechniquePage:
    first = records[0]
    reasons = [record.skipped for record in records]
    return TechniquePage(
        name=first.name,
        title=first.title,
        family=first.family,
        tier=tier_text(first),
        kind=first.kind,
        class_specific=first.class_specific,
        signed=first.signed,
        source=first.source,
        shows=first.shows,
        does_not_show=first.does_not_show,
        differs=first.differs,
        licence_note=first.licence_note,
        skipped=first.skipped if all(reasons) else None,
        failures=failures([result for record in records for result in failed.get(record.key, ())]),
        facts=_technique_facts(first),
        settings=tuple(
            SettingView(
                key=record.key,
                words=setting(record) or "no parameters",
                record=record,
                parameters=tuple(
                    ParameterView(
                        name,
                        format_parameter(value),
                        format_parameter(record.defaults[name]) if name in record.defaults else "",
                        record.parameter_help.get(name, ""),
                    )
                    for name, value in record.parameters.items()
                ),
                scale=scales.get(record.key),
                failures=failures(failed.get(record.key, ())),
            )
            for record in records
        ),
        scores=scores,
    )


def _technique_facts(record: TechniqueRecord) -> tuple[Fact, ...]:
    facts = [Fact("Name", record.name), Fact("Family", record.family)]
    facts.append(
        Fact("Tier", "none: it runs where it is asked for by name" if record.opt_in else record.tier)
    )
    if record.class_specific:
        facts.append(Fact("Depends on the class", "yes: every explained class has its own result"))
    else:
        facts.append(Fact("Depends on the class", "no: the result is the same for every class"))
    if record.kind == "observation":
        return (*facts, Fact("Kind of result", "an observation: pictures and numbers, not a map to score"))
    if record.signed:
        facts.append(Fact("Sign", "signed: below zero means evidence against the class"))
    else:
        facts.append(Fact("Sign", "unsigned: more means more relevant"))
    return tuple(facts)


def _summary(
    manifest: Manifest,
    rows: Sequence[ImageRow],
    techniques: Sequence[TechniquePage],
    trust: TrustPage | None,
    audit: AuditPage | None,
) -> tuple[str, ...]:
    explained = [row for row in rows if row.reason is None]
    if not explained:
        which = "The only image" if len(rows) == 1 else f"None of the {len(rows):,} images"
        verb = "could not" if len(rows) == 1 else "could"
        return (f"{which} {verb} be used, so there is nothing to show of {manifest.model.name}.",)
    settings = [record for record in manifest.techniques if not record.skipped]
    names = {record.name for record in settings}
    sentences = [
        f"This report shows what {manifest.model.name} looks at in {count(len(explained), 'image')}, "
        f"with {count(len(names), 'technique')} in {count(len(settings), 'setting')}."
    ]
    sentences.append(_performance(Outputs.of(manifest.model), explained))
    if audit is not None:
        sentences.append(audit.verdict)
    if trust is not None:
        sentences.append(trust.sentences[0].replace(". But ", "; but "))  # one sentence, for the verdict
    unusable = len(rows) - len(explained)
    if unusable:
        verb = "was" if unusable == 1 else "were"
        sentences.append(f"{count(unusable, 'image')} could not be used and {verb} set aside.")
    skipped = len(manifest.techniques) - len(settings)
    if skipped:
        verb = "does" if skipped == 1 else "do"
        sentences.append(f"{count(skipped, 'technique setting')} {verb} not fit this model.")
    failed = [page for page in techniques if page.failures]
    if failed:
        results = sum(page.failures.results for page in failed if page.failures)
        titles = "; ".join(page.title for page in failed)
        sentences.append(f"{count(results, 'result')} could not be made ({titles}).")
    return tuple(sentences)


def _performance(outputs: Outputs, explained: Sequence[ImageRow]) -> str:
    """How often the model is right, or why that cannot be said."""
    if not outputs.count:
        return (
            "The model has no classifier: nothing is predicted, and only techniques that need no class ran."
        )
    if outputs.are_values:
        given = "a value and no class" if outputs.count == 1 else "values and no classes"
        return f"The model gives {given}, so nothing that it says is counted as right or wrong."
    if not outputs.judged:
        found = [row.predicted for row in explained if row.predicted]
        positive = sum((view.score or 0) >= EVEN for view in found)
        name = next((view.short for view in found), "its class")
        return (
            f"The model knows one class: it gives {name} {100 * EVEN:.0f}\xa0% or more on {positive:,} of "
            f"{count(len(found), 'image')}, and no label is held against that."
        )
    judged = [row.correct for row in explained if row.correct is not None]
    if not judged:
        return "The images carry no labels, so the report cannot say how often it is right."
    right, images = sum(judged), count(len(judged), "labelled image")
    subject = (
        "Its likeliest class is the label" if outputs.head == "sigmoid" else "Its first prediction is right"
    )
    return f"{subject} on {right:,} of {images} ({percent(right / len(judged))})."


def _model_facts(manifest: Manifest) -> tuple[Fact, ...]:
    model, outputs = manifest.model, Outputs.of(manifest.model)
    facts = [
        Fact("Model", model.name),
        Fact("Parameters", f"{model.parameters:,}"),
        Fact("Blocks, heads, width", f"{model.blocks} blocks, {model.heads} heads, width {model.width}"),
        Fact(
            "Patch grid",
            f"{model.grid[0]} × {model.grid[1]} patches "
            f"of {model.patch_size[0]} × {model.patch_size[1]} pixels",
        ),
        Fact("Input", f"{model.input_size[0]} × {model.input_size[1]} pixels (height × width)"),
        Fact("Readout", f"{model.readout}; {count(model.prefix_tokens, 'prefix token')}"),
        Fact("Head", outputs.fact),
        Fact("What is explained", model.explained),
    ]
    if outputs.count:
        names = f"{outputs.count:,}, {_naming(model.class_names_origin)}"
        facts.append(Fact("Outputs" if outputs.are_values else "Classes", names))
    if model.licence:
        facts.append(Fact("Licence", model.licence))
    facts += [
        Fact(str(name).replace("_", " ").capitalize(), plain(value)) for name, value in model.card.items()
    ]
    return tuple(facts)


def _naming(origin: str) -> str:
    """``named by the file labels.txt``; ``numbered, since no names were given``."""
    return origin if origin.startswith(("numbered", "unnamed")) else f"named by {origin}"


def _data_facts(manifest: Manifest, rows: Iterable[ImageRow]) -> tuple[Fact, ...]:
    data, outputs = manifest.data, Outputs.of(manifest.model)
    facts = [
        Fact("Images", f"{data.images:,}"),
        Fact("Explained", f"{data.images - data.quarantined:,}"),
        Fact("Set aside", f"{data.quarantined:,}"),
    ]
    if outputs.judged:
        facts.append(Fact("Labelled", f"{data.labelled:,}"))
    judged = [row.correct for row in rows if row.correct is not None]
    if judged:
        facts.append(
            Fact("First prediction right", f"{sum(judged):,} ({percent(sum(judged) / len(judged))})")
        )
    targets = plain(manifest.settings.get("targets", ()))
    if targets and outputs.count:
        facts.append(Fact("Explained outputs" if outputs.are_values else "Explained classes", targets))
    return tuple(facts)


def _slices(by: str, rows: Iterable[ImageRow]) -> Slices | None:
    """None where no two images share a label or group."""
    names: Counter[str] = Counter()
    labelled: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for row in rows:
        label = row.label.short if row.label else None
        name = label if by == "label" else row.group
        if name is not None:
            names[name] += 1
            labelled[name] += row.correct is not None
            right[name] += row.correct is True
    if not names or max(names.values()) < 2:
        return None
    largest = sorted(names, key=lambda name: (-names[name], name))
    shown = tuple(Slice(name, names[name], labelled[name], right[name]) for name in largest[:SLICES_SHOWN])
    return Slices(by, shown, max(0, len(largest) - SLICES_SHOWN))


def _provenance(manifest: Manifest) -> tuple[Fact, ...]:
    model = manifest.model
    return (
        Fact("Run digest", manifest.run_digest),
        Fact("Catalogue digest", manifest.data.catalogue_sha256),
        Fact("Weights", model.weights),
        Fact("Weights SHA-256", model.weights_sha256),
        Fact("Canary SHA-256", model.canary_sha256),
        *(
            Fact(f"Transform: {name.replace('_', ' ')}", plain(value))
            for name, value in model.transform.items()
        ),
        *(Fact(f"Environment: {name}", plain(value)) for name, value in manifest.environment.items()),
        *(
            Fact(f"Settings: {name.replace('_', ' ')}", plain(manifest.settings[name]))
            for name in ("seed", "targets", "batch_size")
            if name in manifest.settings
        ),
    )
