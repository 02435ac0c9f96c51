"""What the user names, files, folders, CSV tables, tars and URLs, as a list of images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from vitreport.errors import SettingsError, did_you_mean
from vitreport.explanation import ClassNames
from vitreport.images.csv_table import read_csv
from vitreport.images.file import printable
from vitreport.images.folder import read_folder
from vitreport.images.hub_dataset import PREFIX, read_dataset
from vitreport.images.item import SourceItem
from vitreport.images.place import Place
from vitreport.images.remote import read_url
from vitreport.images.tar import is_archives, read_archives
from vitreport.url import is_url


def read_sources(images: Sequence[str], classes: ClassNames) -> tuple[list[SourceItem], list[str]]:
    """Lists the images that `images` name, in the order given, and what the user should know of them.

    A folder is read with all below it, a ``.csv`` file row by row, a ``.tar`` or a folder of them sample by
    sample, and a URL through fsspec; any other file is taken as an image, whatever its suffix. A file named
    twice is listed where it is named first, with what any later mention adds to it (a CSV table after a
    folder gives the labels).

    Raises:
        SettingsError: something named does not exist, cannot be read or holds no image.
    """
    items: list[SourceItem] = []
    notices: list[str] = []
    for argument in images:
        path = Path(argument)
        if is_url(argument):
            found, said = read_url(argument, classes)
        elif argument.startswith(PREFIX) and not _exists(argument):
            found, said = read_dataset(argument, classes)
        elif not _exists(argument):
            raise SettingsError(
                f"no such file or folder: '{printable(path) if argument else ''}'{_nearest(path)}; "
                "name image files, folders of images, CSV tables, tars or URLs"
            )
        elif is_archives(path):
            found, said = read_archives(path, classes)
        elif path.is_dir():
            found, said = read_folder(path, classes)
        elif path.suffix.lower() == ".csv":
            found, said = read_csv(path, classes)
        else:
            found, said = [SourceItem(printable(path), path)], []
        items += found
        notices += said
    return _once(items, notices)


def _once(items: Sequence[SourceItem], notices: list[str]) -> tuple[list[SourceItem], list[str]]:
    """Each file once, and notices on what was named again."""
    folders: dict[Path, Path] = {}
    kept: dict[Place, SourceItem] = {}
    again, torn = 0, list[SourceItem]()
    for item in items:
        key = item.path
        if isinstance(key, Path):
            folder = folders.get(key.parent)
            if folder is None:
                folder = folders[key.parent] = _resolved(key.parent)
            key = folder / key.name
        first = kept.get(key)
        if first is None:
            kept[key] = item
            continue
        again += 1
        if None not in (first.label, item.label) and first.label != item.label:
            torn.append(first)
        kept[key] = dataclasses.replace(
            first,
            label=item.label if first.label is None else first.label,
            group=item.group if first.group is None else first.group,
            meta={**item.meta, **first.meta},
        )
    said = list(notices)
    if again:
        said.append(
            f"{again} {'file was' if again == 1 else 'files were'} named more than once and listed once"
        )
    if torn:
        said.append(
            f"'{torn[0].uri}' is named with more than one label"
            f"{f', and so are {len(torn) - 1} more' if len(torn) > 1 else ''}; the first label is used"
        )
    return list(kept.values()), said


def _exists(argument: str) -> bool:
    """True for anything that is there, and for a link to nothing: that is one image that cannot be read."""
    path = Path(argument)
    try:
        return bool(argument) and (path.exists() or path.is_symlink())
    except (OSError, ValueError):
        return False


def _resolved(folder: Path) -> Path:
    try:
        return folder.resolve()
    except (OSError, RuntimeError, ValueError):
        return folder


def _nearest(path: Path) -> str:
    try:
        names = [printable(entry.name) for entry in path.parent.iterdir() if not entry.name.startswith(".")]
    except (OSError, ValueError):
        return ""
    return did_you_mean(printable(path.name), names)
