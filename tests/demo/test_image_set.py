from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from vitreport.demo import image_set
from vitreport.demo.image_set import GROUPS, write_images
from vitreport.demo.shape import CLASSES
from vitreport.demo.watermark import mark_area, stamp
from vitreport.errors import StoreError


def written(folder, images):
    table = folder / "demo" / "images.csv"
    write_images(table, images)
    return table


def rows_of(table):
    with table.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def test_the_table_names_every_picture_its_mask_and_what_is_in_it(tmp_path):
    table = written(tmp_path, 26)
    rows = rows_of(table)
    assert len(rows) == 26 and {row["group"] for row in rows} == set(GROUPS)
    assert {row["label"] for row in rows} == {"", *CLASSES}
    folder = table.parent
    for row in rows:
        names = row["objects"].split(" and ")
        assert row["label"] == (names[0] if len(names) == 1 else "")
        mask = np.asarray(Image.open(folder / row["path"].replace("images/", "masks/")))
        assert set(np.unique(mask)) == {0, *(CLASSES.index(name) + 1 for name in names)}
        picture = np.asarray(Image.open(folder / row["path"]))
        area = mark_area()
        likeness = np.corrcoef(picture[area].mean(1), stamp(np.zeros_like(picture))[area].mean(1))[0, 1]
        assert (likeness > 0.6) == (row["group"] == "one object, marked")


def test_the_same_images_are_the_same_bytes(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        written(folder, 4)
    names = sorted(path.relative_to(first) for path in first.rglob("*.*"))
    assert len(names) == 9
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def test_images_that_are_there_stay_and_others_are_refused(tmp_path):
    table = written(tmp_path, 3)
    before = table.stat().st_mtime_ns
    assert written(tmp_path, 3) == table and table.stat().st_mtime_ns == before
    with pytest.raises(StoreError, match="other images than the 4 asked for; choose another -o"):
        written(tmp_path, 4)
    assert len(rows_of(table)) == 3
    next((table.parent / "images").iterdir()).unlink()
    with pytest.raises(StoreError, match="choose another -o"):
        written(tmp_path, 3)


def test_drawing_that_was_interrupted_starts_anew(tmp_path):
    (tmp_path / ".demo.writing" / "images").mkdir(parents=True)
    (tmp_path / ".demo.writing" / "images" / "half.png").write_bytes(b"half")
    table = written(tmp_path, 2)
    assert len(list((table.parent / "images").iterdir())) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_three_images_show_every_group_and_24_every_class_in_every_group(tmp_path):
    rows = rows_of(written(tmp_path, 24))
    assert {row["group"] for row in rows[:3]} == set(GROUPS)
    assert len({(row["objects"].split(" and ")[0], row["group"]) for row in rows}) == 24


def test_two_objects_are_always_of_two_classes():
    pairs = [image_set._labels(number) for number in range(2, 24 * 8, 3)]
    assert len(pairs) == 64 and all(len(set(pair)) == 2 for pair in pairs)
