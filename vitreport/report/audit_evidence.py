"""The chapter on where the evidence lies: mean maps, regions, corners, and clusters of maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vitreport.analysis.clusters import Cluster, Strategies
from vitreport.analysis.phrases import figure, images_of, percent, range_of
from vitreport.analysis.regions import BORDER, CENTRE, Placement
from vitreport.analysis.shortcuts import LEVEL, RATIO, CornerTest, Screening
from vitreport.analysis.statistics import FEWEST, Floats
from vitreport.figures.scale import Scale
from vitreport.report.audit_names import AuditNames, p_of
from vitreport.report.chapter import Cell, Chapter, GridTile, Section, Table, table
from vitreport.report.wording import count

PATH = "analysis/evidence.html"
TITLE = "Where the evidence lies"
MOST_CLASSES = 24
"""Classes whose mean maps are shown, the most images first."""
MOST_TESTS = 16
"""Corner tests that are shown, the most severe first."""


def evidence_chapter(names: AuditNames) -> Chapter | None:
    """The chapter; None where no map speaks for the run."""
    found = names.audit
    if found.technique is None or not found.placements:
        return None
    everything, *by_class = found.placements
    sections = [_overall(everything), _by_class(names, by_class)]
    if found.screening is not None:
        sections.append(_corners(names, found.screening))
    sections.append(_strategies(names, found.strategies))
    return Chapter(
        path=PATH,
        kicker="Analysis",
        title=TITLE,
        lead=f"Averaged over {images_of(everything.n)}, {percent(everything.masses[CENTRE].value)} of the "
        f"evidence lies in the centre ({percent(everything.expected[CENTRE])} of the picture), "
        f"{percent(everything.masses[BORDER].value)} along the border "
        f"({percent(everything.expected[BORDER])}).",
        sections=tuple(section for section in sections if section),
        setup=names.code,
        code="for place in found.placements:  # all images, then each class\n"
        + "    print(place.index, place.n, {name: mass.value for name, mass in place.masses.items()})\n"
        + "for test in found.screening.tests if found.screening else ():\n"
        + "    print(test.index, test.corner, test.share, test.ratio.value, test.corrected)\n"
        + "for ways in found.strategies:\n"
        + "    print(ways.index, [(len(one.ids), one.region, one.mass) for one in ways.clusters])",
    )


def chosen_words(names: AuditNames) -> str:
    """Whose maps the chapter is about."""
    record = names.audit.technique
    if record is None:
        return ""
    return (
        f"The maps are those of {names.technique(record.key)}. What is positive in a map counts as evidence "
        "for the explained class; every map counts the same."
    )


def mean_tile(title: str, note: str, mean_map: Floats, most: float) -> GridTile:
    """A mean map from 0 to `most` times an even share."""
    even = 1 / mean_map.size
    row, column = divmod(int(mean_map.argmax()), mean_map.shape[1])
    peak = figure(float(mean_map.max()) / even)
    return GridTile(
        title,
        note,
        (mean_map / even).astype(np.float32),
        Scale(0.0, most),
        f"Mean map, {title}: strongest at row {row}, column {column} (from 0) with {peak} times an even "
        "share",
    )


def scale_of(maps: Sequence[Floats]) -> float:
    """The end of a scale that several mean maps share, in even shares."""
    return max((float(one.max()) * one.size for one in maps), default=1.0)


TILES_NOTE = "Colours from 0 to {most} times the share of a patch if evidence were spread evenly."


def regions_section(place: Placement, section_id: str, title: str, words: tuple[str, ...]) -> Section:
    """A mean map and how much of it lies in each region."""
    most = scale_of([place.mean_map])
    rows = [
        [
            name,
            percent(mass.value),
            range_of(mass).removeprefix("95\xa0% interval "),
            percent(place.expected[name]),
            p_of(place.p[name]),
        ]
        for name, mass in place.masses.items()
    ]
    return Section(
        id=section_id,
        title=title,
        words=words,
        tiles=(mean_tile("mean map", count(place.n, "map"), place.mean_map, most),),
        tiles_note=TILES_NOTE.format(most=figure(most)),
        tables=(
            table("Evidence by region", ("Region", "#Evidence", "#95 % interval", "#Patches", "#p"), rows),
        ),
    )


def _overall(place: Placement) -> Section:
    return regions_section(
        place,
        "overall",
        "All images",
        (
            "How much of the evidence lies in each region, beside the region’s share of the patches. The "
            "centre is what is as far from every edge as a corner reaches in; the border shares patches with "
            "the corners.",
        ),
    )


def _by_class(names: AuditNames, places: Sequence[Placement]) -> Section | None:
    several = [place for place in places if place.n >= FEWEST]
    shown = several[:MOST_CLASSES]
    if not places:
        return None
    if not shown:
        few = f"No class has {FEWEST} maps, the fewest that a mean says something of."
        return Section("by-class", "Class by class", (few, chosen_words(names)))
    most = scale_of([place.mean_map for place in shown])
    further = len(places) - len(shown)
    corners = names.audit.where.corners
    rows: list[list[str | Cell]] = []
    for place in shown:
        best = max(corners, key=lambda name: place.masses[name].value, default="")
        rows.append(
            [
                names.class_cell(place.index),
                f"{place.n:,}",
                percent(place.masses[CENTRE].value),
                percent(place.masses[BORDER].value),
                f"{percent(place.masses[best].value)}, {best}" if best else "–",
            ]
        )
    return Section(
        id="by-class",
        title="Class by class",
        words=(chosen_words(names),),
        tiles=tuple(
            mean_tile(names.class_name(place.index), count(place.n, "map"), place.mean_map, most)
            for place in shown
        ),
        tiles_note=TILES_NOTE.format(most=figure(most)),
        tables=(
            table(
                "Evidence by class",
                ("Class", "#Images", "#Centre", "#Border", "Fullest corner"),
                rows,
                f"and {count(further, 'class', 'classes')} with fewer images" if further else "",
            ),
        ),
    )


def _corners(names: AuditNames, screening: Screening) -> Section:
    flagged = len(screening.flagged)
    verdict = f"{count(flagged, 'corner')} flagged" if flagged else "none is flagged"
    words = [
        "A watermark or a label that gives a class away sits in a corner. "
        f"{count(len(screening.tests), 'test')} "
        f"of one corner against the other three; {verdict}. A corner is flagged if its share is at least "
        f"{RATIO:g} times the mean of the others and chance would hardly do that (p below {LEVEL:g} after "
        "Holm’s correction, corners exchanged at random within each image)."
    ]
    if screening.untested:
        words.append(
            f"{count(len(screening.untested), 'class', 'classes')} with fewer than {FEWEST} maps could "
            "not be "
            "tested."
        )
    tests = screening.tests[:MOST_TESTS]
    further = len(screening.tests) - len(tests)
    first = screening.flagged[0].examples if screening.flagged else ()
    return Section(
        id="corners",
        title="Corners",
        words=tuple(words),
        tables=(corner_table(names, tests, f"and {count(further, 'further test')}" if further else ""),)
        if tests
        else (),
        images=names.images(first),
    )


def corner_table(names: AuditNames, tests: Sequence[CornerTest], note: str = "") -> Table:
    """Corner tests, row by row."""
    return table(
        "Corner tests",
        ("Explained class", "Corner", "#Images", "#Evidence", "#Times the others", "#Corrected p", "Flagged"),
        [
            [
                names.class_cell(test.index),
                test.corner,
                f"{test.n:,}",
                percent(test.share),
                figure(test.ratio.value),
                p_of(test.corrected),
                "yes" if test.flagged else "no",
            ]
            for test in tests
        ],
        note,
    )


def _strategies(names: AuditNames, found: Sequence[Strategies]) -> Section | None:
    if not found:
        return None
    apart = [ways for ways in found if len(ways.clusters) > 1]
    classes = count(len(found), "class", "classes")
    if not apart:
        words = f"The maps of {classes} with enough images were clustered; none falls apart into groups."
        return Section("ways", "Ways of recognising a class", (words,))
    words = (
        f"The maps of {classes} were clustered (spectral relevance analysis); {len(apart):,} "
        f"{'falls' if len(apart) == 1 else 'fall'} apart into groups that are explained differently."
    )
    clusters = [(ways, cluster) for ways in apart[:MOST_CLASSES] for cluster in ways.clusters]
    most = scale_of([cluster.mean_map for _, cluster in clusters])
    return Section(
        id="ways",
        title="Ways of recognising a class",
        words=(words,),
        tiles=tuple(
            mean_tile(names.class_name(ways.index), count(len(cluster.ids), "image"), cluster.mean_map, most)
            for ways, cluster in clusters
        ),
        tiles_note=TILES_NOTE.format(most=figure(most)),
        tables=(clusters_table(names, clusters),),
    )


def clusters_table(names: AuditNames, clusters: Sequence[tuple[Strategies, Cluster]]) -> Table:
    """Clusters, row by row, with the most typical image of each."""
    return table(
        "Clusters of maps",
        ("Class", "#Images", "Densest in", "#Evidence there", "#Wrong", "Most typical"),
        [
            [
                names.class_cell(ways.index),
                f"{len(cluster.ids):,} of {ways.n:,}",
                cluster.region,
                percent(cluster.mass),
                f"{cluster.wrong:,} of {cluster.judged:,}" if cluster.judged else "no label",
                names.image_cell(cluster.medoid),
            ]
            for ways, cluster in clusters
        ],
    )
