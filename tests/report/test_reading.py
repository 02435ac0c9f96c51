from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_run import CLASSES, FAILURE, technique_record, write_run

from vitreport.figures.scale import own_scale
from vitreport.report.failure_reading import FailedResult, failures
from vitreport.report.image_page import ImagePage, MapView
from vitreport.report.image_reading import image_pages, neighbours
from vitreport.report.reading import class_view, image_rows, index_page, technique_pages
from vitreport.report.scale_reading import SAMPLES, dataset_scales, even_sample
from vitreport.report.sections import map_section
from vitreport.settings import SHARD_SIZE
from vitreport.store import Run, RunFolder, open_run
from vitreport.store.folder import technique_part


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return open_run(write_run(tmp_path_factory.mktemp("reading") / "run", images=8, quarantined=2))


@pytest.fixture(scope="module")
def pages(run: Run) -> list[ImagePage]:
    return list(image_pages(run, dataset_scales(run), neighbours(image_rows(run))))


def test_the_index_counts_what_there_is(run: Run) -> None:
    page = index_page(run, dataset_scales(run))
    assert (len(page.rows), len(page.explained), len(page.quarantined)) == (8, 6, 2)
    right = sum(row.correct is True for row in page.rows)
    assert f"right on {right} of 6 labelled images" in " ".join(page.summary)
    assert "2 images could not be used" in " ".join(page.summary)
    assert {row.reason for row in page.quarantined} == {"the file is truncated"}


