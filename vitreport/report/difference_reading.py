"""From two runs and their difference to what the report says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from vitreport.analysis.difference import Difference
from vitreport.analysis.finding import Finding
from vitreport.analysis.intervals import Interval, share
from vitreport.analysis.phrases import images_of, p_value, percent, range_of
from vitreport.analysis.prediction_change import KINDS
from vitreport.figures.scale import own_scale, state_of
from vitreport.report.audit_names import p_of
from vitreport.report.chapter import Chapter, Section, table
from vitreport.report.difference_page import ChangedFinding, DifferencePage, MovedPicture
from vitreport.report.image_page import MapView, Photo
from vitreport.report.reading import class_view
from vitreport.report.wording import changed, count, decimal, plain
from vitreport.store import Run

MOST_CHANGES = 60
"""Images in the table of changed predictions."""
MOST_NEW = 12
"""Pairs of classes in the table of what became what."""


def difference_page(before: Run, after: Run, found: Difference) -> DifferencePage:
    """What the report says."""
    names = [run.manifest.model.name for run in (before, after)]
    title = f"{names[0]} and {names[1]}" if names[0] != names[1] else f"{names[0]}, two runs"
    sections = [
        _accuracy(found),
        _changes(before, found),
        _scores(before, found),
        _moved(before, found),
        _settings(before, after),
        Section("reasons", "What could not be compared", found.reasons) if found.reasons else None,
    ]
    return DifferencePage(
        title=f"Difference: {title}",
        summary=_summary(before, found),
        new=tuple(_finding(after, one) for one in found.new),
        vanished=tuple(_finding(before, one) for one in found.vanished),
        kept=tuple(_finding(after, two, one.sentence) for one, two in found.kept),
        chapter=Chapter("index.html", "Difference", title, "", tuple(filter(None, sections))),
        moved_title=_title(before, found.moved[0].key) if found.moved else "",
        moved=_pictures(before, after, found),
    )


def _summary(before: Run, found: Difference) -> tuple[str, ...]:
    sentences = [f"Compared on {images_of(found.shared)} that both models saw."]
    alone = [(found.only_before, "first"), (found.only_after, "second")]
    left = [f"{amount:,} only by the {which}" for amount, which in alone if amount]
    if left:
        sentences[0] = f"{sentences[0][:-1]}; {' and '.join(left)}."
    one = found.accuracy
    if one is not None:
        change = 100 * (one.after - one.before) / one.images
        gap = (
            "is the same" if one.after == one.before else f"changes by {change:+.1f} points".replace("-", "−")
        )
        sentences.append(
            f"Accuracy {gap}: {one.before:,} of {one.images:,} right before, {one.after:,} after; "
            f"{one.broken:,} "
            f"broken, {one.mended:,} mended (McNemar’s exact test, {p_value(one.p)})."
        )
    if found.new:
        first = found.new[0].headline.removesuffix(".")
        sentences.append(f"{count(len(found.new), 'finding')} new. The first: {first}.")
    else:
        sentences.append("No finding is new.")
    if found.vanished:
        sentences.append(f"{count(len(found.vanished), 'finding')} vanished.")
    if found.moved:
        most = found.moved[0]
        sentences.append(
            f"The maps of {_title(before, most.key)} moved most: mean rank correlation "
            f"{decimal(most.likeness.value, 2)} over "
            f"{images_of(most.images)}."
        )
    return tuple(sentences)


def _finding(run: Run, one: Finding, before: str = "") -> ChangedFinding:
    uris = {ref.id: PurePath(ref.uri).name for ref in run.catalogue}
    return ChangedFinding(
        one.severity.name.lower(),
        one.sentence,
        "" if before == one.sentence else before,
        tuple(uris[image] for image in one.images),
    )


def _accuracy(found: Difference) -> Section | None:
    one = found.accuracy
    if one is None:
        return None
    rows = [
        [name, f"{right:,} of {one.images:,}", percent(right / one.images), _ends(share(right, one.images))]
        for name, right in (("before", one.before), ("after", one.after))
    ]
    return Section(
        "accuracy",
        "Accuracy",
        (
            f"Only the first model is right on {images_of(one.broken)} (broken), only the second on "
            f"{images_of(one.mended)} (mended). That both are as often right has {p_value(one.p)} by "
            "McNemar’s "
            "exact test.",
        ),
        tables=(table("Accuracy", ("Run", "#Right", "#Accuracy", "#95 % interval"), rows),),
    )


def _ends(one: Interval) -> str:
    return range_of(one).removeprefix("95\xa0% interval ")


def _changes(before: Run, found: Difference) -> Section | None:
    if not found.changes:
        return None
    uris = {ref.id: PurePath(ref.uri).name for ref in before.catalogue}
    kinds = Counter(one.kind for one in found.changes)
    pairs = Counter((one.said_before, one.said_after) for one in found.changes)
    shown = found.changes[:MOST_CHANGES]
    further = len(found.changes) - len(shown)
    words = ", ".join(f"{kinds[kind]:,} {kind}" for kind in KINDS if kinds[kind])
    return Section(
        "changes",
        "Predictions that changed",
        (f"{images_of(len(found.changes))} of {found.shared:,}: {words}.",),
        tables=(
            table(
                "What became what",
                ("Before", "After", "#Images"),
                [[one, other, f"{amount:,}"] for (one, other), amount in pairs.most_common(MOST_NEW)],
            ),
            table(
                "Changed predictions",
                ("Image", "Label", "Before", "After", "#Score before", "#Score after", "Change"),
                [
                    [
                        uris[one.before],
                        one.label,
                        one.said_before,
                        one.said_after,
                        f"{one.confidence_before:.2f}",
                        f"{one.confidence_after:.2f}",
                        one.kind,
                    ]
                    for one in shown
                ],
                f"and {count(further, 'further image')}" if further else "",
            ),
        ),
    )


def _title(run: Run, key: str) -> str:
    record = run.technique(key)
    setting = changed(record)
    return f"{record.title} ({setting})" if setting else record.title


def _range(one: Interval) -> str:
    if one.low is None or one.high is None:
        return "–"
    return f"{decimal(one.low)} to {decimal(one.high)}"


def _scores(before: Run, found: Difference) -> Section | None:
    if not found.scores:
        return None
    return Section(
        "scores",
        "Leaderboard",
        (
            f"By {found.metric}, over the images that were scored in both runs; differences are paired, "
            "p values "
            "corrected for their number (Holm).",
        ),
        tables=(
            table(
                "Scores in both runs",
                (
                    "Technique",
                    "#Images",
                    "#Before",
                    "#After",
                    "#Difference",
                    "#95 % interval",
                    "#Corrected p",
                ),
                [
                    [
                        _title(before, one.key),
                        f"{one.images:,}",
                        decimal(one.before),
                        decimal(one.after),
                        decimal(one.difference.value),
                        _range(one.difference),
                        p_of(one.p),
                    ]
                    for one in found.scores
                ],
            ),
        ),
    )


def _moved(before: Run, found: Difference) -> Section | None:
    if not found.moved:
        return None
    return Section(
        "moved",
        "Maps",
        (
            "Spearman’s rank correlation of the two maps of an image, 1 where the patches are in the "
            "same order; "
            "images for which the runs explain different classes are left out.",
        ),
        tables=(
            table(
                "Likeness of maps",
                ("Technique", "#Images", "#Left out", "#Likeness", "#95 % interval"),
                [
                    [
                        _title(before, one.key),
                        f"{one.images:,}",
                        f"{one.other:,}",
                        decimal(one.likeness.value, 2),
                        _range(one.likeness),
                    ]
                    for one in found.moved
                ],
            ),
        ),
    )


def _settings(before: Run, after: Run) -> Section:
    one, other = _facts(before), _facts(after)
    rows = [
        [name, plain(one.get(name, "–")), plain(other.get(name, "–"))]
        for name in dict.fromkeys((*one, *other))
        if one.get(name) != other.get(name)
    ]
    words = () if rows else ("Model, data, settings and environment are the same.",)
    tables = (table("What differs", ("What", "Before", "After"), rows),) if rows else ()
    return Section("settings", "What differs between the runs", words, tables=tables)


def _facts(run: Run) -> dict[str, Any]:
    manifest = run.manifest
    model = manifest.model
    ran = [record.key for record in run.techniques if not record.skipped]
    facts: dict[str, Any] = {
        "model": model.name,
        "weights SHA-256": model.weights_sha256,
        "parameters": f"{model.parameters:,}",
        "patch grid": model.grid,
        "readout": model.readout,
        "head": model.head,
        "catalogue digest": manifest.data.catalogue_sha256,
        "techniques": ran,
        "metrics": [record.key for record in manifest.metrics],
    }
    groups: dict[str, Mapping[str, Any]] = {
        "transform": model.transform,
        "environment": manifest.environment,
        "setting": {name: manifest.settings.get(name) for name in ("targets", "seed", "batch_size")},
    }
    for group, values in groups.items():
        facts |= {f"{group}: {name.replace('_', ' ')}": value for name, value in values.items()}
    return facts


def _pictures(before: Run, after: Run, found: Difference) -> tuple[MovedPicture, ...]:
    if not found.moved:
        return ()
    most = found.moved[0]
    uris = {ref.id: PurePath(ref.uri).name for ref in before.catalogue}
    pictures = []
    for one, other, likeness in most.farthest:
        jpeg = before.view(one)
        if jpeg is None:
            continue
        photo = Photo(jpeg, *_size(before, one))
        both = [_map(run, most.key, image) for run, image in ((before, one), (after, other))]
        words = " → ".join(dict.fromkeys(filter(None, (_said(before, one), _said(after, other)))))
        pictures.append(MovedPicture(uris[one], words, decimal(likeness, 2), photo, both[0], both[1]))
    return tuple(pictures)


def _said(run: Run, image_id: str) -> str:
    row = run.images.filter(run.images["id"].to_numpy(zero_copy_only=False) == image_id).to_pylist()[0]
    return class_view(run.manifest.model, row["top_index"][0]).short if row["top_index"] else ""


def _size(run: Run, image_id: str) -> tuple[int, int]:
    row = run.images.filter(run.images["id"].to_numpy(zero_copy_only=False) == image_id).to_pylist()[0]
    return row["view_width"], row["view_height"]


def _map(run: Run, key: str, image_id: str) -> MapView:
    record = run.technique(key)
    values = run.map(image_id, key)
    scale = own_scale(values, record.signed)
    return MapView(record, record.title, None, values, state_of(values), scale, None)


def summary_numbers(found: Difference) -> dict[str, Any]:
    """The numbers of a difference for ``difference.json``."""
    return {
        "shared": found.shared,
        "only_before": found.only_before,
        "only_after": found.only_after,
        "accuracy": vars(found.accuracy) if found.accuracy else None,
        "changes": [vars(one) | {"kind": one.kind} for one in found.changes],
        "metric": found.metric or None,
        "scores": [_flat(vars(one), "difference") for one in found.scores],
        "maps": [_flat(vars(one), "likeness") for one in found.moved],
        "technique": found.technique or None,
        "findings": {
            "new": [one.as_json() for one in found.new],
            "vanished": [one.as_json() for one in found.vanished],
            "kept": [{"before": one.as_json(), "after": two.as_json()} for one, two in found.kept],
        },
        "not_compared": list(found.reasons),
    }


def _flat(values: Mapping[str, Any], interval: str) -> dict[str, Any]:
    return {**values, interval: vars(values[interval])}
