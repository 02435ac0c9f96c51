"""Numbers that stand for images: the same each time for one run, and for nobody without its key.

An image's id is the beginning of its file's checksum, so whoever has the file can compute it. Here
images are numbered in an order that a secret key decides, which nobody can compute from the files. The key
lies in the run folder, outside of everything that is published; with the same key come the same numbers.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from vitreport.errors import StoreError
from vitreport.store.folder import WRITING, RunFolder

KEY = "publish.key"
"""The key's file, below the run folder."""

_BYTES = 32


def publication_key(folder: RunFolder) -> bytes:
    """The key of a run; it is made with the first publication.

    On a disk it is readable for its owner alone; on a URL, for whoever can read the run.

    Raises:
        StoreError: it cannot be written, or what is there is no key.
    """
    folder.fetch([KEY])
    place = folder.root / KEY
    try:
        if not place.exists():
            _make(place)
            folder.send([KEY])
        key = bytes.fromhex(place.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise _no_key(place) from error
    if len(key) != _BYTES:
        raise _no_key(place)
    return key


def _make(place: Path) -> None:
    """Writes a new key, all of it or nothing: half a key would stand in the way of the next publication."""
    writing = place.with_name(f".{place.name}.{secrets.token_hex(4)}{WRITING}")
    handle = os.open(writing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    writing.replace(place)


def _no_key(place: Path) -> StoreError:
    return StoreError(
        f"{place} cannot be read or made as a key of {2 * _BYTES} hex digits; remove it for a new one, "
        "which gives every image another number"
    )


def keyed_digest(key: bytes, text: str) -> str:
    """64 hex digits that only the holder of the key can compute."""
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def pseudonyms(key: bytes, ids: Iterable[str]) -> dict[str, str]:
    """A number for every image: ``image-0001``, by its id."""
    order = sorted(ids, key=lambda image_id: (keyed_digest(key, image_id), image_id))
    width = max(4, len(str(len(order))))
    return {image_id: f"image-{number:0{width}d}" for number, image_id in enumerate(order, start=1)}
