"""The main job on the embedded model and images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vitreport.demo.image_set import write_images
from vitreport.errors import StoreError
from vitreport.model.embedded import EMBEDDED, embedded_folder
from vitreport.settings import RunSettings
from vitreport.store import RunFolder
from vitreport.store.folder import DEMO_TABLE
from vitreport.techniques.technique import select


def prepare(output: Path, model: str, images: int, techniques: Sequence[str]) -> RunSettings:
    """Writes the demonstration's images into a run folder.

    The two likeliest classes of every image are explained, and its label where it has one: two objects in
    one picture show what a technique knows of classes, and a wrong prediction what misled the model.

    Args:
        output: the run folder.
        model: ``honest`` or ``shortcut``.
        images: how many.
        techniques: specs and tiers.

    Returns:
        The settings to explain them with.

    Raises:
        SettingsError: there is no such model, or a technique cannot be used.
        StoreError: the folder holds something else, other images or another run, or cannot be written.
    """
    name = f"{EMBEDDED}{model}"
    embedded_folder(name)
    select(techniques)
    table = output / DEMO_TABLE
    if RunFolder(output).claim() is not None and not table.is_file():
        raise StoreError(f"{output} holds another run; nothing was touched; choose another -o")
    write_images(table, images)
    return RunSettings(
        images=(str(table),), model=name, techniques=tuple(techniques), targets=("top2", "label")
    )
