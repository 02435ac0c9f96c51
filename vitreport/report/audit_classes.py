"""A page for every class of a run: its images, its mean map, its corners, and what it is taken for."""

from __future__ import annotations

from collections import Counter

import numpy as np

from vitreport.analysis.finding import EXAMPLES
from vitreport.analysis.intervals import share
from vitreport.analysis.outcomes import NO_CLASS
from vitreport.analysis.phrases import images_of, percent, with_range
from vitreport.report.audit_evidence import chosen_words, clusters_table, corner_table, regions_section
from vitreport.report.audit_names import AuditNames
from vitreport.report.chapter import Cell, Chapter, Section, table
from vitreport.report.wording import count

MOST_IMAGES = 100
"""Images in a table, the wrong ones first."""
MOST_OTHERS = 12
"""Classes that it is taken for, in a table."""


def class_chapters(names: AuditNames) -> tuple[Chapter, ...]:
    """The classes that an image is labelled with or predicted to be, the most images first."""
    said = names.audit.outcomes
    if not names.run.manifest.model.tells_classes:
        return ()
    members = {
        index: (said.label == index) | (said.predicted == index)
        for index in np.union1d(said.label, said.predicted).tolist()
        if index != NO_CLASS
    }
    order = sorted(members, key=lambda index: (-int(members[index].sum()), index))
    return tuple(_chapter(names, index) for index in order)


def _chapter(names: AuditNames, index: int) -> Chapter:
    found, said = names.audit, names.audit.outcomes
    name = names.class_name(index)
    labelled = np.flatnonzero(said.label == index)
    predicted = np.flatnonzero(said.predicted == index)
    right = int((said.right[labelled] == 1).sum())
    if len(labelled):
        lead = (
            f"Of {images_of(len(labelled))} labelled {name} the model gets {right:,} right "
            f"({with_range(share(right, len(labelled)))}); it says {name} of {images_of(len(predicted))}."
        )
    else:
        lead = f"No image is labelled {name}; the model says {name} of {images_of(len(predicted))}."
    sections = []
    confused = _confused(names, index)
    if confused:
        sections.append(confused)
    place = next((one for one in found.placements if one.index == index), None)
    if place is not None:
        words = (f"Over {count(place.n, 'map')} that explain {name}. {chosen_words(names)}",)
        sections.append(regions_section(place, "evidence", "Where the evidence lies", words))
    tests = [test for test in (found.screening.tests if found.screening else ()) if test.index == index]
    if tests:
        sections.append(
            Section(
                "corners",
                "Corners",
                tables=(corner_table(names, tests),),
                images=names.images(tests[0].examples),
            )
        )
    ways = next((one for one in found.strategies if one.index == index and len(one.clusters) > 1), None)
    if ways is not None:
        pairs = [(ways, cluster) for cluster in ways.clusters]
        sections.append(Section("ways", "Ways of recognising it", tables=(clusters_table(names, pairs),)))
    sections.append(_images(names, index))
    code = (
        f"said, index = found.outcomes, {index}\n"
        "print((said.label == index).sum(), (said.predicted == index).sum())\n"
        "for place in ((said.label == index) | (said.predicted == index)).nonzero()[0]:\n"
        "    print(said.ids[place], said.label[place], said.predicted[place], said.confidence[place])\n"
        "print([place for place in found.placements if place.index == index])\n"
        "print([test for test in (found.screening.tests if found.screening else ()) if test.index == index])"
    )
    return Chapter(names.class_path(index), "Class", name, lead, tuple(sections), code, names.code)


def _images(names: AuditNames, index: int) -> Section:
    said = names.audit.outcomes
    members = np.flatnonzero((said.label == index) | (said.predicted == index))
    order = sorted(members.tolist(), key=lambda place: (said.right[place] != 0, -said.confidence[place]))
    shown = order[:MOST_IMAGES]
    further = len(order) - len(shown)
    return Section(
        id="images",
        title="Images",
        images=names.images(said.ids[place] for place in shown[:EXAMPLES]),
        tables=(
            table(
                "Images of the class",
                ("Image", "Label", "Prediction", "#Score", "Verdict"),
                [
                    [
                        names.image_cell(said.ids[place]),
                        _class_of(names, int(said.label[place]), index),
                        _class_of(names, int(said.predicted[place]), index),
                        f"{said.confidence[place]:.2f}",
                        {1.0: "correct", 0.0: "wrong"}.get(float(said.right[place]), ""),
                    ]
                    for place in shown
                ],
                f"and {count(further, 'further image')}" if further else "",
            ),
        ),
    )


def _class_of(names: AuditNames, found: int, index: int) -> Cell:
    if found == NO_CLASS:
        return Cell("")
    return Cell(names.class_name(index)) if found == index else names.class_cell(found)


def _confused(names: AuditNames, index: int) -> Section | None:
    said = names.audit.outcomes
    wrong = said.right == 0
    taken = Counter(said.predicted[wrong & (said.label == index)].tolist())
    others = Counter(said.label[wrong & (said.predicted == index)].tolist())
    rows: list[list[str | Cell]] = []
    for counter, how in ((taken, "it is taken for"), (others, "what is taken for it")):
        rows += [
            [names.class_cell(other), how, f"{amount:,}"]
            for other, amount in counter.most_common(MOST_OTHERS)
        ]
    if not rows:
        return None
    total = sum(taken.values())
    labelled = int((said.label == index).sum())
    words = (f"{percent(total / labelled)} of its images are taken for something else.",) if total else ()
    return Section(
        "confused",
        "What it is confused with",
        words,
        tables=(table("Confusions", ("Class", "How", "#Images"), rows),),
    )
