"""Spectral relevance analysis: planted ways of recognising a class come apart, one way stays one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import fisher_exact

from tests.analysis.planted_run import blob
from vitreport.analysis.clusters import MOST, SILHOUETTE, averaged, spectral_clusters, strategies
from vitreport.analysis.outcomes import NO_CLASS
from vitreport.analysis.regions import regions
from vitreport.analysis.statistics import FEWEST, holm


def shares_of(maps: list[np.ndarray]) -> np.ndarray:
    stacked = np.stack(maps)
    return (stacked / stacked.sum(axis=(1, 2), keepdims=True)).astype(np.float32)


def names(count: int) -> tuple[str, ...]:
    return tuple(f"{number:04d}" for number in range(count))


def unknown(count: int) -> np.ndarray:
    return np.full(count, np.nan)


@pytest.mark.parametrize("grid", [(8, 8), (13, 21), (37, 37)])
def test_two_planted_ways_come_apart(grid):
    rng = np.random.default_rng(0)
    ends = [(grid[0] - 1, grid[1] - 1), (grid[0] / 3, grid[1] / 3)]
    scale = min(grid) / 8
    maps = []
    for number in range(30):
        row, col = ends[number % 3 == 0]
        y, x = np.mgrid[0 : grid[0], 0 : grid[1]] / scale
        maps.append(np.exp(-((y - row / scale) ** 2 + (x - col / scale) ** 2) / 2) + 0.05 * rng.random(grid))
    (found,) = strategies(names(30), shares_of(maps), np.full(30, 2), unknown(30), regions(grid))
    assert (found.index, found.n, len(found.clusters)) == (2, 30, 2)
    large, small = found.clusters
    assert sorted(large.ids) == [name for name in names(30) if int(name) % 3]
    assert sorted(small.ids) == [name for name in names(30) if int(name) % 3 == 0]
    assert large.region == "lower right corner" and large.mass > 0.3 and large.density > 4
    assert small.region == "centre" or "corner" not in small.region or small.density < large.density
    assert large.mean_map.sum() == pytest.approx(1)
    assert found.silhouette > 0.5 and found.eigenvalues[0] == pytest.approx(0, abs=1e-6)


def test_three_planted_ways_come_apart():
    rng = np.random.default_rng(1)
    places = [(7, 7), (0, 0), (0, 7)]
    maps = [blob(rng, *places[number % 3]) for number in range(36)]
    labels, _, _ = spectral_clusters(points(maps))
    assert all(len(set(labels[start::3])) == 1 for start in range(3)) and len(set(labels.tolist())) == 3


def points(maps: list[np.ndarray]) -> np.ndarray:
    flat = shares_of(maps).reshape(len(maps), -1).astype(np.float64)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


@pytest.mark.parametrize("images", [2 * FEWEST, 25, 100])
@pytest.mark.parametrize("kind", ["one place", "around the centre", "anywhere"])
def test_one_way_stays_one_cluster(images, kind):
    several = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        place = {
            "one place": lambda rng=rng: (7, 7),
            "around the centre": lambda rng=rng: rng.normal(3.5, 1.2, 2),
            "anywhere": lambda rng=rng: rng.uniform(0, 7, 2),
        }[kind]
        labels, _, _ = spectral_clusters(points([blob(rng, *place()) for _ in range(images)]))
        several += len(set(labels.tolist())) > 1
    assert several <= 1


def test_a_cut_between_maps_that_are_hardly_alike_is_none():
    """Sparse noise: by chance the eigenvalues leave a gap, but within the parts nothing is alike."""
    maps = np.random.default_rng(1).gamma(0.1, 1, (20, 16)) + 1e-6
    labels, _, silhouette = spectral_clusters(maps / np.linalg.norm(maps, axis=1, keepdims=True))
    assert 0 < silhouette < SILHOUETTE and set(labels.tolist()) == {0}


def test_equal_maps_are_one_cluster():
    (found,) = strategies(
        names(12), np.full((12, 8, 8), 1 / 64, np.float32), np.zeros(12, int), unknown(12), regions((8, 8))
    )
    assert len(found.clusters) == 1 and np.isnan(found.silhouette)
    assert found.clusters[0].density == pytest.approx(1)


def test_maps_that_share_nothing_do_not_break_it():
    maps = np.zeros((64, 8, 8), np.float32)
    for number in range(64):
        maps[number, number // 8, number % 8] = 1
    (found,) = strategies(names(64), maps, np.zeros(64, int), unknown(64), regions((8, 8)))
    assert len(found.clusters) == 1


def test_the_medoid_is_the_image_most_like_the_others():
    rng = np.random.default_rng(0)
    maps = [blob(rng, 3.5, 3.5 + shift) for shift in np.linspace(-2, 2, 11)]
    shares = shares_of(maps)
    (found,) = strategies(names(11), shares, np.zeros(11, int), unknown(11), regions((8, 8)))
    flat = points(maps)
    likeness = flat @ flat.T
    assert found.clusters[0].medoid == names(11)[int(likeness.sum(axis=1).argmax())]
    assert len(found.clusters[0].examples) == 6


def test_small_classes_and_images_without_a_class_are_left_out():
    rng = np.random.default_rng(0)
    count = 2 * FEWEST
    shares = shares_of([blob(rng, 3, 3) for _ in range(3 * count)])
    classes = np.array([0] * count + [1] * (count - 1) + [NO_CLASS] * (count + 1))
    assert [one.index for one in strategies(names(30), shares, classes, unknown(30), regions((8, 8)))] == [0]
    shares[0] = np.nan
    assert strategies(names(30), shares, classes, unknown(30), regions((8, 8))) == ()


def test_a_cluster_that_is_wrong_more_often_is_told_from_chance():
    rng = np.random.default_rng(0)
    corner = np.arange(60) % 3 == 0
    shares = shares_of([blob(rng, 7, 7) if one else blob(rng, *rng.normal(3, 0.5, 2)) for one in corner])
    where = regions((8, 8))
    (found,) = strategies(names(60), shares, np.zeros(60, int), np.where(corner, 0.0, 1.0), where)
    small = found.clusters[1]
    assert (small.wrong, small.judged, found.clusters[0].wrong) == (20, 20, 0)
    assert small.corrected < 1e-9
    right = (np.arange(60) % 2).astype(float)
    (found,) = strategies(names(60), shares, np.zeros(60, int), right, where)
    assert min(one.corrected for one in found.clusters) > 0.05
    right = np.where(corner, np.nan, 1.0)
    (found,) = strategies(names(60), shares, np.zeros(60, int), right, where)
    assert all(np.isnan(one.corrected) for one in found.clusters), "nothing to compare with"


def test_clusters_of_all_classes_are_corrected_together():
    rng = np.random.default_rng(0)
    corner = np.arange(120) % 3 == 0
    classes = np.arange(120) // 60
    shares = shares_of([blob(rng, 7, 7) if one else blob(rng, *rng.normal(3, 0.5, 2)) for one in corner])
    right = (rng.random(120) < np.where(corner, 0.5, 0.8)).astype(float)
    found = strategies(names(120), shares, classes, right, regions((8, 8)))
    assert [len(one.clusters) for one in found] == [2, 2]
    p_values = []
    for one in found:
        for place, cluster in enumerate(one.clusters):
            rest = one.clusters[1 - place]
            table = [[part.wrong, part.judged - part.wrong] for part in (cluster, rest)]
            p_values.append(fisher_exact(table).pvalue)
    corrected = [cluster.corrected for one in found for cluster in one.clusters]
    assert corrected == pytest.approx(holm(p_values)) and max(corrected) > max(p_values)


def test_it_comes_out_the_same_every_time():
    rng = np.random.default_rng(0)
    shares = shares_of([blob(rng, *((7, 7) if number % 2 else (2, 2))) for number in range(40)])
    one, again = (
        strategies(names(40), shares, np.zeros(40, int), unknown(40), regions((8, 8))) for _ in range(2)
    )
    assert [cluster.ids for cluster in one[0].clusters] == [cluster.ids for cluster in again[0].clusters]
    assert one[0].eigenvalues == again[0].eigenvalues


def test_of_very_many_images_some_are_drawn():
    rng = np.random.default_rng(0)
    count = MOST + 50
    shares = shares_of([blob(rng, *((7, 7) if number % 2 else (2, 2))) for number in range(count)])
    (found,) = strategies(names(count), shares, np.zeros(count, int), unknown(count), regions((8, 8)))
    assert found.n == MOST and len(found.clusters) == 2
    assert sum(len(cluster.ids) for cluster in found.clusters) == MOST


def test_averaging_keeps_the_mean_and_is_that_of_blocks_where_they_fit():
    rng = np.random.default_rng(0)
    maps = rng.random((3, 16, 24)).astype(np.float32)
    blocks = maps.reshape(3, 8, 2, 8, 3).mean(axis=(2, 4))
    assert averaged(maps) == pytest.approx(blocks, rel=1e-5)
    assert averaged(maps[:, :5, :7]) == pytest.approx(maps[:, :5, :7])
    odd = rng.random((2, 37, 13)).astype(np.float32)
    assert averaged(odd).shape == (2, 8, 8)
    assert averaged(odd).mean(axis=(1, 2)) == pytest.approx(odd.mean(axis=(1, 2)), rel=1e-5)
