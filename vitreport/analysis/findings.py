"""What a reviewer should know of a run first: findings with their evidence, the most severe first."""

from __future__ import annotations

from collections.abc import Iterator

from vitreport.analysis.audit import Audit
from vitreport.analysis.finding import (
    EMERGENCE,
    HEADS,
    KINDS,
    OUTLIERS,
    PLACE,
    REVIEW,
    SHORTCUT,
    SLICE,
    STRATEGY,
    Finding,
    Severity,
)
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
from vitreport.analysis.review import CONFIDENT, DISAGREEMENT, UNDECIDED, WRONG, sure
from vitreport.analysis.shortcuts import CornerTest
from vitreport.analysis.slices import CLASS, GROUP, PREDICTED, Slice
from vitreport.analysis.statistics import FEWEST, holm

LEVEL = 0.01
"""P value, after Holm's correction within a kind of finding, below which something is flagged."""
EXAMPLES = 6
"""Images that a finding names."""

DENSE = 1.5
"""How many times its share of the patches the border holds of the evidence, to be flagged."""
ON_OUTLIERS = 2.0
"""How many times their share of the patches outlier tokens hold of a technique's evidence, to be flagged."""
OFTEN = 0.1
"""Share of the images with outlier tokens from which on these are a finding."""
ALIKE = 0.9
"""Mean correlation with the other heads of its block from which on a head is redundant."""
GRAVE = 0.2
"""How much less accurate a slice is from which on that is severe."""
EQUAL = 1e-3
"""Largest difference between the last block's score and the stored prediction that is rounding."""


def findings(found: Audit) -> tuple[Finding, ...]:
    """All that an audit flags, the most severe first; empty where there is no evidence of anything."""
    everything = [
        *shortcut_findings(found),
        *slice_findings(found),
        *emergence_findings(found),
        *strategy_findings(found),
        *border_findings(found),
        *outlier_findings(found),
        *review_findings(found),
        *head_findings(found),
    ]
    return tuple(
        sorted(everything, key=lambda one: (-one.severity, KINDS.index(one.kind), -one.effect, one.subject))
    )


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
        if test.index is not None:
            more, extra = _outcome_of(found.outcomes, test)
            words += more
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
        )


def _outcome_of(outcomes: Outcomes, test: CornerTest) -> tuple[str, dict[str, float]]:
    """How often the model is right where it says the class."""
    right = outcomes.right[outcomes.predicted == test.index]
    judged, correct = int((right == right).sum()), int((right == 1).sum())
    if not judged:
        return "", {}
    name = outcomes.name(test.index or 0)
    words = f" Of the {images_of(judged)} with a label that the model calls {name}, {correct:,} are."
    return words, {"predicted and labelled": float(judged), "of these right": float(correct)}


def slice_findings(found: Audit) -> Iterator[Finding]:
    """Slices on which the model is worse; slices of the same images are one finding."""
    same: dict[bytes, list[Slice]] = {}
    for one in found.slicing.flagged:
        same.setdefault(one.images.tobytes(), []).append(one)
    for one, *others in same.values():
        also = ", ".join(_where(other) for other in others)
        judged_rest = int((found.outcomes.right == found.outcomes.right).sum()) - one.judged
        where = _where(one) + (f" (the same images: {also})" if also else "")
        words = (
            f"{where[0].upper()}{where[1:]} the model is right on {one.right:,} of {images_of(one.judged)} "
            f"({with_range(one.accuracy)}), on the others on {percent(one.rest.value)} "
            f"({p_value(one.corrected)})."
        )
        numbers = {
            "images": float(one.judged),
            "right": float(one.right),
            **ends("accuracy", one.accuracy),
            "others": float(judged_rest),
            **ends("accuracy of the others", one.rest),
            "p": one.p,
            "p corrected": one.corrected,
        }
        yield Finding(
            SLICE,
            Severity.SEVERE if one.difference <= -GRAVE else Severity.WARNING,
            words,
            numbers,
            one.examples,
            None,
            "; ".join(f"{part.by}: {part.value}" for part in (one, *others)),
            -one.difference,
        )


def _where(one: Slice) -> str:
    if one.metadata:
        return f"where {one.by} is {one.value}"
    return {
        CLASS: f"of the images labelled {one.value}",
        PREDICTED: f"where it says {one.value}",
        GROUP: f"in the group {one.value}",
    }[one.by]


