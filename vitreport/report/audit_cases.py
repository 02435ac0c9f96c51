"""The chapters on the image set: slices, and the images that a person should look at."""

from __future__ import annotations

from collections.abc import Sequence

from vitreport.analysis.finding import EXAMPLES
from vitreport.analysis.intervals import Interval
from vitreport.analysis.phrases import images_of, percent, range_of
from vitreport.analysis.review import CONFIDENT, DISAGREEMENT, NARROW, SPREADS, UNDECIDED, WRONG
from vitreport.analysis.slices import CLASS, CONFIDENCE, GROUP, LEAST, LEVEL, OUTCOME, PREDICTED, Slice
from vitreport.analysis.statistics import FEWEST
from vitreport.report.audit_names import AuditNames, p_of
from vitreport.report.chapter import Cell, Chapter, Section, Table, table
from vitreport.report.wording import count

SLICES_PATH, SLICES = "analysis/slices.html", "Slices"
REVIEW_PATH, REVIEW = "analysis/review.html", "Images for review"
MOST_SLICES = 40
"""Slices in a table, the least accurate first where there are more."""
MOST_CASES = 200
"""Images in the list."""
TITLES = {
    CLASS: "By class",
    PREDICTED: "By predicted class",
    GROUP: "By group",
    OUTCOME: "Correct and wrong",
    CONFIDENCE: "By confidence",
}


def slices_chapter(names: AuditNames) -> Chapter | None:
    """Where the model is right less often; None where nothing can be sliced."""
    found = names.audit.slicing
    if not found.slices:
        return None
    groups: dict[tuple[str, bool], list[Slice]] = {}
    for one in found.slices:
        groups.setdefault((one.by, one.metadata), []).append(one)
    flagged = found.flagged
    tested = sum(one.p == one.p for one in found.slices)
    if flagged:
        worst = flagged[0]
        lead = (
            f"{count(len(flagged), 'slice')} of {tested:,} tested {'is' if len(flagged) == 1 else 'are'} "
            f"flagged; the largest gap is at {worst.by} {worst.value}: {percent(worst.accuracy.value)} "
            "right, "
            f"{percent(worst.rest.value)} elsewhere."
        )
    elif tested:
        lead = f"{count(tested, 'slice')} tested, none flagged."
    else:
        lead = f"No slice could be tested: each needs {FEWEST} labelled images in it and {FEWEST} outside it."
    rule = (
        f"A slice is flagged if the model is less accurate on it by {100 * LEAST:g} points at least and "
        "chance "
        f"would hardly do that (Fisher’s exact test, p below {LEVEL:g} after Holm’s correction for all "
        "slices "
        "of the run). Slices of the outcome and of confidence are described, not tested."
    )
    unused = tuple(f"No slices by {name}: {reason}." for name, reason in found.unused.items())
    sections = [
        Section(
            id=f"slices-{place}",
            title=TITLES[by] if not metadata else f"By {by}",
            words=(rule, *unused) if place == 0 else (),
            tables=(_slices_table(names, by, members),),
        )
        for place, ((by, metadata), members) in enumerate(groups.items())
    ]
    return Chapter(
        path=SLICES_PATH,
        kicker="Analysis",
        title=SLICES,
        lead=lead,
        sections=tuple(sections),
        setup=names.code,
        code="for one in found.slicing.slices:\n"
        + "    print(one.by, one.value, len(one.images), one.right, one.judged, one.corrected, one.flagged)",
    )


def _slices_table(names: AuditNames, by: str, members: Sequence[Slice]) -> Table:
    shown = [one for one in members if len(one.images) >= FEWEST]
    if len(shown) > MOST_SLICES:
        shown = sorted(shown, key=lambda one: (not one.flagged, one.accuracy.value))[:MOST_SLICES]
    further, few = len(members) - len(shown), sum(len(one.images) < FEWEST for one in members)
    judged = any(one.judged for one in shown)
    heads = [by.capitalize(), "#Images", "#Mean score"]
    heads[2:2] = (
        ["#Right", "#Accuracy", "#95 % interval", "#Elsewhere", "#Corrected p", "Flagged"] if judged else []
    )
    rows: list[list[str | Cell]] = []
    for one in shown:
        row: list[str | Cell] = [one.value, f"{len(one.images):,}"]
        if judged:
            row += [
                f"{one.right:,} of {one.judged:,}" if one.judged else "no label",
                _percent(one.accuracy),
                range_of(one.accuracy).removeprefix("95\xa0% interval ") if one.judged else "–",
                _percent(one.rest),
                p_of(one.corrected),
                "yes" if one.flagged else "no" if one.p == one.p else "not tested",
            ]
        rows.append([*row, f"{one.confidence:.2f}" if one.confidence == one.confidence else "–"])
    note = (
        f"and {count(further, 'further slice')}, {few:,} of them with fewer than {FEWEST} images"
        if further
        else ""
    )
    return table(f"Slices by {by}", heads, rows, note)


def _percent(one: Interval) -> str:
    return percent(one.value) if one.value == one.value else "–"


def review_chapter(names: AuditNames) -> Chapter:
    """The images for human review, the gravest first."""
    found = names.audit.review
    cases = found.cases
    counts = {
        reason: sum(reason in case.reasons for case in cases) for reason in (WRONG, UNDECIDED, DISAGREEMENT)
    }
    shown = cases[:MOST_CASES]
    words = [
        f"Listed are: wrong predictions with a score of {CONFIDENT:g} or more; predictions with the second "
        f"class at most {NARROW:g} behind; and images on which {count(len(found.techniques), 'technique')} "
        f"agree less than on others (mean rank correlation {SPREADS:g} robust standard deviations below the "
        "median or lower).",
        "; ".join(f"{reason}: {amount:,}" for reason, amount in counts.items()).capitalize() + ".",
    ]
    if len(cases) > len(shown):
        words.append(f"The first {MOST_CASES} are listed.")
    return Chapter(
        path=REVIEW_PATH,
        kicker="Analysis",
        title=REVIEW,
        lead=f"A person should look at {len(cases):,} of {images_of(len(names.audit.outcomes.ids))}."
        if cases
        else "No image stands out.",
        sections=(
            Section(
                id="cases",
                title="Images, the gravest first",
                words=tuple(words),
                images=names.images(case.id for case in cases[:EXAMPLES]),
                tables=(
                    table(
                        "Images for review",
                        ("Image", "Why", "#Score", "#Second behind by", "#Agreement"),
                        [
                            [
                                names.image_cell(case.id),
                                case.words,
                                *(
                                    f"{value:.2f}".replace("-", "−") if value == value else "–"
                                    for value in (case.confidence, case.margin, case.agreement)
                                ),
                            ]
                            for case in shown
                        ],
                    ),
                )
                if shown
                else (),
            ),
        ),
        setup=names.code,
        code="for case in found.review.cases:\n"
        + "    print(case.id, case.reasons, case.confidence, case.margin, case.agreement)",
    )
