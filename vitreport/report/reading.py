"""From a run to the views of its index, technique and list pages (images: `image_reading`)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from vitreport.explanation import ClassNames
from vitreport.figures.scale import Scale
from vitreport.report.failure_reading import FailedResult, failed_results, failures
from vitreport.report.pages import (
    ClassView,
    Fact,
    ImageRow,
    IndexPage,
    ParameterView,
    SettingView,
    Slice,
    Slices,
    TechniquePage,
)
from vitreport.report.wording import count, file_name, percent, plain, setting, short_class
from vitreport.settings import format_parameter
from vitreport.store import Manifest, Run, TechniqueRecord

SLICES_SHOWN = 12
"""Labels or groups in a table; the rest are counted."""


def class_view(classes: ClassNames, index: int, probability: float | None = None) -> ClassView:
    """The class with this index, named where the model has a name for it."""
    name = classes[index] if 0 <= index < len(classes) else f"class {index}"
    return ClassView(index, name, short_class(name), probability)


def image_rows(run: Run) -> tuple[ImageRow, ...]:
    """Every image of the run, in the order of their files' names."""
    classes = run.manifest.model.classes
    wanted = ["id", "uri", "label", "group", "status", "reason", "top_index", "top_probability"]
    columns = run.images.select(wanted).to_pylist()
    shards = {ref.id: ref.shard for ref in run.catalogue}
    rows = (_image_row(row, classes, shards[row["id"]]) for row in columns)
    return tuple(sorted(rows, key=lambda row: (row.uri, row.id)))


def _image_row(row: Mapping[str, object], classes: ClassNames, shard: int) -> ImageRow:
    label, indices, probabilities = row["label"], row["top_index"], row["top_probability"]
    predicted = None
    if isinstance(indices, list) and isinstance(probabilities, list) and indices:
        predicted = class_view(classes, indices[0], probabilities[0])
    group = row["group"]
    reason = str(row["reason"] or "no reason given") if row["status"] == "quarantined" else None
    return ImageRow(
        id=str(row["id"]),
        name=file_name(str(row["uri"])),
        uri=str(row["uri"]),
        shard=shard,
        label=class_view(classes, label) if isinstance(label, int) else None,
        group=None if group is None else str(group),
        predicted=predicted,
        correct=predicted.index == label if predicted is not None and isinstance(label, int) else None,
        reason=reason,
    )


def index_page(run: Run, scales: Mapping[str, Scale]) -> IndexPage:
    """The start page; `scales` are `scale_reading.dataset_scales`."""
    manifest = run.manifest
    rows = image_rows(run)
    techniques = technique_pages(run, scales)
    return IndexPage(
        title=f"Explanation report: {manifest.model.name}",
        summary=_summary(manifest, rows, techniques),
        model=_model_facts(manifest),
        data=_data_facts(manifest, rows),
        slices=tuple(filter(None, (_slices("label", rows), _slices("group", rows)))),
        notices=manifest.data.notices,
        techniques=techniques,
        provenance=_provenance(manifest),
        command=manifest.command,
        rows=rows,
    )


def technique_pages(run: Run, scales: Mapping[str, Scale]) -> tuple[TechniquePage, ...]:
    """One page a technique name, in the order of the run, with all its settings."""
    by_name: dict[str, list[TechniqueRecord]] = defaultdict(list)
    for record in run.techniques:
        by_name[record.name].append(record)
    failed = failed_results(run)
    return tuple(_technique_page(records, scales, failed) for records in by_name.values())


def _technique_page(
    records: list[TechniqueRecord],
    scales: Mapping[str, Scale],
    failed: Mapping[str, Sequence[FailedResult]],
) -> TechniquePage:
    first = records[0]
    reasons = [record.skipped for record in records]
    return TechniquePage(
        name=first.name,
        title=first.title,
        family=first.family,
        tier=first.tier,
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
    )


def _technique_facts(record: TechniqueRecord) -> tuple[Fact, ...]:
    facts = [Fact("Name", record.name), Fact("Family", record.family), Fact("Tier", record.tier)]
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
    manifest: Manifest, rows: Sequence[ImageRow], techniques: Sequence[TechniquePage]
) -> tuple[str, ...]:
    explained = [row for row in rows if row.reason is None]
    judged = [row for row in explained if row.correct is not None]
    right = sum(row.correct is True for row in judged)
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
    if judged:
        share = percent(right / len(judged))
        sentences.append(
            f"Its first prediction is right on {right:,} of {count(len(judged), 'labelled image')} ({share})."
        )
    else:
        sentences.append("The images carry no labels, so the report cannot say how often it is right.")
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


def _model_facts(manifest: Manifest) -> tuple[Fact, ...]:
    model = manifest.model
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
        Fact("What is explained", model.explained),
        Fact("Classes", f"{len(model.class_names):,}, {_naming(model.class_names_origin)}"),
    ]
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
    data = manifest.data
    facts = [
        Fact("Images", f"{data.images:,}"),
        Fact("Explained", f"{data.images - data.quarantined:,}"),
        Fact("Set aside", f"{data.quarantined:,}"),
        Fact("Labelled", f"{data.labelled:,}"),
    ]
    judged = [row.correct for row in rows if row.correct is not None]
    if judged:
        facts.append(
            Fact("First prediction right", f"{sum(judged):,} ({percent(sum(judged) / len(judged))})")
        )
    targets = plain(manifest.settings.get("targets", ()))
    return (*facts, Fact("Explained classes", targets)) if targets else tuple(facts)


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
    )
