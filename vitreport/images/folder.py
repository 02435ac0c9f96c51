"""Images from a folder and all that is below it."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

from vitreport.errors import SettingsError
from vitreport.explanation import ClassNames
from vitreport.images.file import printable, system_reason
from vitreport.images.item import SourceItem, class_of

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".gif", ".bmp"),
    *(".tif", ".tiff", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
)
"""Which files of a folder are images; upper or lower case does not matter."""


def read_folder(folder: Path, classes: ClassNames) -> tuple[list[SourceItem], list[str]]:
    """Lists the images below `folder`, sorted by relative path, and what the user should know of it.

    The first sub-folder of every image is its label, where all images are in sub-folders and all these
    names are classes of the model. Otherwise its relative folder is its group.
    Hidden files and folders are left out; links are followed, but no folder is read twice.

    Raises:
        SettingsError: the folder cannot be read, or has no image in it.
    """
    name = printable(folder)
    relatives, notices = _images_below(folder)
    if not relatives:
        raise SettingsError(
            f"no image in the folder '{name}' or below it; looked for files that end in "
            f"{' '.join(SUFFIXES)} and are not hidden"
        )
    parents = {relative.parts[0] for relative in relatives if len(relative.parts) > 1}
    labels = {parent: class_of(printable(parent), classes) for parent in sorted(parents)}
    strangers = [printable(parent) for parent, label in labels.items() if label is None]
    loose = sum(len(relative.parts) == 1 for relative in relatives)
    labelled = bool(labels) and not strangers and not loose
    if labelled:
        notices.append(f"the sub-folders of '{name}' are classes of this model; they are used as labels")
    elif strangers:
        notices.append(
            f"not all sub-folders of '{name}' are classes of this model ('{strangers[0]}' is none); "
            "they are used as groups"
        )
    elif labels:
        notices.append(
            f"the sub-folders of '{name}' are classes of this model, but {loose} of its images "
            f"{'is' if loose == 1 else 'are'} in none of them; they are used as groups"
        )
    items = []
    for relative in relatives:
        path = folder / relative
        if labelled:
            items.append(SourceItem(printable(path), path, label=labels[relative.parts[0]]))
        else:
            group = printable(relative.parent) if len(relative.parts) > 1 else None
            items.append(SourceItem(printable(path), path, group=group))
    return items, notices


def _images_below(folder: Path) -> tuple[list[PurePath], list[str]]:
    """Relative paths of the images, sorted; and a notice for every folder that cannot be read.

    Real folders come before linked ones, so that a folder that is also linked keeps its own name. A link
    to a folder already seen, or to one that `folder` itself lies in, leads nowhere new.
    """
    found: list[PurePath] = []
    notices: list[str] = []
    seen = {_identity(parent) for parent in folder.resolve().parents} - {None}
    real, linked = [PurePath()], list[PurePath]()
    while real or linked:
        relative = real.pop() if real else linked.pop(0)
        try:
            identity = _identity(folder / relative)
            if identity in seen:
                continue
            seen |= {identity} - {None}
            with os.scandir(folder / relative) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            text = f"cannot read the folder '{printable(folder / relative)}': {system_reason(error)}"
            if not relative.parts:
                raise SettingsError(f"{text}; name a folder that you may read") from None
            notices.append(f"{text}; it is left out")
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not _is_folder(entry):
                if entry.name.lower().endswith(SUFFIXES):
                    found.append(relative / entry.name)
            elif entry.is_symlink():
                linked.append(relative / entry.name)
            else:
                real.append(relative / entry.name)
        linked.sort()
    return sorted(found), sorted(notices)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Device and inode: the same under every name of a folder. None where the system does not tell."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
