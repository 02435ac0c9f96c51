"""Everything that the maps of a run say together, read from its store once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vitreport.analysis.clusters import Strategies, strategies
from vitreport.analysis.evolution import Evolution, evolution
from vitreport.analysis.heads import HeadAtlas, head_atlas
from vitreport.analysis.maps import PREFERENCE, positive_shares, preferred, read_maps
from vitreport.analysis.outcomes import Outcomes, outcomes
from vitreport.analysis.outliers import Census, MassOnOutliers, census, mass_on_outliers, outlier_mass
from vitreport.analysis.phrases import titled
from vitreport.analysis.regions import Placement, Regions, placements, regions
from vitreport.analysis.review import RankAgreement, Review, compared, review
from vitreport.analysis.shortcuts import Screening, screen
from vitreport.analysis.slices import Slicing, slices
from vitreport.analysis.statistics import Bootstrap, Floats
from vitreport.analysis.trust import CONTROL
from vitreport.store import Run, TechniqueRecord


@dataclass(frozen=True, eq=False)
class Audit:
    """A run as a whole.

    Attributes:
        outcomes: what the model said of every image.
        technique: whose maps `placements`, `screening` and `strategies` are about; None where the run has
            none, and these are empty.
        where: the regions of the grid.
        placements: where the evidence lies, for all images and by class.
        screening: for corners that give a class away.
        strategies: clusters of maps within each class.
        slicing: where the model is right less often.
        census: of outlier tokens; None where the run has no token norms.
        on_outliers: how much of each technique's evidence lies on them, by key.
        evolution: how predictions emerge; None where the run has no logit lens or the model no classes.
        heads: what heads attend to; None where the run has no statistics of attention.
        review: images that a person should look at.
        titles: what sentences call the run's techniques, by key.
    """

    outcomes: Outcomes
    technique: TechniqueRecord | None
    where: Regions
    placements: tuple[Placement, ...]
    screening: Screening | None
    strategies: tuple[Strategies, ...]
    slicing: Slicing
    census: Census | None
    on_outliers: tuple[MassOnOutliers, ...]
    evolution: Evolution | None
    heads: HeadAtlas | None
    review: Review
    titles: Mapping[str, str]


def audit(
    run: Run,
    *,
    technique: TechniqueRecord | None = None,
    leaders: Collection[str] = (),
    order: Sequence[str] = PREFERENCE,
    bootstrap: Bootstrap | None = None,
) -> Audit:
    """Reads a run and says what its maps and observations show together.

    One technique's maps are in memory at a time.

    Args:
        run: a finished run.
        technique: whose maps speak for the run; by default the one that `preferred` chooses.
        leaders: keys of the techniques that the run's scores put first; empty where it was not scored.
        order: names of techniques, the best first, as `preferred` takes them.
        bootstrap: how images are drawn anew; by default 10,000 times.
    """
    bootstrap = bootstrap or Bootstrap()
    said = outcomes(run)
    where = regions(run.manifest.model.grid)
    chosen = technique or preferred(run, leaders, order)
    found = census(run, bootstrap)
    rows, cols = run.manifest.model.grid
    agreement = RankAgreement(len(said.ids), rows * cols)
    voters = {record.key for record in compared(run.techniques)}
    keys: list[str] = []
    masses: list[Floats] = []
    placed: tuple[Placement, ...] = ()
    screening: Screening | None = None
    ways: tuple[Strategies, ...] = ()
    for record in run.techniques:
        speaks = chosen is not None and record.key == chosen.key
        counts = found is not None and record.family != CONTROL
        if record.kind != "map" or record.skipped or not (speaks or counts or record.key in voters):
            continue
        maps = read_maps(run, record, said.ids)
        if record.key in voters:
            agreement.add(record.key, maps.values)
        if not (speaks or counts):
            continue
        shares = positive_shares(maps.values)
        if found is not None and counts:
            keys.append(record.key)
            masses.append(outlier_mass(said.ids, shares, found))
        if speaks:
            classes = maps.classes(said)
            placed = placements(shares, classes, where, bootstrap)
            screening = screen(record.key, said.ids, shares, classes, where, bootstrap)
            ways = strategies(said.ids, shares, classes, said.right, where)
    return Audit(
        outcomes=said,
        technique=chosen,
        where=where,
        placements=placed,
        screening=screening,
        strategies=ways,
        slicing=slices(said),
        census=found,
        on_outliers=mass_on_outliers(keys, np.array(masses), found, bootstrap) if found and keys else (),
        evolution=evolution(run, said, bootstrap),
        heads=head_atlas(run, bootstrap),
        review=review(said, agreement.mean(), agreement.techniques),
        titles={record.key: titled(record) for record in run.techniques},
    )
