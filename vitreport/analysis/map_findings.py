"""Findings that rest on maps: shortcuts, ways of recognising a class, the border, outlier tokens."""

from __future__ import annotations

from collections.abc import Iterator

from vitreport.analysis.audit import Audit
from vitreport.analysis.finding import EXAMPLES, LEVEL, OUTLIERS, PLACE, SHORTCUT, STRATEGY, Finding, Severity
from vitreport.analysis.intervals import share
from vitreport.analysis.outcomes import Outcomes
from vitreport.analysis.phrases import (
    ends,
    figure,
    have,
    images_of,
    p_value,
    percent,
    range_of,
    times,
    with_range,
)
from vitreport.analysis.regions import BORDER
from vitreport.analysis.shortcuts import CornerTest
from vitreport.analysis.statistics import FEWEST, holm

DENSE = 1.5
"""How many times its share of the patches the border holds of the evidence, to be flagged."""
ON_OUTLIERS = 2.0
"""How many times their share of the patches outlier tokens hold of a technique's evidence, to be flagged."""
OFTEN = 0.1
"""Share of the images with outlier tokens from which on these are a finding."""


def shortcut_findings(found: Audit) -> Iterator[Finding]:
    """Classes that one corner gives away; all images together only where no class explains it."""
    if found.screening is None:
        return
    named = {test.corner for test in found.screening.flagged if test.index is not None}
    for test in found.screening.flagged:
        if test.index is None and test.corner in named:
            continue
        what = "all images" if test.index is None else found.outcomes.name(test.index)
        others = test.share / test.ratio.value
        words = (
            f"The evidence for {what} lies in the {test.corner}: {percent(test.share)} of it, on "
            f"{percent(test.size)} of the picture, {times(test.ratio)} the mean of the other corners "
            f"({p_value(test.corrected)} over {images_of(test.n)}, corrected for "
            f"{len(found.screening.tests)} tests)."
        )
        numbers = {
            "images": float(test.n),
            "share": test.share,
            "size": test.size,
            "others": others,
            **ends("ratio", test.ratio),
            "p": test.p,
            "p corrected": test.corrected,
        }
        further = ""
        if test.index is not None:
            further, extra = _outcome_of(found.outcomes, test)
            numbers |= extra
        dense = test.share >= test.size
        yield Finding(
            SHORTCUT,
            Severity.SEVERE if dense else Severity.WARNING,
            words,
            numbers,
            test.examples,
            found.screening.technique,
            f"{what}, {test.corner}",
            test.share - others,
            further,
        )


def _outcome_of(outcomes: Outcomes, test: CornerTest) -> tuple[str, dict[str, float]]:
    """How often the model is right where it says the class."""
    right = outcomes.right[outcomes.predicted == test.index]
    judged, correct = int((right == right).sum()), int((right == 1).sum())
    if not judged:
        return "", {}
    name = outcomes.name(test.index or 0)
    words = f"Of the {images_of(judged)} with a label that the model calls {name}, {correct:,} are."
    return words, {"predicted and labelled": float(judged), "of these right": float(correct)}


def strategy_findings(found: Audit) -> Iterator[Finding]:
    """Clusters of a class that are wrong more often than the rest of it."""
    for ways in found.strategies:
        wrong, judged = (sum(getattr(one, name) for one in ways.clusters) for name in ("wrong", "judged"))
        for cluster in ways.clusters:
            rest = judged - cluster.judged
            if not (
                cluster.corrected < LEVEL and cluster.wrong * rest > (wrong - cluster.wrong) * cluster.judged
            ):
                continue
            name = found.outcomes.name(ways.index)
            here, there = share(cluster.wrong, cluster.judged), share(wrong - cluster.wrong, rest)
            words = (
                f"{len(cluster.ids):,} of {images_of(ways.n)} explained for {name} have maps of their "
                f"own kind, densest in the {cluster.region} ({percent(cluster.mass)} of the evidence); the "
                f"model is wrong on {percent(here.value)} of those with a label ({range_of(here)}), on "
                f"{percent(there.value)} of the rest of the class ({p_value(cluster.corrected)})."
            )
            numbers = {
                "images": float(len(cluster.ids)),
                "of the class": float(ways.n),
                "mass": cluster.mass,
                **ends("wrong", here),
                **ends("wrong in the rest", there),
                "p corrected": cluster.corrected,
                "silhouette": ways.silhouette,
            }
            yield Finding(
                STRATEGY,
                Severity.WARNING,
                words,
                numbers,
                cluster.examples,
                found.technique.key if found.technique else None,
                f"{name}, {cluster.region}",
                here.value - there.value,
            )


