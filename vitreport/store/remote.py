"""A run folder at a URL. What is written is committed there; the report is drawn from a working copy.

There is no lock at a URL. Two commands with equal settings at once do no harm: the parts that they write are
equal, and each is there whole or not at all. Those of others would mix, which `verify` tells.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import pyarrow as pa

from vitreport.errors import StoreError
from vitreport.store.folder import MANIFEST, WRITING, RunFolder, Told, is_sealed
from vitreport.store.manifest import Manifest
from vitreport.store.objects import Objects, is_inside
from vitreport.url import is_url, without_secrets

RunPlace = str | Path | RunFolder
"""Where a run folder is: its path, its URL, or the folder itself, of which a working copy is used again."""


def run_folder(place: RunPlace) -> RunFolder:
    """The run folder at a path or a URL.

    The working copy of one at a URL lies in the temporary folder and goes with the last use of the result.

    Raises:
        SettingsError: a URL cannot be opened, mostly because a package is missing.
    """
    if isinstance(place, RunFolder):
        return place
    if isinstance(place, Path) or not is_url(place):
        return RunFolder(Path(place))
    Objects(place)  # what is missing is said at once
    folder = RemoteFolder(Path(tempfile.mkdtemp(prefix="vitreport-")), place.rstrip("/"))
    weakref.finalize(folder, shutil.rmtree, folder.root, ignore_errors=True)
    return folder


@dataclass(frozen=True)
class RemoteFolder(RunFolder):
    """A run folder at a URL; below `root` lies what was read and written of it so far.

    In another process, which may be on another machine, it is the URL alone and keeps nothing.

    Attributes:
        url: of the folder, with the secrets that it may hold; `place` leaves them out.
        keeps: whether there is a working copy.
        outer: the run folder that this one lies in; its working copy stays as long as this one is in use.
    """

    url: str
    keeps: bool = True
    outer: RunFolder | None = None

    def __reduce__(self) -> tuple[type[RemoteFolder], tuple[Path, str, bool]]:
        return RemoteFolder, (Path(os.devnull), self.url, False)

    @property
    def is_on_disk(self) -> bool:
        """See `RunFolder.is_on_disk`."""
        return False

    @cached_property
    def objects(self) -> Objects:
        """The files at the URL."""
        return Objects(self.url)

    @cached_property
    def _rooms(self) -> dict[str, set[str]]:
        """What is committed, as far as it was asked for, by the first name of the path."""
        return {}

    def place(self, path: str = "") -> str:
        """See `RunFolder.place`."""
        url = without_secrets(self.url)
        return f"{url}/{path}" if path else url

    def below(self, name: str) -> RunFolder:
        """See `RunFolder.below`."""
        return RemoteFolder(self.root / name, f"{self.url}/{name}", self.keeps, self)

    def look(self) -> None:
        """See `RunFolder.look`."""
        self._rooms.clear()

    def claim(self) -> Manifest | None:
        """See `RunFolder.claim`; whether the place can be written shows with the first file."""
        if self.objects.is_file():
            raise StoreError(f"{self.place()} is a file; choose another -o")
        if self.has(MANIFEST):
            before = self.manifest()
            return before if self.has_results() else None
        self._refuse_strangers()
        return None

    def is_in_a_run(self) -> bool:
        """See `RunFolder.is_in_a_run`."""
        return self.objects.has_around(MANIFEST)

    def names(self) -> list[str]:
        """See `RunFolder.names`."""
        return sorted(self.objects.names())

    @contextmanager
    def working(self) -> Iterator[None]:
        """Removes what a killed process left half-written long ago; there is no lock at a URL."""
        self.objects.sweep()
        yield

    def has_results(self) -> bool:
        """See `RunFolder.has_results`."""
        parts = (PurePosixPath(path) for path in self.files_below("data"))
        return any(len(part.parts) > 2 and part.match("part-*.parquet") for part in parts)

    def has(self, path: str) -> bool:
        """See `RunFolder.has`."""
        return is_inside(path) and path in self._room(path.partition("/")[0])

    def files_below(self, room: str) -> Iterator[str]:
        """See `RunFolder.files_below`."""
        known = self._room(room.partition("/")[0]) if room else self.objects.paths("")
        start = f"{room}/" if room else ""
        found = (path for path in known if path.startswith(start) and not path.endswith(WRITING))
        yield from sorted(found, key=lambda path: path.split("/"))

    def read(self, path: str) -> bytes:
        """See `RunFolder.read`."""
        if not is_inside(path):
            raise self.missing(path)
        if self.keeps and (self.root / path).is_file():
            return (self.root / path).read_bytes()
        content = self.objects.get(path)
        if content is None:
            raise self.missing(path)
        self._copy(path, content)
        return content

    def write(self, path: str, content: bytes) -> None:
        """See `RunFolder.write`."""
        self.objects.put(path, content)
        self._note(path)
        self._copy(path, content)

    def write_tables(self, tables: Mapping[str, Callable[[], pa.Table]]) -> None:
        """See `RunFolder.write_tables`."""
        self.objects.each(lambda path: self.write_table(path, tables[path]()), tables)

    def remove(self, path: str) -> None:
        """See `RunFolder.remove`."""
        self.objects.remove(path)
        self._rooms.get(path.partition("/")[0], set()).discard(path)
        (self.root / path).unlink(missing_ok=True)

    def is_whole(self, path: str) -> bool:
        """See `RunFolder.is_whole`.

        Raises:
            StoreError: the file cannot be had, so that nobody knows.
        """
        return self.has(path) and is_sealed(path, self.read(path))

    def sha256(self, path: str) -> str:
        """See `RunFolder.sha256`."""
        return hashlib.sha256(self.read(path)).hexdigest()

    def fetch(self, paths: Iterable[str], told: Told | None = None) -> None:
        """See `RunFolder.fetch`."""
        lacking = [path for path in paths if self.has(path) and not (self.root / path).is_file()]

        def fetch(path: str) -> None:
            self.read(path)

        self.objects.each(fetch, lacking, told)

    def send(self, paths: Iterable[str], told: Told | None = None) -> None:
        """See `RunFolder.send`."""

        def send(path: str) -> None:
            if (self.root / path).is_file():
                self.objects.put(path, (self.root / path).read_bytes())
                self._note(path)
            else:
                self.remove(path)

        self.objects.each(send, paths, told)

    def _room(self, name: str) -> set[str]:
        if name not in self._rooms:
            self._rooms[name] = self.objects.paths(name)
        return self._rooms[name]

    def _note(self, path: str) -> None:
        room = path.partition("/")[0]
        if room in self._rooms:
            self._rooms[room].add(path)

    def _copy(self, path: str, content: bytes) -> None:
        """Puts a file into the working copy, all of it or nothing."""
        if not self.keeps:
            return
        place = self.root / path
        writing = place.with_name(f".{place.name}.{secrets.token_hex(4)}{WRITING}")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            writing.write_bytes(content)
            writing.replace(place)
        except OSError as error:
            raise StoreError(
                f"cannot write {place}, in the working copy of {self.place()}: {error.strerror}; make room, "
                "or name another folder in TMPDIR"
            ) from error
