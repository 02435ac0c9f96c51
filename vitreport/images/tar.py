"""Images from tar shards as WebDataset writes them: the files of a sample follow each other, named alike.

Nothing is ever unpacked: members are read where they lie in the archive, so links, absolute paths and ``..``
are no more than names. Members that are no regular files are left out.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from vitreport.errors import ImageError, SettingsError
from vitreport.explanation import ClassNames
from vitreport.images.file import printable, system_reason
from vitreport.images.folder import SUFFIXES
from vitreport.images.item import SourceItem, class_of
from vitreport.images.place import PIECE, refuse_huge

SIDECAR_LIMIT = 1 << 16
"""Bytes of the largest ``cls`` or ``json`` that is read."""
_LABELS = ("label", "cls", "class")
_FAILURES = (tarfile.TarError, OSError, ValueError, OverflowError, EOFError, RecursionError)


@dataclass(frozen=True)
class TarMember:
    """A file in an archive.

    Attributes:
        archive: a plain tar.
        offset: where its bytes begin.
        size: how many there are.
    """

    archive: Path
    offset: int
    size: int

    def pieces(self) -> Iterator[bytes]:
        """See `Stored.pieces`."""
        refuse_huge(self.size)
        try:
            with self.archive.open("rb") as file:
                file.seek(self.offset)
                left = self.size
                while left:
                    piece = file.read(min(PIECE, left))
                    if not piece:
                        raise ImageError("the archive ends in the middle of it")
                    left -= len(piece)
                    yield piece
        except OSError as error:
            raise ImageError(f"its archive cannot be read: {system_reason(error)}") from None


@dataclass
class _Sample:
    """What an archive holds under one key."""

    name: str = ""
    image: TarMember | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def is_archives(path: Path) -> bool:
    """Whether `path` is a tar, or a folder that has tars and no images right in it."""
    if path.suffix.lower() == ".tar":
        return path.is_file()
    try:
        suffixes = {entry.suffix.lower() for entry in path.iterdir() if not entry.name.startswith(".")}
    except OSError:
        return False
    return ".tar" in suffixes and not suffixes & set(SUFFIXES)


def read_archives(path: Path, classes: ClassNames) -> tuple[list[SourceItem], list[str]]:
    """Lists the images of a tar, or of all tars right in a folder, and what the user should know of them.

    The key of a sample is its name up to the first dot of the last part. Its first image is taken, its label
    from ``.cls`` or the ``label`` in ``.json``, its group from the ``group`` there; other plain values of the
    JSON are `meta`. If a label is no class of the model, labels are groups, as in a CSV table.

    Raises:
        SettingsError: no image is in any of them.
    """
    archives = [path] if path.is_file() else sorted(path.glob("*.[tT][aA][rR]"))
    samples: list[tuple[Path, _Sample]] = []
    notices: list[str] = []
    for archive in archives:
        samples += [(archive, sample) for sample in _samples(archive, notices)]
    if not samples:
        said = f"; {notices[0]}" if notices else ""
        raise SettingsError(
            f"no image in the archive{'s' * (len(archives) != 1)} '{printable(path)}'{said}; they are plain "
            "tars, not compressed, of files such as 000012.jpg and 000012.cls"
        )
    return _items(path, samples, classes, notices), notices


def _samples(archive: Path, notices: list[str]) -> Iterator[_Sample]:
    """The samples of an archive that have an image, in order; of a damaged one those before the damage."""
    samples: dict[str, _Sample] = {}
    try:
        with archive.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as members:
            for member in members:
                if member.isreg() and not member.issparse():
                    _take(samples, member, archive, file)
    except _FAILURES as error:
        reason = system_reason(error) if isinstance(error, OSError) and error.errno else "it is damaged"
        notices.append(f"'{printable(archive)}' cannot be read to its end ({reason}); the rest is left out")
    yield from (sample for sample in samples.values() if sample.image)


def _take(samples: dict[str, _Sample], member: tarfile.TarInfo, archive: Path, file: BinaryIO) -> None:
    folder, _, last = member.name.rpartition("/")
    stem, _, suffix = last.partition(".")
    if not stem:
        return
    sample = samples.setdefault(f"{folder}/{stem}", _Sample())
    suffix = suffix.lower()
    if f".{suffix}" in SUFFIXES:
        if sample.image is None:
            sample.name = member.name
            sample.image = TarMember(archive, member.offset_data, member.size)
    elif suffix in ("cls", "json") and member.size <= SIDECAR_LIMIT:
        file.seek(member.offset_data)
        content = file.read(member.size).decode("utf-8", "replace")
        sample.facts = {**sample.facts, **_facts(suffix, content)}


def _facts(suffix: str, content: str) -> Mapping[str, Any]:
    if suffix == "cls":
        return {"label": content.strip()}
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    plain = {str(name): str(value) for name, value in found.items() if isinstance(value, str | int | float)}
    label = next((plain.pop(name) for name in _LABELS if name in plain), None)
    return plain if label is None else {**plain, "label": label}


def _items(
    path: Path, samples: Sequence[tuple[Path, _Sample]], classes: ClassNames, notices: list[str]
) -> list[SourceItem]:
    texts = {sample.facts["label"] for _, sample in samples if sample.facts.get("label")}
    labels = {text: class_of(text, classes) for text in texts}
    strangers = sorted(text for text, label in labels.items() if label is None)
    if strangers:
        notices.append(
            f"not all labels in '{printable(path)}' are classes of this model "
            f"('{printable(strangers[0])}' is none); they are used as groups"
        )
    items = []
    for archive, sample in samples:
        facts = dict(sample.facts)
        text = facts.pop("label", None) or None
        group = facts.pop("group", None) or (text if strangers else None)
        uri = printable(archive / sample.name.lstrip("/"))
        label = None if strangers or text is None else labels[text]
        assert sample.image is not None
        items.append(SourceItem(uri, sample.image, label, group, facts))
    return items
