"""The run folder on disk: where things are, and how they get there whole.

A file is written beside its place and moved into it; its presence is the commit mark. Tables and JSON carry
a seal, so that what a disk has changed since is never read as if it were whole.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vitreport.errors import StoreError
from vitreport.store.lock import LOCK, locked
from vitreport.store.manifest import Manifest, MetricRecord, TechniqueRecord, check_format
from vitreport.store.seal import is_sealed_table, opened_json, sealed_json, sealed_table
from vitreport.url import was_url

MANIFEST = "manifest.json"
CATALOGUE = "data/catalogue.parquet"
TIMINGS = "timings.json"
REPORT = "report.json"
"""The list of what the report consists of."""
_MADE_BY = {"optimized": "maximize", "report": "report", "report.pdf": "report", "pdf": "report"}
WRITING = ".writing"
"""How the name of a file ends that is being written: a killed process may leave one."""
HALF_WRITTEN = re.compile(rf"\..+\.[0-9a-f]{{8}}{re.escape(WRITING)}")
DEMO = "demo"
DEMO_TABLE = f"{DEMO}/images.csv"
"""The table of the demonstration's images, whose folder may be there before the run."""


def remedy(path: str) -> str:
    """What to do about a file that is missing or damaged."""
    if path == MANIFEST:
        return "put back a copy of it, or choose another -o and explain the images anew"
    if path == REPORT:
        return "delete it and run 'vitreport report' again"
    command = _MADE_BY.get(path.partition("/")[0], "explain")
    return f"run the same 'vitreport {command}' command again, it makes it anew"


def part_name(shard: int) -> str:
    """``part-00000.parquet``."""
    return f"part-{shard:05d}.parquet"


def images_part(shard: int) -> str:
    """Path of the table of images of a shard."""
    return f"data/images/{part_name(shard)}"


def technique_part(record: TechniqueRecord, shard: int) -> str:
    """Path of what a technique found in a shard."""
    room = "maps" if record.kind == "map" else "activations"
    return f"data/{room}/{record.folder}/{part_name(shard)}"


def score_part(metric: MetricRecord, technique: TechniqueRecord, part: int) -> str:
    """Path of a technique's scores of a part of the images that are scored."""
    return f"data/scores/{metric.folder}/{technique.folder}/{part_name(part)}"


Told = Callable[[int, int], None]
"""Called with the files done and the files there are."""


