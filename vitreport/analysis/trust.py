"""What the scores of a run say of its techniques: leaderboards and curves, read from the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vitreport.analysis.agreement import Agreement, map_agreement
from vitreport.analysis.leaderboard import Leaderboard, Row, leaderboard
from vitreport.analysis.missing import CONSTANT, Reasons, failures, written
from vitreport.analysis.statistics import FEWEST, Bootstrap, Floats, Scores, mean_of_defined
from vitreport.analysis.unranked import checked, described
from vitreport.store import MetricRecord, Run, TechniqueRecord

HEADLINE = "relevance_gain"
"""The metric by which techniques are ranked first."""

CONTROL = "control"
"""The family of techniques that know nothing of the model."""

RANDOM = "random"
"""The name of the control whose draws count as one."""

CURVES = ("hidden", "most_first", "least_first")
"""The columns of a metric that hides patches along a map's order."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Deletion and insertion curves; the draws of the random control are one row, their mean.

    Source:
        Samek et al. 2017, Evaluating the Visualization of What a Deep Neural Network Has Learned,
        arXiv:1509.06321; both orders at once: Blücher et al. 2024, arXiv:2401.06654.

    Attributes:
        keys: of the techniques.
        hidden: share of the patches that is hidden at each step, ``(steps,)`` in [0, 1].
        most_first: the target's score while the most relevant patches go first, ``(techniques, images,
            steps)``; NaN where the map says nothing or the image was not scored.
        least_first: while the least relevant patches go first.
    """

    keys: tuple[str, ...]
    hidden: Floats
    most_first: Floats
    least_first: Floats

    def mean(self, key: str) -> tuple[Floats, Floats]:
        """A technique's mean curves over its images, twice ``(steps,)``: most, then least relevant first."""
        place = self.keys.index(key)
        return mean_of_defined(self.most_first[place].T), mean_of_defined(self.least_first[place].T)


@dataclass(frozen=True, eq=False)
class Measured:
    """All that one metric says.

    Attributes:
        record: the metric.
        scores: of every technique and control, ``(techniques, images)``, images as `Trust.images` has them.
        rows: a place for every technique and control, best first; of a metric that only describes by their
            mean, with neither groups nor p values; of a check by their verdicts.
        board: the same as a leaderboard; None where the metric ranks nothing, or no technique has a score.
        correct: for the images that the model got right; None where it has too few of either kind.
        wrong: for the images that it got wrong.
        curves: None where the metric hides no patches.
        scored: ids of the images that it scored, with or without a value.
        notes: what its rows say of the reason why there is no value.
        details: by column that a report shows: its means by technique, NaN where there is none.
    """

    record: MetricRecord
    scores: Scores
    rows: tuple[Row, ...]
    board: Leaderboard | None
    correct: Leaderboard | None
    wrong: Leaderboard | None
    curves: Curves | None
    scored: frozenset[str]
    notes: Reasons
    details: Mapping[str, Mapping[str, float]]

    def row(self, key: str) -> Row | None:
        """The place of a technique; None for all draws of the random control but the first."""
        return next((row for row in self.rows if row.key == key), None)


