"""Findings that rest on what the model says: slices, emergence, images for review; and on its heads."""

from __future__ import annotations

from collections.abc import Iterator

from vitreport.analysis.audit import Audit
from vitreport.analysis.finding import EMERGENCE, EXAMPLES, HEADS, LEVEL, REVIEW, SLICE, Finding, Severity
from vitreport.analysis.intervals import share
from vitreport.analysis.phrases import ends, have, images_of, p_value, percent, with_range
from vitreport.analysis.review import CONFIDENT, DISAGREEMENT, UNDECIDED, WRONG, sure
from vitreport.analysis.slices import CLASS, GROUP, PREDICTED, Slice
from vitreport.analysis.statistics import FEWEST

ALIKE = 0.9
"""Mean correlation with the other heads of its block from which on a head is redundant."""
GRAVE = 0.2
"""How much less accurate a slice is from which on that is severe."""
EQUAL = 1e-3
"""Largest difference between the last block's score and the stored prediction that is rounding."""


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