@dataclass(frozen=True)
class RunFolder:
    """A run folder; `root` may not exist yet.

    What reads or writes below `root` itself calls `fetch` before and `send` after it: of a run on a URL
    (`vitreport.store.remote`) `root` is a working copy.
    """

    root: Path

    @property
    def is_on_disk(self) -> bool:
        """Whether the run itself lies below `root`."""
        return True

    def place(self, path: str = "") -> Path | str:
        """Where a file of the run lies, or the run itself: a path, or a URL."""
        return self.root / path

    def below(self, name: str) -> RunFolder:
        """A run folder inside this one."""
        return RunFolder(self.root / name)

    def look(self) -> None:
        """Sees what other processes have written since; on a disk it is seen anyway."""

    def fetch(self, paths: Iterable[str], told: Told | None = None) -> None:
        """Has those of these files that are committed lie below `root`; on a disk they do.

        Args:
            paths: of the files.
            told: how many of those that have to be fetched are there.

        Raises:
            StoreError: they cannot be had.
        """

    def send(self, paths: Iterable[str], told: Told | None = None) -> None:
        """Commits these files as they are below `root`, or that they are gone; on a disk they are committed.

        Args:
            paths: of the files.
            told: how many are committed.

        Raises:
            StoreError: the place cannot be written.
        """

    def claim(self) -> Manifest | None:
        """Makes sure that the folder is ours to write in; it is made with the first file.

        Returns:
            The manifest of the run whose results are already there, or None.

        Raises:
            StoreError: the place is taken by something else, or cannot be written.
        """
        if was_url(self.root):
            raise StoreError(f"{self.root} was a URL; give it as a text, since no path can hold one")
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"{self.root} is a file; choose another -o")
        if (self.root / MANIFEST).is_file():
            before = self.manifest()
            return before if self.has_results() else None
        nearest = next(place for place in (self.root, *self.root.absolute().parents) if place.exists())
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise StoreError(f"cannot write to {nearest}; choose another -o")
        self._refuse_strangers()
        return None

    def is_in_a_run(self) -> bool:
        """Whether a folder around this one is a run folder."""
        return any((place / MANIFEST).exists() for place in self.root.resolve().parents)

    def names(self) -> list[str]:
        """Names of all that lies in the folder, sorted."""
        return sorted(path.name for path in self.root.iterdir()) if self.root.exists() else []

    def _refuse_strangers(self) -> None:
        """Raises StoreError where a folder without a manifest holds names that are not ours."""
        own = {LOCK, DEMO} if self.has(DEMO_TABLE) else {LOCK}
        strangers = [
            name
            for name in self.names()
            if name not in own and not (name.startswith(".") and name.endswith(WRITING))
        ]
        if strangers:
            raise StoreError(
                f"{self.place()} holds something else ({strangers[0]}{', …' if len(strangers) > 1 else ''}); "
                "nothing was touched; choose another -o"
            )

    @contextmanager
    def working(self) -> Iterator[None]:
        """Keeps all other processes from writing here; what a killed one left half-written is removed.

        Raises:
            StoreError: another process is at work here, or the folder cannot be written.
        """
        with locked(self.root):
            for folder, _, names in os.walk(self.root):
                for name in filter(HALF_WRITTEN.fullmatch, names):
                    Path(folder, name).unlink(missing_ok=True)
            yield

    def has_results(self) -> bool:
        """True where a part is committed: from then on the run is bound to its settings."""
        return any((self.root / "data").glob("*/**/part-*.parquet"))

    def manifest(self) -> Manifest:
        """Reads the manifest.

        Raises:
            StoreError: there is none, or it cannot be read.
        """
        if not self.has(MANIFEST):
            raise StoreError(
                f"{self.place()} is not a run: it has no {MANIFEST}; 'vitreport explain' makes one"
            )
        content = self.read(MANIFEST)
        text = opened_json(content)
        if text is None:
            check_format(content, str(self.place(MANIFEST)))
            raise self.damaged(MANIFEST)
        return Manifest.from_json(text, str(self.place(MANIFEST)))

    def commit_manifest(self, manifest: Manifest) -> None:
        """Writes the manifest."""
        self.write_json(MANIFEST, manifest.to_json())

    def has(self, path: str) -> bool:
        """True where the file at `path` is committed."""
        return (self.root / path).is_file()

    def score_parts(self, metric: MetricRecord, technique: TechniqueRecord) -> list[str]:
        """Paths of all committed scores of a technique, in order."""
        paths = (score_part(metric, technique, part) for part in itertools.count())
        return list(itertools.takewhile(self.has, paths))

    def write(self, path: str, content: bytes) -> None:
        """Commits `content` at `path`: all of it or nothing.

        Raises:
            StoreError: the disk is full or the place cannot be written.
        """
        place = self.root / path
        writing = place.with_name(f".{place.name}.{secrets.token_hex(4)}{WRITING}")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with writing.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            writing.replace(place)
            _keep(place.parent)
        except BaseException as error:
            with suppress(OSError):
                writing.unlink()  # on a full disk even half a file is in the way
            if not isinstance(error, OSError):
                raise
            raise StoreError(
                f"cannot write {place}: {error.strerror}; what is finished is kept: "
                "make room and run the same command again"
            ) from error

    def write_table(self, path: str, table: pa.Table) -> None:
        """Commits `table` as sealed Parquet; equal tables give equal bytes."""
        self.write(path, sealed_table(table))

    def write_tables(self, tables: Mapping[str, Callable[[], pa.Table]]) -> None:
        """Commits tables, by path, as `write_table` does; several at a time where that is faster.

        Each is made when it is its turn, so that not all of them are in memory at once.
        """
        for path, table in tables.items():
            self.write_table(path, table())

    def write_json(self, path: str, text: str) -> None:
        """Commits a JSON object, written with an indent of 1, under a seal."""
        self.write(path, sealed_json(text))

    def read(self, path: str) -> bytes:
        """Reads a file of the run.

        Raises:
            StoreError: it is missing or cannot be read.
        """
        try:
            if self.has(path):  # nobody waits for a pipe in its place
                return (self.root / path).read_bytes()
            raise self.missing(path)
        except OSError as error:
            raise StoreError(f"cannot read {self.root / path}: {error.strerror}") from error

    def read_table(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """Reads a Parquet file of the run.

        Raises:
            StoreError: it is missing, or not what was written.
        """
        content = self.read(path)
        if not is_sealed_table(content):
            raise self.damaged(path)
        return pq.read_table(pa.BufferReader(content), columns=columns, partitioning=None)

    def read_json(self, path: str) -> str:
        """Reads what `write_json` wrote.

        Raises:
            StoreError: it is missing, or not what was written.
        """
        text = opened_json(self.read(path))
        if text is None:
            raise self.damaged(path)
        return text

    def missing(self, path: str) -> StoreError:
        """What is said of a file that is not there."""
        return StoreError(f"{self.place(path)} is missing; {remedy(path)}")

    def damaged(self, path: str) -> StoreError:
        """What is said of a file that is not what was written."""
        return StoreError(f"{self.place(path)} is not as it was written; {remedy(path)}")

    def is_whole(self, path: str) -> bool:
        """True where the sealed file at `path` is there and as it was written."""
        try:
            content = (self.root / path).read_bytes()
        except OSError:
            return False
        return is_sealed(path, content)

    def files_below(self, room: str) -> Iterator[str]:
        """Paths of all files in a folder of the run and below it, sorted; half-written ones are left out."""
        for place in sorted((self.root / room).rglob("*")):
            if place.is_file() and not place.name.endswith(WRITING):
                yield place.relative_to(self.root).as_posix()

    def remove(self, path: str) -> None:
        """Removes a file of the run.

        Raises:
            StoreError: it cannot be removed.
        """
        try:
            (self.root / path).unlink()
        except OSError as error:
            raise StoreError(f"cannot remove {self.root / path}: {error.strerror}; remove it") from error

    def sha256(self, path: str) -> str:
        """SHA-256 of the file at `path`, hex."""
        with (self.root / path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def is_sealed(path: str, content: bytes) -> bool:
    """True where `content` is what was written as the table or JSON file at `path`."""
    return is_sealed_table(content) if path.endswith(".parquet") else opened_json(content) is not None


def _keep(folder: Path) -> None:
    """Has a folder's names on the disk, so that a loss of power does not undo what was moved into it."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
