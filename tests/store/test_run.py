from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from synthetic_run import CLASSES, COLS, ROWS, write_run

from vitreport.errors import StoreError
from vitreport.explanation import Attribution
from vitreport.settings import SHARD_SIZE
from vitreport.store import Run, RunFolder, open_run
from vitreport.store.folder import images_part, technique_part
from vitreport.store.schema import maps_table


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return open_run(
        write_run(tmp_path_factory.mktemp("run") / "run", images=5, quarantined=1, targets=(1, 3))
    )


def _ids(run: Run, status: str) -> list[str]:
    rows = run.images.select(["id", "status"]).to_pylist()
    return [row["id"] for row in rows if row["status"] == status]


def test_images_are_a_table_in_id_order_without_the_pictures(run: Run) -> None:
    ids = run.images["id"].to_pylist()
    assert ids == sorted(ids) == [ref.id for ref in run.catalogue]
    assert len(ids) == 5
    assert "view" not in run.images.column_names
    assert run.images["targets"][0].as_py() == [1, 3]
    assert len(_ids(run, "quarantined")) == 1


def test_a_map_is_the_stored_one(run: Run) -> None:
    record = run.technique("attention_rollout:fusion=min")
    table = pq.read_table(run.folder.root / technique_part(record, 0))
    for row in table.to_pylist():
        found = run.map(row["id"], "attention_rollout:fusion=min", target=3)
        assert found.dtype == np.float32
        assert found.shape == (ROWS, COLS)
        assert np.array_equal(found.ravel(), np.asarray(row["map"], np.float32))


def test_a_bare_name_has_the_default_parameters(run: Run) -> None:
    image = _ids(run, "explained")[0]
    for spec in ("attention_rollout", "attention_rollout:fusion=mean", "attention_rollout:discard_ratio=0"):
        assert run.technique(spec).key == "attention_rollout"
    assert not np.array_equal(
        run.map(image, "attention_rollout"), run.map(image, "attention_rollout:fusion=max")
    )


def test_a_class_specific_map_is_that_of_its_target_and_first_without_one(run: Run) -> None:
    image = _ids(run, "explained")[0]
    one, three = (run.map(image, "gradient_rollout", target=target) for target in (1, 3))
    assert not np.array_equal(one, three)
    assert np.array_equal(run.map(image, "gradient_rollout"), one)
    assert np.array_equal(run.map(image, "raw_attention", target=77), run.map(image, "raw_attention"))


def test_an_unknown_technique_is_refused_with_the_nearest_and_all(run: Run) -> None:
    image = _ids(run, "explained")[0]
    with pytest.raises(
        StoreError, match=r"no technique 'raw_atention'; did you mean 'raw_attention'\? it has: raw_"
    ):
        run.map(image, "raw_atention")
    with pytest.raises(StoreError, match="no technique '§'; it has: raw_attention"):
        run.map(image, "§")
    with pytest.raises(StoreError, match="no technique 'attention_rollout:fusion=median'"):
        run.map(image, "attention_rollout:fusion=median")


def test_an_unknown_image_is_refused_with_the_nearest(run: Run) -> None:
    image = _ids(run, "explained")[0]
    with pytest.raises(StoreError, match=f"no image '{image[:-1]}'; did you mean '{image}'"):
        run.map(image[:-1], "raw_attention")
    with pytest.raises(StoreError, match=r"no image \'zzz\'; Run\.images lists them"):
        run.view("zzz")


def test_a_target_that_was_not_explained_is_refused_with_those_that_were(run: Run) -> None:
    image = _ids(run, "explained")[0]
    with pytest.raises(StoreError, match=f"'{image}' was not explained for target 2; it has: 1, 3"):
        run.map(image, "gradient_rollout", target=2)


def test_a_quarantined_image_has_no_map_and_no_view(run: Run) -> None:
    (image,) = _ids(run, "quarantined")
    with pytest.raises(StoreError, match=f"'{image}' has no map: it is quarantined or has no target"):
        run.map(image, "raw_attention")
    assert run.view(image) is None


def test_an_observation_has_no_map(run: Run) -> None:
    with pytest.raises(StoreError, match=r"\'qkv\' is an observation, it has no map; see Run\.observations"):
        run.map(_ids(run, "explained")[0], "qkv")
    table = run.observations(run.technique("qkv"), 0)
    assert set(table["id"].to_pylist()) == set(_ids(run, "explained"))


def test_a_failed_map_gives_its_reason(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", targets=(1, 3)))
    record = run.technique("gradient_rollout")
    image = _ids(run, "explained")[0]
    rows = [
        (image, Attribution(record.key, 1, np.zeros((0, 0), np.float32), "ValueError: no luck")),
        (image, Attribution(record.key, 3, np.ones((ROWS, COLS), np.float32))),
    ]
    run.folder.write_table(technique_part(record, 0), maps_table(rows))
    with pytest.raises(
        StoreError, match=f"'gradient_rollout' failed on image '{image}': ValueError: no luck"
    ):
        run.map(image, "gradient_rollout")
    assert run.map(image, "gradient_rollout", target=3).sum() == ROWS * COLS
    (_, failed), (_, fine) = run.attributions(record, 0)
    assert (failed.error, failed.values.shape, failed.target) == ("ValueError: no luck", (0, 0), 1)
    assert (fine.error, fine.values.shape) == (None, (ROWS, COLS))


def test_a_skipped_technique_gives_its_reason(tmp_path: Path) -> None:
    root = write_run(tmp_path / "run")
    folder = RunFolder(root)
    manifest = folder.manifest()
    first, *others = manifest.techniques
    skipped = replace(first, skipped="this model has no windows")
    folder.commit_manifest(replace(manifest, techniques=(skipped, *others)))
    run = open_run(root)
    with pytest.raises(
        StoreError, match="'raw_attention' was skipped on this model: this model has no windows"
    ):
        run.map(_ids(run, "explained")[0], "raw_attention")
    assert list(run.attributions(run.technique("raw_attention"), 0)) == []


def test_all_maps_of_a_shard_come_in_id_order_with_their_targets(run: Run) -> None:
    found = list(run.attributions(run.technique("gradient_rollout"), 0))
    assert [image for image, _ in found] == [image for image in _ids(run, "explained") for _ in range(2)]
    assert [attribution.target for _, attribution in found[:2]] == [1, 3]
    assert {attribution.target for _, attribution in run.attributions(run.technique("random"), 0)} == {None}


def test_views_are_encoded_pictures(run: Run) -> None:
    views = run.views(0)
    assert set(views) == set(_ids(run, "explained"))
    assert all(view.startswith(b"\xff\xd8\xff") for view in views.values())
    assert run.view(_ids(run, "explained")[0]) == views[_ids(run, "explained")[0]]


def test_maps_are_found_in_every_shard(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", images=SHARD_SIZE + 3, quarantined=0, targets=(0,)))
    assert list(run.shards) == [0, 1]
    assert run.images.num_rows == SHARD_SIZE + 3
    last = run.catalogue[-1]
    assert last.shard == 1
    assert run.map(last.id, "centre").shape == (ROWS, COLS)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run"))
    image = _ids(run, "explained")[0]
    (run.folder.root / images_part(0)).unlink()
    with pytest.raises(StoreError, match=r"images.*part-00000\.parquet is missing; run the same"):
        run.view(image)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(StoreError, match=r"is not a run: it has no manifest\.json"):
            open_run(place)
    assert not (tmp_path / "nowhere").exists()


def test_predictions_name_classes_of_the_model(run: Run) -> None:
    for row in run.images.to_pylist():
        assert all(0 <= index < len(CLASSES) for index in row["top_index"])
