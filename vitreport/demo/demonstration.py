"""The main job on the embedded model and images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitreport.demo.image_set import write_images
from vitreport.errors import SettingsError, StoreError
from vitreport.faithfulness.metric import select as select_metrics
from vitreport.model.embedded import EMBEDDED, embedded_folder
from vitreport.settings import RunSettings
from vitreport.store import RunFolder
from vitreport.store.folder import DEMO_TABLE
from vitreport.techniques.technique import select


def prepare(folder: RunFolder, model: str, images: int, options: Mapping[str, Any]) -> RunSettings:
    """Writes the demonstration's images into a run folder.

    The two likeliest classes of every image are explained, and its label where it has one: two objects in
    one picture show what a technique knows of classes, and a wrong prediction what misled the model.

    Args:
        folder: the run folder, on a disk.
        model: ``honest`` or ``shortcut``.
        images: how many.
        options: further settings: techniques, metrics, how many images are scored.

    Returns:
        The settings to explain them with.

    Raises:
        SettingsError: the folder is on a URL, there is no such model, or a technique or metric cannot be
            used.
        StoreError: the folder holds something else, other images or another run, or cannot be written.
    """
    name = f"{EMBEDDED}{model}"
    embedded_folder(name)
    if not folder.is_on_disk:
        raise SettingsError(f"the demonstration draws its images on a disk, not on {folder.place()}")
    table = folder.root / DEMO_TABLE
    if folder.claim() is not None and not table.is_file():
        raise StoreError(f"{folder.place()} holds another run; nothing was touched; choose another -o")
    fixed = {"images": (str(table),), "model": name, "targets": ("top2", "label")}
    settings = RunSettings.from_mapping({**fixed, "masks": str(table.parent / "masks"), **options})
    select(settings.techniques)
    select_metrics(settings.metrics)
    write_images(table, images)
    return settings
