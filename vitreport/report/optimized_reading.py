"""The chapter on optimised pictures: what classes and units of the model like best, with its gates."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

from vitreport.report.audit_names import AuditNames
from vitreport.report.chapter import Chapter, Section, ShownPicture, Table, table
from vitreport.report.wording import count, decimal, number
from vitreport.store.optimized import (
    CrossControl,
    Gate,
    OptimizedPicture,
    OptimizedRecord,
    cross_control,
    optimized_records,
)

PATH, TITLE = "analysis/learned.html", "What the model learned"
TOP = 6
"""Audited images beside the pictures of a target."""

WHAT_IT_IS = (
    "Each picture was made for one thing: to raise one number of the model, the logit of a class or the "
    "activity "
    "of a unit. It shows what is enough to excite that number; parts that return with every seed are "
    "what the "
    "model has learned to respond to.",
    "It does not show that the model looks for this in real images, that nothing else would excite the "
    "number as "
    "much, or what the model does with it. Neighbouring patches look alike partly because their position "
    "embeddings are alike, and the constraint on patch borders makes them more so. Gates only say that "
    "a picture "
    "is no trick of single pixels.",
)


def optimized_chapter(names: AuditNames) -> Chapter | None:
    """The chapter; None where no picture was made."""
    folder = names.run.folder
    records = optimized_records(folder)
    if not records:
        return None
    passed = sum(record.passed for record in records)
    sections = [
        Section("reading", "What such pictures prove, and what not", WHAT_IT_IS),
        *(_record(names, record) for record in records),
    ]
    cross = cross_control(folder)
    if cross is not None:
        sections.append(_cross(records, cross))
    sections.append(_likeness(records))
    pictures = sum(len(record.pictures) for record in records)
    return Chapter(
        path=PATH,
        kicker="Analysis",
        title=TITLE,
        lead=f"{count(pictures, 'picture')} of {count(len(records), 'target')}; {passed:,} of the "
        "targets pass all "
        "gates that could be tested.",
        sections=tuple(sections),
        setup='from vitreport import open_run\n\nrun = open_run("RUN")\n',
        code="from vitreport.store.optimized import optimized_records\n\n"
        "for record in optimized_records(run.folder):\n"
        "    for picture in record.pictures:\n"
        "        print(record.target, picture.name, picture.seam_ratio, picture.likeness)\n"
        "        print([(gate.name, gate.passed, gate.value) for gate in picture.gates])",
    )


def _record(names: AuditNames, record: OptimizedRecord) -> Section:
    audited = record.audited
    shown = [(one.name, one) for one in record.pictures]
    controls = [("control: noise", record.noise)]
    failed, untested = record.failed_gates, record.untested_gates
    verdict = f"It fails: {', '.join(failed)}." if failed else "It passes its gates."
    if untested:
        verdict += f" Not tested: {', '.join(untested)}."
    words = [f"{verdict} Parametrisation {record.parametrisation}; colours and spectrum {record.statistics}."]
    if record.feature_cosine is not None:
        words.append(
            f"What the classifier is given is alike over the seeds with a mean cosine of "
            f"{decimal(record.feature_cosine, 2)}."
        )
    if audited.top:
        words.append(
            "Below: the audited images that excite it most, the first with "
            f"{number(audited.top[0][1])}; the mean "
            f"of {count(audited.images, 'image')} is {number(audited.mean or 0.0)}."
        )
    if audited.from_views:
        words.append(
            f"The files of {audited.from_views:,} of them are gone or changed; the run’s own views stood in."
        )
    top = [image for image, _ in audited.top if image in names.rows][:TOP]
    return Section(
        id=f"{record.target.replace(':', '-')}-{record.digest}",
        title=f"{record.title[0].upper()}{record.title[1:]}",
        words=tuple(words),
        pictures=tuple(_picture(names, record, name, one) for name, one in (*shown, *controls)),
        tables=(_gates(record, [*shown, *controls]),),
        images=names.images(top),
    )


def _picture(names: AuditNames, record: OptimizedRecord, name: str, one: OptimizedPicture) -> ShownPicture:
    clean = one.looks["clean"]
    says = f"activation {number(clean.activation)}"
    if clean.score is not None:
        says = f"score {number(clean.score)}"
    with Image.open(names.run.folder.root / one.file) as opened:
        picture = opened.convert("RGB")
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=90, subsampling=0)
    return ShownPicture(
        title=name,
        note=f"{says}, seam ratio {one.seam_ratio:.2f}",
        jpeg=encoded.getvalue(),
        width=picture.width,
        height=picture.height,
        alt=f"Picture made for {record.title}, {name}: {says}, seam ratio {one.seam_ratio:.2f}",
    )


def _gates(record: OptimizedRecord, shown: Sequence[tuple[str, OptimizedPicture]]) -> Table:
    first = record.pictures[0].gates
    rows = [
        [
            gate.name,
            gate.says,
            *(
                _said(next((other for other in one.gates if other.name == gate.name), None))
                for _, one in shown
            ),
        ]
        for gate in first
    ]
    rows += [[gate.name, gate.says, _said(gate), *[""] * (len(shown) - 1)] for gate in record.gates]
    return table(
        f"Gates of {record.target} {record.digest}",
        ("Gate", "Asked", *(f"#{name}" for name, _ in shown)),
        rows,
    )


def _said(gate: Gate | None) -> str:
    if gate is None or gate.passed is None:
        return "not tested"
    value = "" if gate.value is None else f", {number(gate.value)}"
    return f"{'passed' if gate.passed else 'failed'}{value}"


def _cross(records: Sequence[OptimizedRecord], cross: CrossControl) -> Section:
    titles = {record.target: record.title for record in records}
    others = [
        passes for row, line in enumerate(cross.passes) for column, passes in enumerate(line) if row != column
    ]
    return Section(
        "controls",
        "Pictures judged for another class",
        (
            f"A picture should pass for its own class alone: of {len(others):,} judged for another, "
            f"{sum(others):,} pass. Rows are pictures, columns the class that they are judged for; "
            "numbers are the "
            "score of that class.",
        ),
        tables=(
            table(
                "Scores for other classes",
                ("Picture of", *(f"#{titles.get(target, target)}" for target in cross.targets)),
                [
                    [titles.get(target, target), *(f"{score:.2g}" for score in scores)]
                    for target, scores in zip(cross.targets, cross.scores, strict=True)
                ],
            ),
        ),
    )


def _likeness(records: Sequence[OptimizedRecord]) -> Section:
    rows = []
    for record in records:
        known = [one.likeness for one in record.pictures if one.likeness is not None]
        if known:
            photos = record.audited.likeness
            rows.append(
                [
                    record.title,
                    f"{decimal(min(known), 2)} to {decimal(max(known), 2)}",
                    "–" if record.noise.likeness is None else decimal(record.noise.likeness, 2),
                    "–" if photos is None else decimal(photos, 2),
                ]
            )
    words = (
        "Over all pairs of patches: how much the likeness of two patches in the picture goes with the "
        "likeness of "
        "their position embeddings (correlation). Where it is no higher than in the audited images, "
        "neighbours look "
        "alike as they do in any photo."
        if rows
        else "The model has no position embeddings to compare patches by.",
    )
    tables = (
        table("Likeness of patches and of their places", ("Target", "#Pictures", "#Noise", "#Audited"), rows),
    )
    return Section("likeness", "Do neighbours only look alike?", words, tables=tables if rows else ())
