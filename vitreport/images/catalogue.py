"""The catalogue: every image hashed, numbered and dealt into shards before anything is explained."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from vitreport.errors import ImageError
from vitreport.explanation import ClassNames, ImageRef
from vitreport.images.file import printable, relative
from vitreport.images.item import SourceItem
from vitreport.images.place import Place, pieces
from vitreport.images.source import read_sources
from vitreport.settings import SHARD_SIZE, digest

Progress = Callable[[int, int], None]
"""Called with the number of images hashed and the number of all; first with 0."""

_THREADS = 8
_ID_DIGITS = 16
_UNREADABLE = ("", 0)


@dataclass(frozen=True)
class Catalogue:
    """The images of a run.

    Attributes:
        refs: in id order (as text), with their shards.
        notices: sentences that tell the user how the sources were understood.
        sha256: root digest over id, uri, SHA-256, label, group and meta of every image, hex.
        paths: what opens each image, by id. Not stored: a uri is text that can be printed,
            and where a file name is not UTF-8 it does not open the file.
    """

    refs: tuple[ImageRef, ...]
    notices: tuple[str, ...]
    sha256: str
    paths: Mapping[str, Place] = field(repr=False)


def build_catalogue(
    images: Sequence[str],
    classes: ClassNames,
    limit: int | None = None,
    progress: Progress | None = None,
    home: Path | None = None,
) -> Catalogue:
    """Lists the images that the user named, hashes them and numbers them.

    The same files under the same names give the same catalogue, in whatever order a folder lists them.
    An image that cannot be read stays in the catalogue, with an empty SHA-256 and an id that starts with
    ``x`` and stands for its uri; `decode` says why.

    Args:
        images: files, folders, CSV tables, tars and URLs.
        classes: of the model; they decide what is a label.
        limit: take only the first so many images, in the order of the sources.
        progress: told of every image hashed.
        home: the run folder; images in it are named by their path below it, wherever it lies.

    Raises:
        SettingsError: as `read_sources`.
    """
    items, notices = read_sources(images, classes)
    items = [_named(item, home) for item in items[:limit]]
    named: defaultdict[str, list[tuple[SourceItem, str, int]]] = defaultdict(list)
    for item, (sha256, size) in zip(items, _hashes(items, progress), strict=True):
        stem = (
            sha256[:_ID_DIGITS]
            if sha256
            else "x" + hashlib.sha256(item.uri.encode()).hexdigest()[1:_ID_DIGITS]
        )
        named[stem].append((item, sha256, size))
    numbered = []
    for stem, twins in named.items():
        twins.sort(key=lambda twin: (twin[0].uri, str(twin[0].path)))
        for number, twin in enumerate(twins, start=1):
            numbered.append((stem if number == 1 else f"{stem}-{number}", *twin))
    numbered.sort(key=lambda entry: entry[0])
    copies = sum(len(twins) - 1 for stem, twins in named.items() if not stem.startswith("x"))
    if copies:
        notices.append(f"{copies} {'file is a copy' if copies == 1 else 'files are copies'} of another")
    refs = tuple(
        ImageRef(image_id, item.uri, sha256, size, item.label, item.group, item.meta, place // SHARD_SIZE)
        for place, (image_id, item, sha256, size) in enumerate(numbered)
    )
    paths = {image_id: item.path for image_id, item, _, _ in numbered}
    return Catalogue(refs, tuple(notices), _root(refs), paths)


def _named(item: SourceItem, home: Path | None) -> SourceItem:
    below = relative(item.path, home) if isinstance(item.path, Path) else None
    return item if below is None else dataclasses.replace(item, uri=printable(below))


def _hashes(items: Sequence[SourceItem], progress: Progress | None) -> Iterator[tuple[str, int]]:
    """SHA-256 and size of every file in order, a shard of files at a time so that memory stays flat."""
    tell = progress or (lambda done, total: None)
    tell(0, len(items))
    done = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for start in range(0, len(items), SHARD_SIZE):
                paths = [item.path for item in items[start : start + SHARD_SIZE]]
                for result in pool.map(_hash, paths):
                    done += 1
                    tell(done, len(items))
                    yield result
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _hash(place: Place) -> tuple[str, int]:
    sha256, size = hashlib.sha256(), 0
    try:
        for piece in pieces(place):
            sha256.update(piece)
            size += len(piece)
    except ImageError:
        return _UNREADABLE
    return sha256.hexdigest(), size


def _root(refs: Sequence[ImageRef]) -> str:
    root = hashlib.sha256()
    for ref in refs:
        root.update(digest([ref.id, ref.uri, ref.sha256, ref.label, ref.group, dict(ref.meta)]).encode())
    return root.hexdigest()
