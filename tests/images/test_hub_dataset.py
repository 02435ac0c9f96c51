from __future__ import annotations

import hashlib
import io
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from vitreport.errors import ImageError, SettingsError
from vitreport.explanation import ClassNames
from vitreport.images import build_catalogue, hub_dataset
from vitreport.images.place import pieces

datasets = pytest.importorskip("datasets", reason="the library datasets is not installed")
CLASSES = ClassNames(("disc", "square", "triangle", "star", "cross"))


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A dataset of three rows on the disk, the last without an image; no network."""
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    rows = {
        "image": [{"bytes": png(10), "path": None}, {"bytes": png(20), "path": None}, None],
        "label": [3, 0, None],
        "group": ["day", None, "night"],
    }
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["square", "disc", "cross", "star"]),
            "group": datasets.Value("string"),
        }
    )
    datasets.disable_progress_bars()
    table = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict({"validation": table}).save_to_disk(tmp_path / "saved")
    yield f"hfds/{tmp_path}/saved"
    hub_dataset._table.cache_clear()
    hub_dataset._images.cache_clear()


def test_rows_have_the_bytes_labels_and_groups_of_the_dataset(saved: str) -> None:
    catalogue = build_catalogue([saved], CLASSES)
    refs = sorted(catalogue.refs, key=lambda ref: ref.uri)
    assert [ref.uri for ref in refs] == [
        f"{saved.replace('//', '/')}/validation/{index:08}" for index in range(3)
    ]
    assert [(ref.label, ref.group) for ref in refs] == [(3, "day"), (1, None), (None, "night")]
    assert [ref.sha256 for ref in refs] == [
        hashlib.sha256(png(10)).hexdigest(), hashlib.sha256(png(20)).hexdigest(), ""
    ]  # fmt: skip
    place = pickle.loads(pickle.dumps(catalogue.paths[refs[0].id]))
    assert b"".join(pieces(place)) == png(10)
    with pytest.raises(ImageError, match="its row has no image"):
        list(pieces(catalogue.paths[refs[2].id]))


def test_names_that_are_no_classes_are_groups(saved: str) -> None:
    catalogue = build_catalogue([saved], ClassNames(("llama",)))
    assert sorted((ref.label, str(ref.group)) for ref in catalogue.refs if ref.sha256) == [
        (None, "day"), (None, "square")
    ]  # fmt: skip
    assert "they are used as groups" in catalogue.notices[0]


@pytest.mark.parametrize("argument", ["hfds/somebody/nothing-of-this-name", "{}:train"])
def test_a_dataset_that_is_out_of_reach_is_refused_in_one_line(saved: str, argument: str) -> None:
    with pytest.raises(
        SettingsError, match=r"cannot load 'hfds/.*name a dataset that is in the cache"
    ) as caught:
        build_catalogue([argument.format(saved)], CLASSES)
    assert "\n" not in str(caught.value)


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SettingsError, match=r"pip install 'vitreport\[datasets\]'"):
        build_catalogue(["hfds/beans"], CLASSES)
