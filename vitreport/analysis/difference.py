"""Two runs on the same images held against each other: predictions, leaderboards, maps, findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from vitreport.analysis.audit import audit
from vitreport.analysis.finding import Finding
from vitreport.analysis.findings import findings
from vitreport.analysis.intervals import Interval, shifted
from vitreport.analysis.maps import preferred, read_maps
from vitreport.analysis.outcomes import outcomes
from vitreport.analysis.prediction_change import Accuracy, Change, Pairs, paired, prediction_changes
from vitreport.analysis.statistics import Bootstrap, Floats, holm
from vitreport.analysis.trust import CONTROL, Measured, Trust, trust
from vitreport.errors import StoreError
from vitreport.ranks import spearman
from vitreport.store import Run, TechniqueRecord

FARTHEST = 6
"""Images that are named of a technique whose maps moved."""


@dataclass(frozen=True)
class ScoreChange:
    """A technique's mean score in both runs, over the images that were scored in both.

    Attributes:
        key: of the technique.
        images: with a score in both.
        before: mean in the first run.
        after: mean in the second run.
        difference: second less first, paired.
        p: two-sided, of no difference, after Holm's correction; NaN with too few images.
    """

    key: str
    images: int
    before: float
    after: float
    difference: Interval
    p: float


@dataclass(frozen=True)
class Moved:
    """How far a technique's maps moved from one run to the other.

    Attributes:
        key: of the technique.
        images: with a map of the same class in both runs.
        other: images that are left out because another class is explained.
        likeness: mean Spearman rank correlation of the two maps of an image, in [-1, 1].
        farthest: ids in the first and in the second run, and correlation, the least alike first.
    """

    key: str
    images: int
    other: int
    likeness: Interval
    farthest: tuple[tuple[str, str, float], ...]


@dataclass(frozen=True)
class Difference:
    """What changed from one run to another.

    Attributes:
        shared: explained images in both, by content.
        only_before: explained in the first run alone.
        only_after: explained in the second run alone.
        accuracy: None without labelled images that both saw.
        changes: images of which the models say different things, the gravest kind first, then by how sure
            the second model is.
        metric: title of the metric by which leaderboards are compared; empty where they are not.
        scores: the change of every technique that was scored in both, the largest first.
        moved: of every technique that both runs have, those whose maps moved most first.
        technique: key of the one whose maps speak for both runs; empty without one.
        new: findings of the second run that the first does not have.
        vanished: findings of the first run that the second does not have.
        kept: findings of both, the first run's and the second's.
        reasons: what could not be compared, a sentence each.
    """

    shared: int
    only_before: int
    only_after: int
    accuracy: Accuracy | None
    changes: tuple[Change, ...]
    metric: str
    scores: tuple[ScoreChange, ...]
    moved: tuple[Moved, ...]
    technique: str
    new: tuple[Finding, ...]
    vanished: tuple[Finding, ...]
    kept: tuple[tuple[Finding, Finding], ...]
    reasons: tuple[str, ...]


def difference(before: Run, after: Run, bootstrap: Bootstrap | None = None) -> Difference:
    """Compares two runs; images are the same where their files' bytes are, classes where their names are.

    Args:
        before: a finished run.
        after: another.
        bootstrap: how images are drawn anew; by default 10,000 times.

    Raises:
        StoreError: the runs have no explained image in common.
    """
    bootstrap = bootstrap or Bootstrap()
    pairs = paired(outcomes(before), outcomes(after))
    shared = pairs.places.shape[1]
    if not shared:
        raise StoreError(
            "the two runs have no explained image in common; images are the same where their files are, byte "
            "by byte"
        )
    reasons: list[str] = []
    changes, accuracy = prediction_changes(before, after, pairs, reasons)
    metric, scores = _leaderboards(before, after, pairs, bootstrap, reasons)
    moved = _moved(before, after, pairs, bootstrap, reasons)
    technique = _spokesman(before, after, reasons)
    found = [
        findings(audit(run, technique=run.technique(technique) if technique else None, bootstrap=bootstrap))
        for run in (before, after)
    ]
    first, second = ({(one.kind, one.subject): one for one in some} for some in found)
    return Difference(
        shared=shared,
        only_before=len(pairs.before.ids) - shared,
        only_after=len(pairs.after.ids) - shared,
        accuracy=accuracy,
        changes=changes,
        metric=metric,
        scores=scores,
        moved=moved,
        technique=technique,
        new=tuple(one for name, one in second.items() if name not in first),
        vanished=tuple(one for name, one in first.items() if name not in second),
        kept=tuple((one, second[name]) for name, one in first.items() if name in second),
        reasons=tuple(reasons),
    )


def _leaderboards(
    before: Run, after: Run, pairs: Pairs, bootstrap: Bootstrap, reasons: list[str]
) -> tuple[str, tuple[ScoreChange, ...]]:
    found = [trust(before), trust(after)]
    heads = [_headline(one) for one in found]
    if heads[0] is None or heads[1] is None or found[0] is None or found[1] is None:
        reasons.append("Leaderboards are not compared: not both runs are scored by the relevance gain.")
        return "", ()
    if heads[0].record.key != heads[1].record.key:
        reasons.append("Leaderboards are not compared: the metric has other settings.")
        return "", ()
    at = [{name: place for place, name in enumerate(one.images)} for one in found if one]
    ids = [
        (at[0][one], at[1][other])
        for one, other in (
            (pairs.before.ids[one], pairs.after.ids[other]) for one, other in pairs.places.T.tolist()
        )
        if one in at[0] and other in at[1]
    ]
    if not ids:
        reasons.append("Leaderboards are not compared: no image was scored in both runs.")
        return "", ()
    places = np.array(ids).T
    controls = {record.key for run in (before, after) for record in run.manifest.controls}
    controls |= {record.key for record in before.techniques if record.family == CONTROL}
    keys = [key for key in heads[0].scores.keys if key in heads[1].scores.keys and key not in controls]
    rows = [
        [head.scores.of(key)[some] for key in keys] for head, some in zip(heads, places, strict=True) if head
    ]
    one, other = np.array(rows[0]), np.array(rows[1])
    both = np.isfinite(one) & np.isfinite(other)
    one, other = np.where(both, one, np.nan), np.where(both, other, np.nan)
    if not keys or not both.any():
        reasons.append("Leaderboards are not compared: no technique was scored in both runs.")
        return "", ()
    gaps = bootstrap.estimate(other - one)
    corrected = holm(gaps.p)
    changes = [
        ScoreChange(
            key,
            int(both[row].sum()),
            float(np.nanmean(one[row])),
            float(np.nanmean(other[row])),
            shifted(gaps, row),
            float(corrected[row]),
        )
        for row, key in enumerate(keys)
        if both[row].any()
    ]
    return heads[0].record.title, tuple(sorted(changes, key=lambda one: -abs(one.difference.value)))


def _headline(found: Trust | None) -> Measured | None:
    return found.headline if found else None


def _common(before: Run, after: Run) -> Iterator[tuple[TechniqueRecord, TechniqueRecord]]:
    """Techniques that gave maps in both runs, controls left out."""
    known = {record.key: record for record in after.techniques if not record.skipped}
    for record in before.techniques:
        if record.kind == "map" and not record.skipped and record.family != CONTROL and record.key in known:
            yield record, known[record.key]


def _moved(
    before: Run, after: Run, pairs: Pairs, bootstrap: Bootstrap, reasons: list[str]
) -> tuple[Moved, ...]:
    grids = [run.manifest.model.grid for run in (before, after)]
    if grids[0] != grids[1]:
        sizes = " and ".join(f"{rows} × {cols}" for rows, cols in grids)
        reasons.append(f"Maps are not compared: the grids have {sizes} patches.")
        return ()
    found: list[Moved] = []
    for record, other in _common(before, after):
        maps = (read_maps(before, record, pairs.before.ids), read_maps(after, other, pairs.after.ids))
        values = [
            one.values[places].reshape(len(places), -1)
            for one, places in zip(maps, pairs.places, strict=True)
        ]
        explained = [pairs.names(run, maps[run].targets) for run in (0, 1)]
        same = np.array([one == two for one, two in zip(*explained, strict=True)])
        likeness = np.where(same, spearman(values[0], values[1]), np.nan)
        known = np.flatnonzero(np.isfinite(likeness))
        if not len(known):
            continue
        least = known[np.argsort(likeness[known], kind="stable")][:FARTHEST]
        found.append(
            Moved(
                record.key,
                len(known),
                int((~same).sum()),
                shifted(bootstrap.estimate(likeness[None]), 0),
                tuple(_named(pairs, int(place), likeness) for place in least),
            )
        )
    if not found:
        reasons.append("Maps are not compared: no technique gave maps of the same classes in both runs.")
    return tuple(sorted(found, key=lambda one: (one.likeness.value, one.key)))


def _named(pairs: Pairs, place: int, likeness: Floats) -> tuple[str, str, float]:
    one, other = pairs.places[:, place].tolist()
    return pairs.before.ids[one], pairs.after.ids[other], float(likeness[place])


def _spokesman(before: Run, after: Run, reasons: list[str]) -> str:
    """The technique whose maps speak for both runs, so that findings compare."""
    keys: Sequence[str] = [record.key for record, _ in _common(before, after)]
    chosen = preferred(before, leaders=keys)
    if chosen is None or chosen.key not in keys:
        reasons.append("The runs have no technique in common that gives maps; each speaks by its own.")
        return ""
    return chosen.key