@dataclass(frozen=True, eq=False)
class Trust:
    """The scores of a run.

    Attributes:
        records: what was scored, by key: the run's techniques, then controls that have no maps in the store.
        random: keys of the draws of the random control; the first stands for them all.
        images: ids of all scored images, in id order.
        targets: the class that was scored, by image id; None where techniques depend on none.
        measured: the metrics that ran, in the order of the run.
        skipped: the metrics that did not.
        correct: scored images that the model got right; None where that cannot be said.
        wrong: scored images that it got wrong; None where that cannot be said.
        agreement: of the maps of the scored images.
        failures: of techniques that could not make the map of a scored image.
    """

    records: Mapping[str, TechniqueRecord]
    random: tuple[str, ...]
    images: tuple[str, ...]
    targets: Mapping[str, int | None]
    measured: tuple[Measured, ...]
    skipped: tuple[MetricRecord, ...]
    correct: int | None
    wrong: int | None
    agreement: Agreement
    failures: Reasons

    @property
    def headline(self) -> Measured | None:
        """The metric by which techniques are ranked first; None where it did not run."""
        return next((one for one in self.measured if one.record.name == HEADLINE), None)

    @property
    def first(self) -> Measured | None:
        """The headline, or else the first metric that ran."""
        return self.headline or next(iter(self.measured), None)

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The place of every scored image among `images`."""
        return {image_id: place for place, image_id in enumerate(self.images)}

    def why_missing(self, one: Measured, key: str, image_id: str) -> str:
        """Why a technique has no score for an image by a metric that scored it."""
        known = self.failures.get((key, image_id)) or one.notes.get((key, image_id))
        if known:
            return known
        if self._has_some[key][self.places[image_id]]:
            return f"its map is defined, but not what {one.record.short} compares it with"
        return CONSTANT

    def why_most_missing(self, one: Measured, key: str) -> str:
        """The commonest reason why a technique has no score for images that a metric scored; or empty."""
        values = one.scores.of(key)
        missing = [name for name in sorted(one.scored) if not np.isfinite(values[self.places[name]])]
        said = Counter(self.why_missing(one, key, name) for name in missing)
        return min(said, key=lambda reason: (-said[reason], reason)) if said else ""

    @cached_property
    def _has_some(self) -> Mapping[str, NDArray[np.bool_]]:
        """By technique key, whether any metric has a score for each image."""
        known: dict[str, NDArray[np.bool_]] = {}
        for key in self.records:
            table = np.stack([one.scores.of(key) for one in self.measured])
            known[key] = np.asarray(np.isfinite(table).any(axis=0))
        return known

    def is_control(self, key: str) -> bool:
        """Whether a technique knows nothing of the model."""
        return self.records[key].family == CONTROL


def trust(run: Run, bootstrap: Bootstrap | None = None) -> Trust | None:
    """Reads the scores of a run and says what they allow to be said.

    Args:
        run: a finished run.
        bootstrap: how images are drawn anew; by default 10,000 times.

    Returns:
        None where the run was asked for no metric.
    """
    manifest = run.manifest
    if not manifest.metrics:
        return None
    bootstrap = bootstrap or Bootstrap()
    records = scored_records(run)
    ran = [record for record in manifest.metrics if record.skipped is None]
    tables = {record.key: {key: run.scores(record, one) for key, one in records.items()} for record in ran}
    targets = _targets(tables)
    images = tuple(sorted(targets))
    right = _right(run, images)
    random = tuple(key for key, record in records.items() if record.name == RANDOM)
    controls = [key for key, record in records.items() if record.family == CONTROL and key not in random]
    measured = tuple(
        _measured(record, tables[record.key], images, right, random, controls, bootstrap) for record in ran
    )
    return Trust(
        records=records,
        random=random,
        images=images,
        targets=targets,
        measured=measured,
        skipped=tuple(record for record in manifest.metrics if record.skipped is not None),
        correct=None if right is None else int((right > 0).sum()),
        wrong=None if right is None else int((right == 0).sum()),
        agreement=map_agreement(run, targets),
        failures=failures(run, targets),
    )


def scored_records(run: Run) -> dict[str, TechniqueRecord]:
    """What a metric scores, by key: the techniques that gave maps, and the controls."""
    maps = [record for record in run.techniques if record.kind == "map"]
    known = {record.key: record for record in (*maps, *run.manifest.controls)}
    return {key: record for key, record in known.items() if not record.skipped}


def _targets(tables: Mapping[str, Mapping[str, pa.Table]]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for by_technique in tables.values():
        for table in by_technique.values():
            found.update(zip(table["id"].to_pylist(), table["target"].to_pylist(), strict=True))
    return found


def _right(run: Run, images: Sequence[str]) -> Floats | None:
    """1 where the model got an image right, 0 where wrong, NaN without a label; None where none has one."""
    if not run.manifest.model.tells_classes:
        return None
    wanted = run.images.select(["id", "label", "top_index"])
    rows = {row["id"]: row for row in wanted.to_pylist()}
    right = np.full(len(images), np.nan)
    for place, image_id in enumerate(images):
        row = rows[image_id]
        if row["label"] is not None and row["top_index"]:
            right[place] = row["top_index"][0] == row["label"]
    return right if np.isfinite(right).any() else None


def _measured(
    record: MetricRecord,
    tables: Mapping[str, pa.Table],
    images: Sequence[str],
    right: Floats | None,
    random: tuple[str, ...],
    controls: Sequence[str],
    bootstrap: Bootstrap,
) -> Measured:
    scores = _column("value", tables, images)
    details = {name: _column(name, tables, images).merged(random) for name in record.details}
    means = {
        name: dict(zip(found.keys, mean_of_defined(found.values).tolist(), strict=True))
        for name, found in details.items()
    }
    notes = written(tables)
    scored = frozenset(name for table in tables.values() for name in table["id"].to_pylist())
    places = {image_id: place for place, image_id in enumerate(images)}
    curves = _curves(tables, scores, places, random) if set(CURVES) <= set(record.columns) else None
    higher, check, yardsticks = record.higher_is_better, record.check, {*random, *controls}
    if higher is None:
        merged = scores.merged(random)
        if check is None:
            rows = described(merged, yardsticks, bootstrap)
        else:
            above = _column(check.above, tables, images).merged(random).values if check.above else None
            rows = checked(check, merged, above, yardsticks, bootstrap)
        return Measured(record, scores, rows, None, None, None, curves, scored, notes, means)

    def board_of(chosen: Scores) -> Leaderboard:
        return leaderboard(
            chosen, higher_is_better=higher, random=random, controls=controls, bootstrap=bootstrap
        )

    board = board_of(scores)
    correct: Leaderboard | None = None
    wrong: Leaderboard | None = None
    if right is not None:
        kinds = [scores.values[:, right == kind] for kind in (1, 0)]
        if all(_images(kind) >= FEWEST for kind in kinds):
            correct, wrong = (board_of(Scores(scores.keys, kind)) for kind in kinds)
    return Measured(record, scores, board.rows, board, correct, wrong, curves, scored, notes, means)


def _column(name: str, tables: Mapping[str, pa.Table], images: Sequence[str]) -> Scores:
    """One column of the scores of every technique, NaN where there is none."""
    places = {image_id: place for place, image_id in enumerate(images)}
    values = np.full((len(tables), len(images)), np.nan)
    for number, table in enumerate(tables.values()):
        for image_id, value in zip(table["id"].to_pylist(), table[name].to_pylist(), strict=True):
            values[number, places[image_id]] = np.nan if value is None else value
    return Scores(tuple(tables), values)


def _images(values: Floats) -> int:
    return int(np.isfinite(values).any(axis=0).sum())


def _curves(
    tables: Mapping[str, pa.Table], scores: Scores, places: Mapping[str, int], random: tuple[str, ...]
) -> Curves | None:
    rows = {key: table.select(["id", "value", *CURVES]).to_pylist() for key, table in tables.items()}
    hidden = next((row["hidden"] for some in rows.values() for row in some if row["hidden"]), None)
    if hidden is None:
        return None
    shape = (len(tables), len(places), len(hidden))
    most, least = np.full(shape, np.nan), np.full(shape, np.nan)
    for number, some in enumerate(rows.values()):
        for row in some:
            if row["value"] is not None and row["hidden"] == hidden:
                most[number, places[row["id"]]] = row["most_first"]
                least[number, places[row["id"]]] = row["least_first"]
    keys = scores.keys
    if random:
        draws = [key in random for key in keys]
        rest = [not drawn for drawn in draws]
        keys = (random[0], *(key for key in keys if key not in random))
        most, least = (
            np.concatenate((_mean_of_draws(curves[draws]), curves[rest])) for curves in (most, least)
        )
    return Curves(keys, np.asarray(hidden, np.float64), most, least)


def _mean_of_draws(curves: Floats) -> Floats:
    """``(draws, images, steps)`` to ``(1, images, steps)``."""
    flat = curves.reshape(len(curves), -1).T
    return mean_of_defined(flat).reshape(1, *curves.shape[1:])
