"""Reading a run back: what notebooks and the report wing use. No torch, no images, no model needed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vitreport.errors import StoreError, did_you_mean
from vitreport.explanation import Attribution, FloatArray, ImageRef
from vitreport.settings import TechniqueSpec
from vitreport.store import folder as paths
from vitreport.store.folder import RunFolder
from vitreport.store.manifest import Manifest, MetricRecord, TechniqueRecord
from vitreport.store.remote import RunPlace, run_folder
from vitreport.store.schema import IMAGES, MAPS, catalogue_refs, pixel_map, scores_table


class Run:
    """A finished run, read-only. `open_run` makes one."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.manifest: Manifest = self.folder.manifest()

    @property
    def techniques(self) -> tuple[TechniqueRecord, ...]:
        """Every technique of the run, the skipped ones included."""
        return self.manifest.techniques

    @property
    def shards(self) -> range:
        """Numbers of the shards, in id order."""
        return range(self.manifest.data.shards)

    @cached_property
    def catalogue(self) -> list[ImageRef]:
        """Every image of the run, in id order."""
        return catalogue_refs(self.folder.read_table(paths.CATALOGUE))

    @cached_property
    def images(self) -> pa.Table:
        """One row an image, in id order: predictions, targets, status; without the views (see `view`)."""
        columns = [name for name in IMAGES.names if name != "view"]
        tables = [self.folder.read_table(paths.images_part(shard), columns) for shard in self.shards]
        return pa.concat_tables(tables) if tables else IMAGES.empty_table().drop_columns(["view"])

    def technique(self, spec: str) -> TechniqueRecord:
        """Finds a technique by name and parameters; a bare name has the default parameters.

        Raises:
            StoreError: the run has no such technique.
        """
        wanted = TechniqueSpec.parse(spec)
        for record in self.techniques:
            if record.answers(wanted):
                return record
        keys = [record.key for record in self.techniques]
        raise StoreError(
            f"this run has no technique '{spec}'{did_you_mean(spec, keys) or ';'} it has: {', '.join(keys)}"
        )

    def views(self, shard: int) -> dict[str, bytes]:
        """JPEG of what the model saw, by image id, for the explained images of a shard."""
        table = self.folder.read_table(paths.images_part(shard), ["id", "view"])
        return {row["id"]: row["view"] for row in table.to_pylist() if row["view"] is not None}

    def view(self, image_id: str) -> bytes | None:
        """JPEG of what the model saw of an image; None where the image is quarantined."""
        return self.views(self._shard_of(image_id)).get(image_id)

    def attributions(self, technique: TechniqueRecord, shard: int) -> Iterator[tuple[str, Attribution]]:
        """Image ids and maps of a technique in a shard, in id order, failed ones included."""
        if technique.kind != "map" or technique.skipped:
            return
        for row in self.folder.read_table(paths.technique_part(technique, shard), MAPS.names).to_pylist():
            values = np.asarray(row["map"] or [], np.float32)
            shape = (0, 0) if row["error"] else (row["rows"], row["cols"])
            yield (
                row["id"],
                Attribution(technique.key, row["target"], values.reshape(shape), row["error"]),
            )

    def observations(self, technique: TechniqueRecord, shard: int) -> pa.Table:
        """What an observation technique wrote about a shard."""
        return self.folder.read_table(paths.technique_part(technique, shard))

    def is_beyond(self, image_id: str, technique: TechniqueRecord) -> bool:
        """Whether a technique that explains the first so many images of a run leaves this one out."""
        most = technique.most_images
        return most is not None and self._places.get(image_id, most) >= most

    def map(self, image_id: str, technique: str, target: int | None = None) -> FloatArray:
        """Reads one map.

        Args:
            image_id: as in `images`.
            technique: name and parameters, for example ``attention_rollout:fusion=min``.
            target: class index; None takes the image's first target. Techniques that do not depend on
                a target ignore it.

        Returns:
            Raw float32 ``(rows, cols)``.

        Raises:
            StoreError: there is no such image, technique or target, the technique failed on it, or it was
                asked for fewer images.
        """
        row = self._map_of(image_id, technique, target, MAPS.names).to_pylist()[0]
        return np.asarray(row["map"], np.float32).reshape(row["rows"], row["cols"])

    def pixel_map(self, image_id: str, technique: str, target: int | None = None) -> FloatArray:
        """Reads one map pixel by pixel, of a run that kept them (``--pixel-maps``).

        Args:
            image_id: as in `images`.
            technique: as of `map`, one that gives a value a pixel.
            target: as of `map`.

        Returns:
            Raw float32 ``(height, width)`` of the model's input; the sums over its patches are `map`.

        Raises:
            StoreError: as `map`; or the run has no such map pixel by pixel.
        """
        found = pixel_map(self._map_of(image_id, technique, target), 0)
        if found is None:
            raise StoreError(
                f"'{self.technique(technique).key}' is not kept pixel by pixel in this run; "
                "a new run with --pixel-maps float16 keeps so what is finer than patches"
            )
        return found.values

    def _map_of(
        self, image_id: str, technique: str, target: int | None, columns: list[str] | None = None
    ) -> pa.Table:
        """The row of a map that did not fail, as a table of one row; see `map`."""
        record = self.technique(technique)
        if record.kind != "map":
            raise StoreError(f"'{record.key}' is an observation, it has no map; see Run.observations")
        if record.skipped:
            raise StoreError(f"'{record.key}' was skipped on this model: {record.skipped}")
        part = self.folder.read_table(paths.technique_part(record, self._shard_of(image_id)), columns)
        part = part.filter(pc.field("id") == image_id)
        rows: list[dict[str, Any]] = part.select(["target", "error"]).to_pylist()
        if not rows and self.is_beyond(image_id, record):
            asked = "image" if record.most_images == 1 else f"{record.most_images} images"
            reason = f"'{record.key}' was asked for the first {asked} of the run only"
            raise StoreError(f"image '{image_id}' has no map: {reason}")
        if not rows:
            raise StoreError(f"image '{image_id}' has no map: it is quarantined or has no target")
        place = 0
        if record.class_specific and target is not None:
            have = [row["target"] for row in rows]
            if target not in have:
                shown = ", ".join(map(str, have))
                raise StoreError(f"image '{image_id}' was not explained for target {target}; it has: {shown}")
            place = have.index(target)
        if rows[place]["error"]:
            raise StoreError(f"'{record.key}' failed on image '{image_id}': {rows[place]['error']}")
        return part.slice(place, 1)

    def metric(self, spec: str) -> MetricRecord:
        """Finds a metric by name and parameters; a bare name has the default parameters.

        Raises:
            StoreError: the run has no such metric.
        """
        wanted = TechniqueSpec.parse(spec)
        for record in self.manifest.metrics:
            if record.answers(wanted):
                return record
        keys = [record.key for record in self.manifest.metrics]
        have = f"it has: {', '.join(keys)}" if keys else "it was not scored"
        raise StoreError(f"this run has no metric '{spec}'{did_you_mean(spec, keys) or ';'} {have}")

    def scores(self, metric: MetricRecord, technique: TechniqueRecord) -> pa.Table:
        """A technique's scores, one row an image that was scored, in id order; empty without any."""
        tables = [self.folder.read_table(part) for part in self.folder.score_parts(metric, technique)]
        return pa.concat_tables(tables) if tables else scores_table([], metric.columns)

    def _shard_of(self, image_id: str) -> int:
        shard = self._shards_by_id.get(image_id)
        if shard is None:
            raise StoreError(
                f"this run has no image '{image_id}'{did_you_mean(image_id, self._shards_by_id) or ';'} "
                "Run.images lists them"
            )
        return shard

    @cached_property
    def _places(self) -> dict[str, int]:
        return {ref.id: place for place, ref in enumerate(self.catalogue)}

    @cached_property
    def _shards_by_id(self) -> dict[str, int]:
        return {ref.id: ref.shard for ref in self.catalogue}


def open_run(place: RunPlace) -> Run:
    """Opens a run folder for reading.

    Args:
        place: its path or its URL, of which what is read is fetched.

    Raises:
        SettingsError: the URL cannot be opened, mostly because a package is missing.
        StoreError: `place` holds no run, or one that another version wrote.
    """
    return Run(run_folder(place))