def emergence_findings(found: Audit) -> Iterator[Finding]:
    """Whether the store agrees with itself, and whether wrong predictions settle later or earlier."""
    one = found.evolution
    if one is None:
        return
    n = len(one.ids)
    if one.gap > EQUAL or one.same < n:
        words = (
            f"The last block's scores differ from the stored predictions by up to {one.gap:.2g}, and in "
            f"{images_of(n - one.same)} another class is ahead: the run does not agree with itself."
        )
        numbers = {"largest difference": one.gap, "other class": float(n - one.same)}
        yield Finding(EMERGENCE, Severity.WARNING, words, numbers, (), None, "last block", one.gap)
    if one.p < LEVEL:
        correct, wrong = one.by_outcome["correct"], one.by_outcome["wrong"]
        words = (
            f"Wrong predictions settle in block {wrong.settled:g} (median of {images_of(wrong.n)}), "
            f"correct ones in block {correct.settled:g} (of {correct.n:,}; {p_value(one.p)})."
        )
        numbers = {
            "correct": float(correct.n),
            "wrong": float(wrong.n),
            "median block, correct": correct.settled,
            "median block, wrong": wrong.settled,
            "p": one.p,
        }
        gap = abs(wrong.settled - correct.settled)
        yield Finding(EMERGENCE, Severity.NOTE, words, numbers, (), None, "settling", gap)


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
        f"{percent(mass.mass.value)} of the evidence of {mass.technique} lies on outlier tokens, "
        f"{times(mass.ratio)} their share of the patches ({p_value(p)} over {images_of(mass.n)} with such "
        "tokens)."
    )
    if len(worst) > 1:
        others = ", ".join(f"{also.technique} ({figure(also.ratio.value)} times)" for also, _ in worst[1:])
        words += f" So it is with {others}."
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
    )


def review_findings(found: Audit) -> Iterator[Finding]:
    """Confident predictions that are wrong, undecided ones, and images on which techniques disagree."""
    cases = found.review.cases
    said = found.outcomes
    confident = int((sure(said) & (said.right == said.right)).sum())
    wrong = [case for case in cases if WRONG in case.reasons]
    if wrong:
        error = share(len(wrong), confident)
        words = (
            f"Of {images_of(confident)} with a label of which the model is at least {percent(CONFIDENT)} "
            f"sure, it is wrong on {len(wrong):,} ({with_range(error)})."
        )
        numbers = {"confident": float(confident), "wrong": float(len(wrong)), **ends("share", error)}
        surprising = confident >= FEWEST and error.low is not None and error.low > 1 - CONFIDENT
        yield Finding(
            REVIEW,
            Severity.WARNING if surprising else Severity.NOTE,
            words,
            numbers,
            tuple(case.id for case in wrong[:EXAMPLES]),
            None,
            WRONG,
            error.value,
        )
    for reason in (UNDECIDED, DISAGREEMENT):
        some = [case for case in cases if reason in case.reasons]
        if not some:
            continue
        part = share(len(some), len(said.ids))
        how = f"{'is' if len(some) == 1 else 'are'} undecided"
        if reason == DISAGREEMENT:
            how = f"{have(len(some))} maps on which techniques disagree more than usual"
        words = f"{len(some):,} of {images_of(len(said.ids))} {how} ({with_range(part)})."
        numbers = {"images": float(len(some)), **ends("share", part)}
        images = tuple(case.id for case in some[:EXAMPLES])
        yield Finding(REVIEW, Severity.NOTE, words, numbers, images, None, reason, part.value)


def head_findings(found: Audit) -> Iterator[Finding]:
    """Heads that do what the others of their block do."""
    if found.heads is None:
        return
    alike = [head for head in found.heads.most_redundant(10**6) if head.value >= ALIKE]
    if not alike:
        return
    total = found.heads.heads["redundancy"].size
    first = ", ".join(f"head {head.head} of block {head.block}" for head in alike[:3])
    words = (
        f"{len(alike):,} of {total:,} heads {'attends' if len(alike) == 1 else 'attend'} nearly like "
        f"the others of the block (mean correlation of {ALIKE:g} or more over {images_of(found.heads.n)}): "
        f"{first}{', …' if len(alike) > 3 else ''}."
    )
    numbers = {"heads": float(len(alike)), "of": float(total), "largest": alike[0].value}
    yield Finding(HEADS, Severity.NOTE, words, numbers, (), None, "redundant heads", len(alike) / total)
