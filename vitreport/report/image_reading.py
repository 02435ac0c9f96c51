"""From a run to the views of its image pages."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vitreport.analysis.trust import Trust
from vitreport.figures.scale import Scale, own_scale, state_of
from vitreport.report.image_page import (
    AtlasView,
    ImagePage,
    LensView,
    MapView,
    NormsView,
    PatchView,
    PatternView,
    Photo,
    Problem,
)
from vitreport.report.observation_reading import (
    array_of,
    atlas_view,
    lens_view,
    norms_view,
    patch_view,
    pattern_views,
)
from vitreport.report.pages import ClassView, Fact, ImageRow
from vitreport.report.reading import class_view
from vitreport.report.sections import map_section
from vitreport.report.trust_image_reading import ImageReading
from vitreport.report.wording import changed, file_size, first_images
from vitreport.store import ModelRecord, Run, TechniqueRecord
from vitreport.store import folder as paths
from vitreport.store.schema import pixel_map


@dataclass(frozen=True)
class Neighbours:
    """An explained image with the ones whose pages come before and after its own."""

    row: ImageRow
    previous: ImageRow | None
    next: ImageRow | None


def neighbours(rows: Sequence[ImageRow]) -> tuple[Neighbours, ...]:
    """The explained ones of `rows`, in order, each with its neighbours."""
    explained = [row for row in rows if row.reason is None]
    around: list[ImageRow | None] = [None, *explained, None]
    return tuple(
        Neighbours(row, around[position], around[position + 2]) for position, row in enumerate(explained)
    )


def image_pages(
    run: Run,
    scales: Mapping[str, Scale],
    members: Sequence[Neighbours],
    trust: Trust | None = None,
    keys: Collection[str] | None = None,
) -> Iterator[ImagePage]:
    """The pages of some explained images, in the order given.

    Reads the parts of their shards once.

    Args:
        run: the run.
        scales: `scale_reading.dataset_scales` of it.
        members: the images.
        trust: `vitreport.analysis.trust.trust` of it.
        keys: of the techniques whose results are wanted; None takes all.
    """
    ids: dict[int, list[str]] = defaultdict(list)
    for member in members:
        ids[member.row.shard].append(member.row.id)
    ran = [record for record in run.techniques if not record.skipped and (keys is None or record.key in keys)]
    images = _Rows(run, paths.images_part, ids)
    parts = [(record, _Rows(run, partial(paths.technique_part, record), ids)) for record in ran]
    skipped = tuple(
        Problem(record.name, record.key, record.title, record.skipped)
        for record in run.techniques
        if record.skipped
    )
    capped = [record for record in ran if record.most_images is not None]
    for member in members:
        (image,) = images.of(member.row).to_pylist()
        found = [(record, rows.of(member.row)) for record, rows in parts]
        beyond = tuple(_beyond(record) for record in capped if run.is_beyond(member.row.id, record))
        page = _image_page(member, image, found, scales, run.manifest.model, skipped, beyond)
        change = run.manifest.published.get("photos", "")
        page = replace(page, photo=replace(page.photo, change=change))
        if trust is not None:
            views = [view for section in page.sections for view in section.maps]
            page = replace(page, scores=ImageReading(run, trust).scores(member.row.id, views))
        yield page


class _Rows:
    """The rows of some images in a table that has one part a shard."""

    def __init__(self, run: Run, part: Callable[[int], str], ids: Mapping[int, Sequence[str]]) -> None:
        self._tables: dict[int, pa.Table] = {}
        self._positions: dict[str, list[int]] = defaultdict(list)
        for shard, wanted in ids.items():
            table = run.folder.read_table(part(shard))
            table = table.filter(pc.is_in(table["id"], pa.array(wanted))).combine_chunks()
            self._tables[shard] = table
            for position, image_id in enumerate(table["id"].to_pylist()):
                self._positions[image_id].append(position)

    def of(self, row: ImageRow) -> pa.Table:
        """The rows of one image, in the order stored; none where there are none."""
        table, positions = self._tables[row.shard], self._positions[row.id]
        if positions and positions[-1] - positions[0] + 1 == len(positions):
            return table.slice(positions[0], len(positions))  # unlike the other way it copies nothing
        return table.take(pa.array(positions, pa.int64()))


def _image_page(
    member: Neighbours,
    image: Mapping[str, Any],
    parts: Sequence[tuple[TechniqueRecord, pa.Table]],
    scales: Mapping[str, Scale],
    model: ModelRecord,
    skipped: tuple[Problem, ...],
    beyond: tuple[Problem, ...],
) -> ImagePage:
    predictions, targets = (
        tuple(class_view(model, *pair) for pair in zip(image[index], image[score], strict=True))
        for index, score in (("top_index", "top_probability"), ("targets", "target_probability"))
    )
    named = {target.index: target for target in targets}
    maps: dict[str, list[MapView]] = defaultdict(list)
    atlas: AtlasView | None = None
    lenses: list[LensView] = []
    norms: NormsView | None = None
    patches: PatchView | None = None
    patterns: tuple[PatternView, ...] = ()
    failed: list[Problem] = []
    for record, part in parts:
        if record.kind == "map":
            maps[record.name] += _map_views(record, part, named, scales.get(record.key))
        elif error := next(filter(None, part["error"].to_pylist()), None):
            failed.append(Problem(record.name, record.key, record.title, error))
        elif not part.num_rows:
            continue
        elif record.name == "class_attention":
            atlas = atlas_view(record, part)
        elif record.name == "logit_lens":
            lenses.append(lens_view(record, part, model))
        elif record.name == "token_norms":
            norms = norms_view(record, part, model)
        elif record.name == "patch_rollout":
            patches = patch_view(record, part, model)
        elif record.name == "qkv":
            patterns = pattern_views(record, part, named)
    return ImagePage(
        row=member.row,
        photo=Photo(image["view"], image["view_width"], image["view_height"]),
        facts=_facts(member.row, image),
        predictions=predictions[:5],
        targets=targets,
        sections=tuple(map_section(views) for views in maps.values() if views),
        atlas=atlas,
        lens=max(lenses, key=lambda lens: len(lens.rows[-1].kept), default=None),
        norms=norms,
        patches=patches,
        patterns=patterns,
        skipped=skipped,
        failed=(*_failed(maps), *failed),
        beyond=beyond,
        scores=None,
        previous=member.previous,
        next=member.next,
    )


def _beyond(record: TechniqueRecord) -> Problem:
    return Problem(record.name, record.key, record.title, first_images(record.most_images or 0))


def _failed(maps: Mapping[str, Sequence[MapView]]) -> tuple[Problem, ...]:
    problems = (
        Problem(view.record.name, view.record.key, view.record.title, view.error or "no map was stored")
        for views in maps.values()
        for view in views
        if view.state == "failed"
    )
    return tuple(dict.fromkeys(problems))


def _map_views(
    record: TechniqueRecord, part: pa.Table, targets: Mapping[int, ClassView], fixed: Scale | None
) -> list[MapView]:
    views = []
    for position, row in enumerate(part.select(["target", "rows", "cols", "error"]).to_pylist()):
        shape = (0, 0) if row["error"] else (row["rows"], row["cols"])
        values = array_of(part, "map", position, shape)
        views.append(
            MapView(
                record=record,
                title=changed(record) or record.title,
                target=targets.get(row["target"]),
                values=values,
                state=state_of(values),
                scale=own_scale(values, record.signed),
                fixed=fixed,
                error=row["error"],
                pixels=pixel_map(part, position),
            )
        )
    return views


def _facts(row: ImageRow, image: Mapping[str, Any]) -> tuple[Fact, ...]:
    left, top, right, bottom = (round(edge) for edge in image["crop"])
    weight = f", {file_size(image['size'])}" if image["size"] else ""  # a published copy does not say
    facts = [
        Fact("File", row.uri),
        Fact("Identity", row.id),
        Fact("Size", f"{image['original_width']} × {image['original_height']} pixels{weight}"),
        Fact("Seen by the model", f"columns {left} to {right}, rows {top} to {bottom}"),
    ]
    if row.outputs.judged or row.label:
        facts.append(Fact("Label", f"{row.label.name} ({row.label.index})" if row.label else "none"))
    if row.group is not None:
        facts.append(Fact("Group", row.group))
    facts += [Fact(name, str(value)) for name, value in json.loads(image["meta"] or "{}").items()]
    return tuple(facts)
