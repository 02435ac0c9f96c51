"""The published copy of a run: a run of its own that knows nothing of the originals.

It lies in ``RUN/publish`` and is drawn like any other, so that whatever a page or the PDF reads is already
free of names. Nothing of a copy is ever mixed with the report of the run itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from vitreport.errors import SettingsError, StoreError
from vitreport.publication.discretion import WITHHELD, Discretion
from vitreport.publication.photo import published_photo
from vitreport.publication.pseudonym import keyed_digest, pseudonyms, publication_key
from vitreport.publication.publication import Photos, Publication
from vitreport.report.site_record import read_record
from vitreport.report.sources import code_digest
from vitreport.store import Manifest, ModelRecord, Run, RunFolder
from vitreport.store import folder as paths
from vitreport.store.optimized import CONTROLS, ROOM, cross_control, optimized_records, record_path
from vitreport.store.schema import PIXELS

SITE, PDF = "report", "report.pdf"
"""The site below the run folder, and the PDF below either."""

HOME = "publish"
"""Folder of the copy, below the run folder."""

RECORD = "publication.json"
"""What the copy was made from, below its folder; the mark that the folder is ours."""

_FORMAT = "vitreport publication"
_SETTINGS = frozenset(
    {
        "batch_size",
        "device",
        "head",
        "image_size",
        "limit",
        "metrics",
        "pixel_maps",
        "score_images",
        "seed",
        "targets",
        "techniques",
    }
)
"""Settings that name no file."""

_IN_PIXELS = frozenset(("pixel_maps", "pixel maps", *(name for one in PIXELS.values() for name in one.names)))
"""Settings and columns of maps that are kept pixel by pixel, which show the outlines of a photo."""

_BOUND = frozenset({"head", "seed", "batch size", "device", "dtype", "pixel maps"})
_LOCAL = "local-dir:"
_OPEN_ORIGINS = ("timm's table", "numbered", "unnamed", "the model's own")
"""How the origin of class names begins where it is no file."""


def publish_run(run: Run, publication: Publication) -> RunFolder:
    """Writes the published copy of a finished run; returns its folder.

    A copy that is there and was made from the same run with the same wishes is left as it is.

    Raises:
        SettingsError: a column that is to be shown is none of the run's.
        StoreError: the copy's place holds something else or cannot be written, or the run cannot be read.
    """
    if not run.manifest.complete:
        raise StoreError(
            f"{run.folder.place()} is not finished: run the same 'vitreport explain' command again, "
            "it goes on where it stopped"
        )
    if run.manifest.published:
        raise StoreError(
            f"{run.folder.place()} is a published copy itself; name the run that it was made from"
        )
    _check_columns(run, publication)
    home = run.folder.below(HOME)
    made_from = _made_from(run, publication)
    if home.has(paths.MANIFEST) and _recorded(home) == made_from:
        return home
    if _recorded(home) is None and home.names():
        raise StoreError(
            f"{home.place()} holds something else than a published copy; nothing was touched: "
            f"move it away, the copy needs this place"
        )
    home.write(RECORD, _record(""))  # from here on the folder is ours, and the copy in it is not whole
    _Copy(run, publication, home).write()
    home.write(RECORD, _record(made_from))
    return home


def finish_site(folder: RunFolder) -> None:
    """Adds to a copy's site what hosts need, and the PDFs of its report; others that are there go.

    Raises:
        StoreError: the site cannot be written.
    """
    drawn = {path for page in read_record(folder).pdfs.values() for path in page.files}
    contents = {path: folder.read(path) for path in sorted(drawn)}
    contents[".nojekyll"] = b""  # without it GitHub Pages leaves some files out
    for path, content in contents.items():
        place = f"{SITE}/{path}"
        if not folder.has(place) or folder.read(place) != content:
            folder.write(place, content)
    beside = (path for path in folder.files_below(f"{SITE}/pdf") if path.endswith(".pdf"))
    for path in (f"{SITE}/{PDF}", *beside):
        if path.removeprefix(f"{SITE}/") not in drawn and folder.has(path):
            folder.remove(path)


def _check_columns(run: Run, publication: Publication) -> None:
    known = sorted({"group", *(name for ref in run.catalogue for name in ref.meta)})
    for column in publication.columns:
        if column not in known:
            raise SettingsError(f"the run has no column '{column}' to publish; it has: {', '.join(known)}")


def _made_from(run: Run, publication: Publication) -> str:
    body = [
        code_digest(),
        run.folder.sha256(paths.MANIFEST),
        hashlib.sha256(publication_key(run.folder)).hexdigest(),
        publication.to_mapping(),
        {path.removeprefix(f"{ROOM}/"): run.folder.sha256(path) for path in run.folder.files_below(ROOM)},
    ]
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _record(made_from: str) -> bytes:
    return (json.dumps({"format": _FORMAT, "version": 1, "made_from": made_from}) + "\n").encode()


def _recorded(home: RunFolder) -> str | None:
    """What the copy that is there was made from; None where there is none."""
    try:
        body = json.loads(home.read(RECORD)) if home.has(RECORD) else None
    except ValueError:
        return None
    return str(body.get("made_from")) if isinstance(body, dict) and body.get("format") == _FORMAT else None


class _Copy:
    """One copy while it is written."""

    def __init__(self, run: Run, publication: Publication, home: RunFolder) -> None:
        self._run = run
        self._publication = publication
        self._home = home
        self._key = publication_key(run.folder)
        self._names = pseudonyms(self._key, (ref.id for ref in run.catalogue))
        self._discretion = _discretion(run)
        self._finest = frozenset[str]() if publication.photos is Photos.FULL else _IN_PIXELS
        self._files: dict[str, str] = {}

    def write(self) -> None:
        """Writes every table, the optimised pictures, and at last the manifest."""
        manifest = self._run.manifest
        self._table(paths.CATALOGUE)
        for shard in self._run.shards:
            self._table(paths.images_part(shard))
            for record in manifest.techniques:
                if not record.skipped:
                    self._table(paths.technique_part(record, shard))
        for metric in manifest.metrics:
            for record in (*manifest.techniques, *manifest.controls):
                for part in self._run.folder.score_parts(metric, record):
                    self._table(part)
        self._optimized()
        self._home.commit_manifest(self._manifest())

    def _table(self, path: str) -> None:
        table = self._run.folder.read_table(path)
        table = table.drop_columns([name for name in table.column_names if name in self._finest])
        for name, change in self._changes.items():
            if name in table.column_names:
                place = table.schema.get_field_index(name)
                values = pa.array(
                    [change(value) for value in table[name].to_pylist()], table.schema.field(name).type
                )
                table = table.set_column(place, table.schema.field(name), values)
        if "uri" in table.column_names:  # what stands where the file's name was
            table = table.set_column(table.schema.get_field_index("uri"), "uri", table["id"])
        self._home.write_table(path, table)
        self._files[path] = self._home.sha256(path)

    @property
    def _changes(self) -> Mapping[str, Callable[[Any], Any]]:
        """What becomes of the columns of a table that tell of an original, by name."""
        return {
            "id": self._names.__getitem__,
            "sha256": lambda value: "",
            "size": lambda value: 0,
            "group": lambda value: value if "group" in self._publication.columns else None,
            "meta": self._meta,
            "reason": self._text,
            "error": self._text,
            "note": self._text,
            "view": lambda jpeg: jpeg and published_photo(jpeg, self._publication.photos),
        }

    def _meta(self, text: str) -> str:
        shown = {name: value for name, value in json.loads(text).items() if name in self._publication.columns}
        return json.dumps(shown, sort_keys=True, ensure_ascii=False)

    def _text(self, text: str | None) -> str | None:
        return text if text is None else self._discretion.tool_text(text)

    def _optimized(self) -> None:
        for record in optimized_records(self._run.folder):
            slug = record.pictures[0].file.removeprefix(f"{ROOM}/").partition(f"-{record.digest}")[0]
            audited = replace(
                record.audited,
                top=tuple(
                    (self._names[one], value) for one, value in record.audited.top if one in self._names
                ),
            )
            for picture in (*record.pictures, record.noise):
                self._home.write(picture.file, self._run.folder.read(picture.file))
            self._home.write_json(
                record_path(slug, record.digest), replace(record, audited=audited).to_json()
            )
        cross = cross_control(self._run.folder)
        if cross is not None:
            self._home.write_json(CONTROLS, cross.to_json())

    def _open(self, values: Mapping[str, Any], names: frozenset[str]) -> Mapping[str, Any]:
        """Those of `values` that the copy tells."""
        return {name: value for name, value in values.items() if name in names - self._finest}

    def _manifest(self) -> Manifest:
        manifest = self._run.manifest
        words = self._publication.words
        if self._finest and "pixel maps" in manifest.bound:
            words += " Maps have their patches only, since pixels show the outlines of a photo."
        return replace(
            manifest,
            run_digest=keyed_digest(self._key, manifest.run_digest),
            bound=self._open(manifest.bound, _BOUND),
            settings=self._open(manifest.settings, _SETTINGS),
            command="",
            published={
                "words": words,
                "photos": self._publication.photos.change,
                "pdf": PDF if self._publication.pdf else "",
            },
            model=self._model(manifest.model),
            data=replace(manifest.data, catalogue_sha256=WITHHELD, notices=(words,)),
            files=dict(sorted(self._files.items())),
        )

    def _model(self, model: ModelRecord) -> ModelRecord:
        ours = model.weights in ("embedded in vitreport", "the model hub")
        table = model.class_names_origin.startswith(
            ("timm's table", "numbered", "unnamed", "the model's own")
        )
        return replace(
            model,
            name="a local model" if model.name.startswith(_LOCAL) else model.name,
            weights=model.weights if ours else "a local file",
            class_names_origin=model.class_names_origin if table else "a local file",
            card={str(name): self._discretion.card(value) for name, value in model.card.items()},
        )


def _discretion(run: Run) -> Discretion:
    return Discretion(
        _paths(run), (text for ref in run.catalogue for text in (ref.group, *ref.meta.values()) if text)
    )


def _paths(run: Run) -> Iterator[str]:
    """Every path that a run knows."""
    place = run.folder.place()
    yield str(place.absolute()) if isinstance(place, Path) else place
    for ref in run.catalogue:
        yield ref.uri
    for name in ("images", "checkpoint", "labels", "model_card", "masks"):
        given = run.manifest.settings.get(name)
        yield from given if isinstance(given, list | tuple) else filter(None, [given])
