"""The run folder on disk: where things are, and how they get there whole.

A file is written beside its place and moved into it; its presence is the commit mark. Nothing that is
committed is ever deleted here.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vitreport.errors import StoreError
from vitreport.store.manifest import Manifest, MetricRecord, TechniqueRecord

MANIFEST = "manifest.json"
CATALOGUE = "data/catalogue.parquet"
TIMINGS = "timings.json"
DEMO_TABLE = "demo/images.csv"
"""The table of the demonstration's images, whose folder may be there before the run."""


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


@dataclass(frozen=True)
class RunFolder:
    """A run folder; `root` may not exist yet."""

    root: Path

    def claim(self) -> Manifest | None:
        """Makes sure that the folder is ours to write in; it is made with the first file.

        Returns:
            The manifest of the run whose results are already there, or None.

        Raises:
            StoreError: the place is taken by something else, or cannot be written.
        """
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"{self.root} is a file; choose another -o")
        if (self.root / MANIFEST).is_file():
            before = self.manifest()
            return before if self.has_results() else None
        nearest = next(place for place in (self.root, *self.root.absolute().parents) if place.exists())
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise StoreError(f"cannot write to {nearest}; choose another -o")
        demo = Path(DEMO_TABLE).parent.name
        own = {f".{MANIFEST}.writing", f".{demo}.writing"}
        own |= {demo} if (self.root / DEMO_TABLE).is_file() else set()
        strangers = sorted(
            path.name for path in (self.root.iterdir() if self.root.exists() else ()) if path.name not in own
        )
        if strangers:
            raise StoreError(
                f"{self.root} holds something else ({strangers[0]}{', …' if len(strangers) > 1 else ''}); "
                "nothing was touched; choose another -o"
            )
        return None

    def has_results(self) -> bool:
        """True where a part is committed: from then on the run is bound to its settings."""
        return any((self.root / "data").glob("*/**/part-*.parquet"))

    def manifest(self) -> Manifest:
        """Reads the manifest.

        Raises:
            StoreError: there is none, or it cannot be read.
        """
        path = self.root / MANIFEST
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise StoreError(
                f"{self.root} is not a run: it has no {MANIFEST}; 'vitreport explain' makes one"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"cannot read {path}: {error}") from error
        return Manifest.from_json(text, str(path))

    def commit_manifest(self, manifest: Manifest) -> None:
        """Writes the manifest."""
        self.write(MANIFEST, manifest.to_json().encode())

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
        writing = place.with_name(f".{place.name}.writing")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with writing.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            writing.replace(place)
        except OSError as error:
            with suppress(OSError):
                writing.unlink()  # on a full disk even half a file is in the way
            raise StoreError(
                f"cannot write {place}: {error.strerror}; what is finished is kept: "
                "make room and run the same command again"
            ) from error

    def write_table(self, path: str, table: pa.Table) -> None:
        """Commits `table` as Parquet (zstd); equal tables give equal bytes."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", row_group_size=64)
        self.write(path, sink.getvalue().to_pybytes())

    def read_table(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """Reads a Parquet file of the run.

        Raises:
            StoreError: it is missing or damaged.
        """
        try:
            return pq.read_table(self.root / path, columns=columns, partitioning=None)
        except FileNotFoundError:
            raise StoreError(
                f"{self.root / path} is missing; run the same 'vitreport explain' command again"
            ) from None
        except (OSError, pa.ArrowInvalid) as error:
            raise StoreError(
                f"{self.root / path} is damaged; delete it and run the same 'vitreport explain' command again"
            ) from error

    def sha256(self, path: str) -> str:
        """SHA-256 of the file at `path`, hex."""
        with (self.root / path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
