"""Masks: which file is whose, and what its numbers mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitreport.errors import ImageError, SettingsError
from vitreport.explanation import ImageRef
from vitreport.images.decode import decode_mask
from vitreport.images.masks import find_masks


def ref(uri: str, sha256: str | None = None) -> ImageRef:
    return ImageRef(uri.replace("/", "_"), uri, sha256 or uri, 1)


def write(path: Path, levels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((2, 2), np.uint8) if levels is None else levels).save(path)


def test_a_mask_has_the_name_of_its_image(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    write(tmp_path / "deep/b.PNG")
    write(tmp_path / "c.jpg")
    found = find_masks(tmp_path, [ref("photos/a.jpeg"), ref("photos/b.webp"), ref("photos/c.jpg")])
    assert found.paths == {"photos_a.jpeg": tmp_path / "a.png", "photos_b.webp": tmp_path / "deep/b.PNG"}


def test_of_several_with_that_name_the_folders_decide(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/1.png"):
        write(tmp_path / name)
    found = find_masks(tmp_path, [ref("set/dog/1.jpg"), ref("set/cat/1.jpg")])
    assert found.paths == {
        "set_dog_1.jpg": tmp_path / "dog/1.png",
        "set_cat_1.jpg": tmp_path / "cat/1.png",
    }


def test_the_mask_in_the_image_s_own_folder_wins_over_one_with_further_folders(tmp_path: Path) -> None:
    for name in ("other/cat/1.png", "cat/1.png"):
        write(tmp_path / name)
    assert find_masks(tmp_path, [ref("cat/1.jpg")]).paths == {"cat_1.jpg": tmp_path / "cat/1.png"}


def test_two_masks_of_one_picture_are_refused(tmp_path: Path) -> None:
    for name in ("train/1.png", "val/1.png"):
        write(tmp_path / name)
    with pytest.raises(SettingsError, match=r"1\.jpg could have the mask train/1\.png or val/1\.png"):
        find_masks(tmp_path, [ref("1.jpg")])


def test_a_mask_of_two_pictures_is_refused_and_of_two_copies_taken(tmp_path: Path) -> None:
    write(tmp_path / "1.png")
    with pytest.raises(SettingsError, match=r"could belong to set/cat/1\.jpg or to set/dog/1\.jpg"):
        find_masks(tmp_path, [ref("set/cat/1.jpg"), ref("set/dog/1.jpg")])
    copies = [ref("set/cat/1.jpg", "same"), ref("set/dog/1.jpg", "same")]
    assert len(find_masks(tmp_path, copies).paths) == 2


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    first = find_masks(tmp_path, [ref("a.jpg")]).sha256
    assert find_masks(tmp_path, [ref("a.jpg")]).sha256 == first
    write(tmp_path / "a.png", np.ones((2, 2), np.uint8))
    assert find_masks(tmp_path, [ref("a.jpg")]).sha256 != first


def test_no_mask_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        find_masks(tmp_path / "none", [])
    with pytest.raises(SettingsError, match="has no mask of any image"):
        find_masks(tmp_path, [ref("a.jpg")])


@pytest.mark.parametrize("mode", ["L", "P"])
def test_numbers_are_classes(mode: str, tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1], [7, 255]], np.uint8))
    if mode == "P":
        picture = Image.frombytes("P", (2, 2), picture.tobytes())
        picture.putpalette(list(range(256)) * 3)
    picture.save(tmp_path / "a.png")
    assert decode_mask(tmp_path / "a.png").tolist() == [[-1, 0], [6, -2]]


def test_sixteen_bits_hold_a_thousand_classes(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255], [1000, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert decode_mask(tmp_path / "a.png").tolist() == [[-1, 254], [999, -2]]


def test_colours_and_other_formats_are_no_mask(tmp_path: Path) -> None:
    write(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(ImageError, match="one number a pixel"):
        decode_mask(tmp_path / "a.png")
    write(tmp_path / "a.jpg")
    with pytest.raises(ImageError):
        decode_mask(tmp_path / "a.jpg")
