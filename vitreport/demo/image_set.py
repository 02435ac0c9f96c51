"""The demonstration's images on disk: pictures, masks, and a table that says what is in them."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

from PIL import Image

from vitreport.demo.scene import Series, make_scene
from vitreport.demo.shape import CLASSES
from vitreport.demo.watermark import stamp
from vitreport.errors import StoreError

GROUPS = ("one object", "one object, marked", "two objects")


def write_images(table: Path, images: int) -> None:
    """Writes pictures that no embedded model was trained on, their masks, and a table of them.

    Classes and groups take turns: scenes with one object, such scenes with the watermark whatever their
    class, and scenes with two objects, which have no label. What is already there is left as it is.

    Args:
        table: the CSV table to write: path, label, group, objects. ``images/`` and ``masks/`` are beside it.
            A mask has the stem of its picture; in it 0 is background and k the class of index k - 1. Its
            folder appears whole or not at all.
        images: how many.

    Raises:
        StoreError: the folder has other images, or cannot be written.
    """
    rows = []
    for number in range(images):
        names, group = [CLASSES[label] for label in _labels(number)], _group(number)
        label = names[0] if len(names) == 1 else ""
        rows.append([f"images/{number:04d}-{'-'.join(names)}.png", label, group, " and ".join(names)])
    text = _csv([["path", "label", "group", "objects"], *rows]).encode()
    folder = table.parent
    try:
        if folder.exists():
            there = table.is_file() and table.read_bytes() == text
            if not there or not all((folder / path).is_file() for path, *_ in rows):
                raise StoreError(
                    f"{folder} holds other images than the {images} asked for; choose another -o"
                )
            return
        drawing = folder.with_name(f".{folder.name}.writing")
        shutil.rmtree(drawing, ignore_errors=True)
        for room in ("images", "masks"):
            (drawing / room).mkdir(parents=True)
        for number, (path, *_) in enumerate(rows):
            scene = make_scene((Series.DEMONSTRATION, number), _labels(number))
            marked = _group(number) == "one object, marked"
            Image.fromarray(stamp(scene.pixels) if marked else scene.pixels).save(drawing / path)
            Image.fromarray(scene.mask).save(drawing / path.replace("images/", "masks/"))
        (drawing / table.name).write_bytes(text)
        drawing.rename(folder)
    except OSError as error:
        raise StoreError(f"cannot write images to {folder}: {error}; choose another -o") from error


def _csv(rows: list[list[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _group(number: int) -> str:
    return GROUPS[number % len(GROUPS)]


def _labels(number: int) -> tuple[int, ...]:
    """The classes in the picture of that number; every pair of classes has its turn."""
    label = number % len(CLASSES)
    if _group(number) != "two objects":
        return (label,)
    further = 1 + number // (len(CLASSES) * len(GROUPS)) % (len(CLASSES) - 1)
    return label, (label + further) % len(CLASSES)