def border_findings(found: Audit) -> Iterator[Finding]:
    """Classes whose evidence lies along the edges of the picture; not those that a corner gives away."""
    cornered = {test.index for test in found.screening.flagged} if found.screening else set()
    tested = [one for one in found.placements if one.index is not None and one.n >= FEWEST]
    corrected = holm([one.p[BORDER] for one in tested]).tolist()
    for one, p in zip(tested, corrected, strict=True):
        mass, even = one.masses[BORDER], one.expected[BORDER]
        if one.index in cornered or not (p < LEVEL and even > 0 and mass.value >= DENSE * even):
            continue
        name = found.outcomes.name(one.index or 0)
        words = (
            f"The evidence for {name} lies along the border: {percent(mass.value)} of it ({range_of(mass)}), "
            f"on {percent(even)} of the picture ({p_value(p)} over {images_of(one.n)})."
        )
        numbers = {"images": float(one.n), **ends("mass", mass), "size": even, "p corrected": p}
        technique = found.technique.key if found.technique else None
        yield Finding(
            PLACE, Severity.WARNING, words, numbers, (), technique, f"{name}, border", mass.value / even
        )


def outlier_findings(found: Audit) -> Iterator[Finding]:
    """Outlier tokens after the last block, and techniques whose evidence lies on them."""
    one = found.census
    if one is None:
        return
    last, n = one.blocks - 1, len(one.ids)
    some = share(one.images[last], n)
    if some.value >= OFTEN:
        words = (
            f"After the last block {one.images[last]:,} of {images_of(n)} {have(one.images[last])} outlier "
            f"tokens ({with_range(some)}): {percent(one.patches[last].value)} of all patches "
            f"({range_of(one.patches[last])})."
        )
        numbers = {
            "images": float(n),
            **ends("images with outliers", some),
            **ends("patches", one.patches[last]),
        }
        examples = one.examples(last, EXAMPLES)
        yield Finding(OUTLIERS, Severity.NOTE, words, numbers, examples, None, "outlier tokens", some.value)
    corrected = holm([mass.p for mass in found.on_outliers]).tolist()
    worst = sorted(
        (
            (mass, p)
            for mass, p in zip(found.on_outliers, corrected, strict=True)
            if p < LEVEL and mass.ratio.value >= ON_OUTLIERS
        ),
        key=lambda pair: (-pair[0].ratio.value, pair[0].technique),
    )
    if not worst:
        return
    mass, p = worst[0]
    words = (
        f"{percent(mass.mass.value)} of the evidence of {found.titles[mass.technique]} lies on outlier "
        f"tokens, {times(mass.ratio)} their share of the patches ({p_value(p)} over {images_of(mass.n)} with "
        "such tokens)."
    )
    further = ""
    if len(worst) > 1:
        others = ", ".join(
            f"{found.titles[also.technique]} ({figure(also.ratio.value)} times)" for also, _ in worst[1:]
        )
        further = f"So it is with {others}."
    numbers = {
        "images": float(mass.n),
        **ends("mass", mass.mass),
        "patches": mass.patches,
        **ends("ratio", mass.ratio),
        "p corrected": p,
    }
    numbers |= {f"ratio of {also.technique}": also.ratio.value for also, _ in worst[1:]}
    yield Finding(
        OUTLIERS,
        Severity.WARNING,
        words,
        numbers,
        one.examples(mass.block, EXAMPLES),
        mass.technique,
        "evidence on outlier tokens",
        mass.ratio.value,
        further,
    )