def test_an_unlabelled_run_claims_no_accuracy(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", labelled=False))
    page = index_page(run, {})
    assert not page.labelled
    assert "cannot say how often" in " ".join(page.summary)
    assert [slices.by for slices in page.slices] == ["group"]


def test_rows_are_in_the_order_of_file_names(run: Run) -> None:
    uris = [row.uri for row in image_rows(run)]
    assert uris == sorted(uris)


def test_slices_add_up(run: Run) -> None:
    for slices in index_page(run, {}).slices:
        assert sum(part.images for part in slices.rows) == 8
        assert sum(part.correct for part in slices.rows) <= sum(part.labelled for part in slices.rows) == 6


def test_a_class_without_a_name_is_shown_by_its_number(run: Run) -> None:
    model = replace(run.manifest.model, class_names=("tench, Tinca tinca",))
    assert class_view(model, 0).short == "tench"
    assert class_view(model, 7).name == "class 7"


def test_every_technique_has_one_page_with_all_its_settings(run: Run) -> None:
    pages = {page.name: page for page in technique_pages(run, dataset_scales(run))}
    assert sum(len(page.settings) for page in pages.values()) == len(run.techniques)
    rollout = pages["attention_rollout"]
    assert len(rollout.settings) == 7
    assert {parameter.name for parameter in rollout.parameters} == {"discard", "discard_ratio", "fusion"}
    assert all(setting.scale is not None for setting in rollout.settings)
    assert pages["qkv"].settings[0].scale is None


def test_fixed_scales_are_percentiles_over_the_whole_run(run: Run) -> None:
    scales = dataset_scales(run)
    record = run.technique("raw_attention")
    values = np.concatenate(
        [a.values.ravel() for shard in run.shards for _, a in run.attributions(record, shard)]
    )
    assert scales["raw_attention"].low == pytest.approx(np.percentile(values, 1))
    assert scales["raw_attention"].high == pytest.approx(np.percentile(values, 99))
    signed = scales["signed_example"]
    assert signed.low == -signed.high


def test_pages_hold_the_maps_of_the_store(run: Run, pages: list[ImagePage]) -> None:
    for page in pages:
        views = [view for section in page.sections for view in section.maps]
        assert len({(view.record.key, view.target and view.target.index) for view in views}) == 14
        for view in views:
            target = view.target.index if view.target else None
            stored = run.map(page.row.id, view.record.key, target)
            assert np.array_equal(view.values, stored)
            assert view.scale == own_scale(stored, view.record.signed)
            assert stored[view.peak] == stored.max()


def test_pages_are_linked_in_a_chain(pages: list[ImagePage]) -> None:
    ids = [page.row.id for page in pages]
    assert [page.next.id if page.next else None for page in pages] == [*ids[1:], None]
    assert [page.previous.id if page.previous else None for page in pages] == [None, *ids[:-1]]


def test_pages_of_several_shards_come_in_the_order_asked_for(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", images=SHARD_SIZE + 6))
    members = neighbours(image_rows(run))
    last = [member for member in members if member.row.shard == 1]
    first = [member for member in members if member.row.shard == 0][:3]
    chosen = [last[0], *first, *last[1:]]
    assert len(chosen) > 6
    assert [page.row for page in image_pages(run, {}, chosen)] == [member.row for member in chosen]


def test_the_atlas_and_the_patterns_are_read(pages: list[ImagePage]) -> None:
    page = pages[0]
    assert page.atlas is not None
    blocks, heads, rows, cols = page.atlas.values.shape
    assert (blocks, heads, rows, cols) == (4, 3, 6, 8)
    assert page.atlas.means.shape == (4, 6, 8)
    flat = page.atlas.means.reshape(4, -1)
    assert page.atlas.likeness == pytest.approx(
        [np.corrcoef(flat[i], flat[i + 1])[0, 1] for i in range(3)], abs=1e-4
    )
    assert [pattern.name for pattern in page.patterns] == ["one_way", "two_way"]
    for pattern in page.patterns:
        scores = [channel.score for channel in pattern.channels]
        assert scores == sorted(scores, reverse=True)
        assert pattern.channels[0].query.shape == (6, 8)


def test_the_lens_and_the_norms_are_read(run: Run, pages: list[ImagePage]) -> None:
    lens, norms = pages[0].lens, pages[0].norms
    assert lens is not None and norms is not None
    assert [view.score for view in lens.rows[-1].kept] == [view.score for view in pages[0].predictions]
    assert lens.final == pages[0].predictions[0].index
    assert len(lens.rows) == len(norms.values) == 4
    part = run.folder.read_table(technique_part(run.technique("token_norms"), 0)).to_pylist()
    stored = next(row for row in part if row["id"] == pages[0].row.id)
    assert np.array_equal(norms.values.ravel(), np.float32(stored["values"]))
    assert [norms.prefix_text(block) for block in (0, 3)] == ["class token: 10.0", "class token: 13.0"]


def test_skipped_techniques_are_listed_with_their_reason(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    folder = RunFolder(root)
    manifest = folder.manifest()
    skipped = replace(technique_record("attention_flow"), skipped="it needs one window over the whole image")
    folder.commit_manifest(replace(manifest, techniques=(*manifest.techniques, skipped)))
    run = open_run(root)
    page = next(image_pages(run, dataset_scales(run), neighbours(image_rows(run))))
    assert [(problem.key, problem.reason) for problem in page.skipped] == [
        ("attention_flow", "it needs one window over the whole image")
    ]
    assert technique_pages(run, {})[-1].skipped == "it needs one window over the whole image"


@pytest.mark.parametrize("width", [14, 16])
def test_a_sample_of_many_values_takes_every_place_of_a_map_alike(width: int) -> None:
    maps = np.tile(np.arange(width * width, dtype=np.float32), (width * 40, 1))
    sample = even_sample(maps.ravel(), maps.size // width, seed=3)
    assert sample.size <= maps.size // width
    columns = np.bincount(sample.astype(int) % width, minlength=width)
    assert columns.min() > 0.8 * columns.mean()
    assert np.array_equal(sample, even_sample(maps.ravel(), maps.size // width, seed=3))


def test_few_values_are_all_taken() -> None:
    values = np.arange(SAMPLES, dtype=np.float32)
    assert np.array_equal(even_sample(values, SAMPLES, seed=0), values)
    assert even_sample(values[:0], SAMPLES, seed=0).size == 0


def test_a_scale_says_whether_it_comes_from_a_sample(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(scale.sampled for scale in dataset_scales(run).values())
    monkeypatch.setattr("vitreport.report.scale_reading.SAMPLES", 100)
    scales = dataset_scales(run)
    assert all(scale.sampled for scale in scales.values())
    assert all(page.sampled for page in technique_pages(run, scales) if page.kind == "map")


def test_an_image_without_a_label_has_a_page_with_the_maps_that_need_no_class(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", images=1, quarantined=0, untargeted=1))
    (page,) = image_pages(run, dataset_scales(run), neighbours(image_rows(run)))
    assert page.targets == page.patterns == ()
    assert page.unexplained.startswith("No class was explained, because the image has no label")
    assert {section.name for section in page.sections} == {
        "raw_attention",
        "attention_rollout",
        "random",
        "centre",
    }


def test_failures_are_counted_where_the_reader_begins(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", 4, quarantined=1, failing=("gradient_rollout", "qkv")))
    page = index_page(run, dataset_scales(run))
    assert page.summary[-1] == "9 results could not be made (Gradient rollout; Qkv)."
    failed = {technique.name: technique for technique in page.techniques if technique.failures}
    assert set(failed) == {"gradient_rollout", "qkv"}
    for technique in failed.values():
        assert technique.failures is not None
        assert technique.failures.words == "failed on 3 images"
        assert technique.failures.cause == f"The error: {FAILURE}"
        assert technique.settings[0].outcome == "failed on 3 images"


def test_of_several_errors_the_commonest_is_named() -> None:
    found = failures([FailedResult(image, error) for image, error in ("ax", "by", "ay")])
    assert found is not None
    assert (found.images, found.results, found.cause) == (2, 3, "Most often: y")
    assert failures([]) is None


def test_a_run_of_unusable_images_claims_nothing_about_them(tmp_path: Path) -> None:
    for images, start in ((3, "None of the 3 images could be used"), (1, "The only image could not be used")):
        run = open_run(write_run(tmp_path / str(images), images, quarantined=images))
        (sentence,) = index_page(run, {}).summary
        assert sentence.startswith(start)


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ("the file labels.txt", "5, named by the file labels.txt"),
        ("timm's table of imagenet-1k", "5, named by timm's table of imagenet-1k"),
        ("numbered, since no names were given", "5, numbered, since no names were given"),
    ],
)
def test_the_origin_of_class_names_reads_as_a_sentence(origin: str, words: str, tmp_path: Path) -> None:
    folder = RunFolder(write_run(tmp_path / "run"))
    manifest = folder.manifest()
    folder.commit_manifest(replace(manifest, model=replace(manifest.model, class_names_origin=origin)))
    facts = {fact.term: fact.value for fact in index_page(open_run(folder.root), {}).model}
    assert facts["Classes"] == words


def view(name: str, **given: object) -> MapView:
    values = np.eye(2, dtype=np.float32)
    record = technique_record(name, **given)
    return MapView(record, record.title, None, values, "drawn", own_scale(values, False), None)


def test_rollout_shows_the_fusions_and_the_discard_sweep_of_the_study() -> None:
    views = [view("attention_rollout", fusion=fusion) for fusion in ("max", "min", "mean")]
    views += [view("attention_rollout", fusion="max", discard_ratio=ratio) for ratio in (0.95, 0.5)]
    fusion, sweep = map_section(views).figures
    assert [one.title for one in fusion.maps] == ["mean", "min", "max"]
    assert sweep.title == "Discard sweep: 0, 0.5, 0.95"
    assert [one.record.parameters["discard_ratio"] for one in sweep.maps] == [0.0, 0.5, 0.95]


def test_settings_outside_the_study_are_shown_too() -> None:
    views = [view("attention_rollout", fusion=fusion) for fusion in ("max", "min")]
    views.append(view("attention_rollout", fusion="mean", discard_ratio=0.3))
    section = map_section(views)
    assert [figure.title for figure in section.figures] == ["Head fusion: mean, min, max", "Other settings"]
    assert len(section.maps) == 3


def test_a_lone_rollout_is_a_plain_map() -> None:
    section = map_section([view("attention_rollout")])
    assert not section.is_study
    assert len(section.maps) == 1


def test_classes_have_names(pages: list[ImagePage]) -> None:
    assert {target.name for page in pages for target in page.targets} == {CLASSES[1], CLASSES[3]}
