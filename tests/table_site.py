"""The start page of a run of many images, without the images: what tests and benchmarks of the table open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.synthetic_run import CLASSES, write_run
from vitreport.report.html import SitePages
from vitreport.report.image_data import table_scripts
from vitreport.report.outputs import Outputs
from vitreport.report.pages import ClassView, ImageRow
from vitreport.report.reading import index_page
from vitreport.report.site import script_stem
from vitreport.report.site_folder import asset_name
from vitreport.report.template_files import BUNDLES, bundle
from vitreport.store import open_run


def table_rows(images: int) -> tuple[ImageRow, ...]:
    """Made-up images: a third is wrong, one of fifty is set aside."""
    outputs = Outputs("softmax", len(CLASSES), judged=True)
    rows = []
    for number in range(images):
        label, said = number % len(CLASSES), (number + (number % 3 == 0)) % len(CLASSES)
        score = 0.2 + (number * 7919 % 8000) / 10000
        name = f"picture_{number * 7919 % images:06d}.jpg"
        aside = number % 50 == 49
        rows.append(
            ImageRow(
                id=f"{number:016x}",
                name=name,
                uri=f"photos/{name}",
                shard=number // 256,
                label=ClassView(label, CLASSES[label], CLASSES[label]),
                group=f"site {number % 11}",
                predicted=None
                if aside
                else ClassView(said, CLASSES[said], CLASSES[said], score, outputs.text(score)),
                correct=None if aside else said == label,
                reason="the file is truncated" if aside else None,
                outputs=outputs,
            )
        )
    return tuple(rows)


def write_table_site(folder: Path, images: int) -> Path:
    """Writes the start page of a run of so many images, and returns it."""
    run = open_run(write_run(folder / "run", 2, quarantined=0))
    page = replace(index_page(run, {}), rows=table_rows(images), audit=None, trust=None)
    site = folder / "report"
    assets = site / "assets"
    assets.mkdir(parents=True)
    names = {}
    for name in BUNDLES:
        stem, suffix = name.split(".")
        names[name] = asset_name(stem, suffix, bundle(name))
        (assets / names[name]).write_bytes(bundle(name))
    scripts = []
    for number, content in enumerate(table_scripts(page.rows, {})):
        scripts.append(asset_name(script_stem(number), "js", content))
        (assets / scripts[-1]).write_bytes(content)
    index = site / "index.html"
    index.write_bytes(SitePages(names, page.title).index(page, {}, scripts))
    return index
