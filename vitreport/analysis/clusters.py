"""Spectral relevance analysis: the different ways in which a model recognises one class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from vitreport.analysis.intervals import fisher_exact
from vitreport.analysis.maps import defined
from vitreport.analysis.regions import Regions, groups
from vitreport.analysis.statistics import FEWEST, Floats, holm
from vitreport.explanation import FloatArray

SIDE = 8
"""Rows and columns to which larger maps are averaged down."""
MOST = 1000
"""Images of a class that are clustered at most, drawn by chance."""
MOST_CLUSTERS = 6
LOOSEST = 0.45
"""Largest eigenvalue that counts as a cut: 0 severs nothing, 1 parts images that are not alike at all.

Small objects anywhere in the picture, as far from being clusters as maps can be, give 0.5.
"""
GAP = 0.2
"""Least distance from there to the next eigenvalue: without a gap there is no telling how many clusters."""
SILHOUETTE = 0.25
"""Least mean silhouette of the clusters: below it Kaufman and Rousseeuw see no substantial structure."""
EXAMPLES = 6
"""Images that a cluster names."""
_FAINT = 1e-9
"""Likeness of maps that share nothing: it keeps the graph in one piece."""


@dataclass(frozen=True, eq=False)
class Cluster:
    """Images of one class that are explained alike.

    Attributes:
        ids: of its images, the most typical first.
        mean_map: mean share of each patch, ``(rows, cols)`` of sum 1.
        region: the part of the grid in which its evidence is densest.
        mass: mean share of the evidence in that region, in [0, 1].
        density: that share over the region's share of the patches; 1 where evidence is spread evenly.
        wrong: how many of its images with a label the model got wrong.
        judged: how many of its images have a label.
        corrected: p value of wrong images being as frequent in it as in the rest of the class, by Fisher's
            exact test with Holm's correction for all clusters of the run; NaN where there is nothing to test.
    """

    ids: tuple[str, ...]
    mean_map: Floats
    region: str
    mass: float
    density: float
    wrong: int
    judged: int
    corrected: float = np.nan

    @property
    def medoid(self) -> str:
        """Id of the image whose map is most like those of the others."""
        return self.ids[0]

    @property
    def examples(self) -> tuple[str, ...]:
        """Ids of the most typical images."""
        return self.ids[:EXAMPLES]


@dataclass(frozen=True, eq=False)
class Strategies:
    """How the images of one class fall into clusters.

    Attributes:
        index: of the class that the maps explain.
        n: images that were clustered.
        clusters: the largest first; one where nothing sets images apart.
        eigenvalues: of the normalised Laplacian, the smallest first, up to one more than there may be
            clusters.
        silhouette: mean silhouette of the clusters, in [-1, 1]; NaN where there is one.
    """

    index: int
    n: int
    clusters: tuple[Cluster, ...]
    eigenvalues: tuple[float, ...]
    silhouette: float


def strategies(
    ids: Sequence[str],
    shares: FloatArray,
    classes: NDArray[np.int64],
    right: Floats,
    where: Regions,
    seed: int = 0,
) -> tuple[Strategies, ...]:
    """Clusters the maps of every class of at least twice `FEWEST` images.

    Maps are averaged down, and the cosine of two is their likeness. The graph of all images is cut by the
    eigenvectors of its normalised Laplacian: into as many clusters as there are eigenvalues before the
    largest gap, if those are small and the gap is wide; else the class has one.

    Clusters are found in the maps, so a test on the maps could not but find them different. What is tested
    is what the clustering did not see: whether one is wrong more often than the rest of its class.

    Source:
        Lapuschkin et al. 2019, Unmasking Clever Hans predictors and assessing what machines really learn,
        arXiv:1902.10178; von Luxburg 2007, A Tutorial on Spectral Clustering, arXiv:0711.0189; Ng, Jordan
        and Weiss 2002, On spectral clustering; silhouettes: Kaufman and Rousseeuw 1990, Finding Groups in
        Data.

    Differs:
        the graph has all images, weighted by likeness; joined to their nearest neighbours only, objects that
        lie anywhere fall into as many clusters as there are corners to lie in.

    Args:
        ids: of the images, ``(images,)``.
        shares: of the evidence, ``(images, rows, cols)``, each map of sum 1 or NaN.
        classes: that each map explains, ``(images,)``.
        right: 1 where the model is right, 0 where wrong, NaN where unknown, ``(images,)``.
        where: the regions of the grid.
        seed: of what is drawn by chance.

    Returns:
        A class each, the most images first.
    """
    found = []
    for index, chosen in groups(classes, defined(shares)):
        if index is None or len(chosen) < 2 * FEWEST:
            continue
        some = chosen
        if len(chosen) > MOST:
            drawn = np.random.default_rng([seed, index]).choice(len(chosen), MOST, replace=False)
            some = chosen[np.sort(drawn)]
        points = _points(shares[some])
        labels, eigenvalues, silhouette = spectral_clusters(points, seed)
        clusters = [
            _cluster(ids, some[labels == label], points[labels == label], shares, right, where)
            for label in np.unique(labels)
        ]
        clusters.sort(key=lambda cluster: (-len(cluster.ids), cluster.medoid))
        found.append(Strategies(index, len(some), tuple(clusters), eigenvalues, silhouette))
    return _tested(found)


def spectral_clusters(points: Floats, seed: int = 0) -> tuple[NDArray[np.int64], tuple[float, ...], float]:
    """Clusters of points on the unit sphere.

    Args:
        points: ``(images, features)``, rows of length 1, none negative.
        seed: of where k-means starts.

    Returns:
        The number of each image's cluster, from 0, ``(images,)``; the smallest eigenvalues; the mean
        silhouette, NaN where there is one cluster.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    n = len(points)
    alone = np.zeros(n, np.int64)
    likeness = np.clip(points @ points.T, 0, 1)
    graph = likeness.copy()
    np.fill_diagonal(graph, 0)
    graph += _FAINT
    degree = graph.sum(axis=1)
    laplacian = np.eye(n) - graph / np.sqrt(np.outer(degree, degree))
    values, vectors = eigh(laplacian, subset_by_index=(0, min(MOST_CLUSTERS, n // FEWEST)))
    eigenvalues = tuple(np.clip(values, 0, 2).tolist())
    gaps = np.where(values[1:-1] <= LOOSEST, np.diff(values[1:]), 0)
    count = int(gaps.argmax()) + 2 if len(gaps) else 1
    if count == 1 or gaps[count - 2] < GAP:
        return alone, eigenvalues, float("nan")
    rows = vectors[:, :count]
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    labels = KMeans(count, n_init=10, random_state=seed).fit_predict(rows).astype(np.int64)
    if np.bincount(labels, minlength=count).min() < FEWEST:
        return alone, eigenvalues, float("nan")
    distance = 1 - likeness
    np.fill_diagonal(distance, 0)
    silhouette = float(silhouette_score(distance, labels, metric="precomputed"))
    return (labels if silhouette >= SILHOUETTE else alone), eigenvalues, silhouette


def averaged(maps: FloatArray, side: int = SIDE) -> Floats:
    """Maps averaged down to at most `side` rows and columns; a patch on a seam counts on both sides of it.

    Args:
        maps: ``(images, rows, cols)``.
        side: of the result, at most.
    """
    down, across = (_averaging(length, min(side, length)) for length in maps.shape[1:])
    small: Floats = np.einsum("ar,nrc,bc->nab", down, maps.astype(np.float64), across, optimize=True)
    return small


def _averaging(length: int, parts: int) -> Floats:
    """``(parts, length)``, rows of sum 1: how much of each part every patch covers."""
    edges = np.linspace(0, length, parts + 1)
    patch = np.arange(length)
    cover = np.minimum(edges[1:, None], patch + 1) - np.maximum(edges[:-1, None], patch)
    cover = np.clip(cover, 0, None)
    weights: Floats = cover / cover.sum(axis=1, keepdims=True)
    return weights


def _points(shares: FloatArray) -> Floats:
    small = averaged(shares).reshape(len(shares), -1)
    points: Floats = small / np.linalg.norm(small, axis=1, keepdims=True)
    return points


def _cluster(
    ids: Sequence[str],
    images: NDArray[np.int64],
    points: Floats,
    shares: FloatArray,
    right: Floats,
    where: Regions,
) -> Cluster:
    typical = np.argsort(-(points @ points.sum(axis=0)), kind="stable")
    mean_map = shares[images].mean(axis=0, dtype=np.float64)
    masses = {name: float(mean_map[mask].sum()) for name, mask in where.masks.items() if mask.any()}
    region = max(masses, key=lambda name: masses[name] / where.size(name))
    judged = right[images]
    return Cluster(
        ids=tuple(ids[image] for image in images[typical]),
        mean_map=mean_map,
        region=region,
        mass=masses[region],
        density=masses[region] / where.size(region),
        wrong=int((judged == 0).sum()),
        judged=int(np.isfinite(judged).sum()),
    )


def _tested(found: Sequence[Strategies]) -> tuple[Strategies, ...]:
    p_values = []
    for one in found:
        wrong, judged = (sum(getattr(part, name) for part in one.clusters) for name in ("wrong", "judged"))
        for part in one.clusters:
            rest = judged - part.judged
            enough = min(part.judged, rest) >= FEWEST
            p = fisher_exact(part.wrong, part.judged, wrong - part.wrong, rest) if enough else np.nan
            p_values.append(p)
    corrected = iter(holm(p_values).tolist())
    return tuple(
        Strategies(
            one.index,
            one.n,
            tuple(replace(part, corrected=next(corrected)) for part in one.clusters),
            one.eigenvalues,
            one.silhouette,
        )
        for one in found
    )
