"""The chapter about outlier tokens, block by block."""

from __future__ import annotations

import numpy as np

from vitreport.analysis.finding import EXAMPLES
from vitreport.analysis.outliers import SPREADS, TIMES, Census
from vitreport.analysis.phrases import figure, have, images_of, percent, range_of, times
from vitreport.figures.scale import Scale
from vitreport.report.audit_blocks import block_lines
from vitreport.report.audit_names import AuditNames, p_of
from vitreport.report.chapter import Chapter, GridTile, LineFigure, Section, table
from vitreport.report.wording import number

TOKENS_PATH, TOKENS = "analysis/tokens.html", "Outlier tokens"


def tokens_chapter(names: AuditNames) -> Chapter | None:
    """Where outlier tokens are, and whose maps fall for them; None without token norms."""
    found = names.audit.census
    if found is None:
        return None
    last, n = found.blocks - 1, len(found.ids)
    sections = [_census(names, found)]
    if names.audit.on_outliers:
        sections.append(_mass(names))
    return Chapter(
        path=TOKENS_PATH,
        kicker="Analysis",
        title=TOKENS,
        lead=f"After the last block {found.images[last]:,} of {images_of(n)} {have(found.images[last])} "
        "patch tokens that are far "
        f"longer than the others: {percent(found.patches[last].value)} of all patches "
        f"({range_of(found.patches[last])}).",
        sections=tuple(sections),
        setup=names.code,
        code="for block, share in enumerate(found.census.patches):\n"
        + "    print(block, share.value, found.census.images[block], found.census.longest[block])\n"
        + "for mass in found.on_outliers:\n"
        + "    print(mass.technique, mass.mass.value, mass.patches, mass.ratio.value, mass.p)",
    )


def _census(names: AuditNames, found: Census) -> Section:
    last = found.blocks - 1
    places = found.places(last).astype(np.float32)
    row, column = divmod(int(places.argmax()), places.shape[1])
    most = max(float(places.max()), 1e-9)
    return Section(
        id="census",
        title="Block by block",
        words=(
            f"A token is an outlier if its norm is at least {TIMES:g} times the median of its image and "
            "block, "
            f"and more than {SPREADS:g} robust standard deviations above it. Such tokens seem to hold "
            "what the "
            "model wants to remember of the whole image, not of their patch (Darcet et al. 2023, "
            "arXiv:2309.16588): a map that lights up there says little about the place.",
        ),
        figure=LineFigure(
            (
                block_lines(
                    "Patches that are outliers (%)", "% of patches", [("patches", 1, found.patches, 100.0)]
                ),
            ),
            ("mean over the images, with the 95 % interval",),
        ),
        tiles=(
            GridTile(
                "after the last block",
                "how often each patch is an outlier",
                places,
                Scale(0.0, most),
                f"How often each patch is an outlier after the last block: most often at row {row}, column "
                f"{column} (from 0), in {percent(float(places.max()))} of the images",
            ),
        ),
        tiles_note=f"Colours from 0 to {percent(most)} of the images.",
        tables=(
            table(
                "Outlier tokens by block",
                ("Block", "#Images with any", "#Patches", "#95 % interval", "#Longest over median"),
                [
                    [
                        str(block),
                        f"{found.images[block]:,} of {len(found.ids):,}",
                        percent(share.value),
                        range_of(share).removeprefix("95\xa0% interval "),
                        number(found.longest[block]),
                    ]
                    for block, share in enumerate(found.patches)
                ],
            ),
        ),
        images=names.images(found.examples(last, EXAMPLES)),
    )


def _mass(names: AuditNames) -> Section:
    masses = sorted(names.audit.on_outliers, key=lambda one: -one.ratio.value)
    first = masses[0]
    return Section(
        id="mass",
        title="Evidence on outlier tokens",
        words=(
            f"Of {names.technique(first.technique)} {percent(first.mass.value)} of the evidence lies on "
            "outlier "
            f"tokens of the last block, {times(first.ratio)} their share of the patches. A ratio of 1 "
            "says that "
            "a technique treats them like other patches. Images without outliers do not count.",
        ),
        tables=(
            table(
                "Evidence on outlier tokens by technique",
                ("Technique", "#Images", "#Evidence", "#Patches", "#Ratio", "#95 % interval", "#p"),
                [
                    [
                        names.technique(mass.technique),
                        f"{mass.n:,}",
                        percent(mass.mass.value),
                        percent(mass.patches),
                        figure(mass.ratio.value),
                        f"{figure(mass.ratio.low)} to {figure(mass.ratio.high)}"
                        if mass.ratio.low is not None and mass.ratio.high is not None
                        else "–",
                        p_of(mass.p),
                    ]
                    for mass in masses
                ],
                "p: two-sided, of both shares being the same, not corrected.",
            ),
        ),
    )
