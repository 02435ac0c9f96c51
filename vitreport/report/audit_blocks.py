"""The chapters that go through the model block by block: emergence, heads; and how such curves are drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vitreport.analysis.evolution import ALL, CORRECT, WRONG, Evolution
from vitreport.analysis.heads import DISTANCE, ENTROPY, PREFIX, QUANTITIES, REDUNDANCY, HeadAtlas
from vitreport.analysis.intervals import Interval
from vitreport.analysis.phrases import images_of, p_value, percent
from vitreport.analysis.prediction_findings import EQUAL
from vitreport.figures.curves import Line, Panel, span_of
from vitreport.figures.scale import Scale
from vitreport.report.audit_names import AuditNames
from vitreport.report.chapter import Chapter, GridTile, LineFigure, Section, table
from vitreport.report.wording import number

EMERGENCE_PATH, EMERGENCE = "analysis/emergence.html", "How predictions emerge"
HEADS_PATH, HEADS = "analysis/heads.html", "What heads attend to"

BLOCKS = "block"
MEANINGS = {
    ENTROPY: ("Entropy", "nats", "low where a head picks few tokens, high where it spreads over many"),
    DISTANCE: ("Attention distance", "pixels", "between a patch and what it attends to, of the input"),
    PREFIX: ("On prefix tokens", "of 1", "the share of a patch’s attention that goes to them"),
    REDUNDANCY: ("Redundancy", "", "the mean correlation with the other heads of the block"),
}
"""Title, unit and meaning of every quantity of a head."""
MOST_REDUNDANT = 5


def block_lines(title: str, axis: str, rows: Sequence[tuple[str, int, Sequence[Interval], float]]) -> Panel:
    """Curves with their intervals over the blocks.

    Args:
        title: of the panel.
        axis: what the curves are values of.
        rows: name, style, values by block, and what they are multiplied by.
    """
    lines, words = [], []
    for name, style, values, unit in rows:
        middle, low, high = (
            unit * np.array([np.nan if end is None else end for end in ends], np.float64)
            for ends in zip(*((one.value, one.low, one.high) for one in values), strict=True)
        )
        lines.append(Line(style, middle, low, high))
        words.append(
            f"{name}: {number(float(middle[0]))} in the first block, {number(float(middle[-1]))} in the last"
        )
    ends = [curve for line in lines for curve in (line.values, line.low, line.high) if curve is not None]
    blocks = np.arange(len(lines[0].values), dtype=np.float64)
    return Panel(
        title=title,
        axis=axis,
        across=BLOCKS,
        places=blocks,
        lines=tuple(lines),
        alt=f"{title}, block by block. {'; '.join(words)}.",
        span=span_of(ends),
    )


def emergence_chapter(names: AuditNames) -> Chapter | None:
    """In which block predictions emerge; None without a logit lens."""
    found = names.audit.evolution
    if found is None:
        return None
    everything = found.by_outcome[ALL]
    kinds = [(name, found.by_outcome[name]) for name in (CORRECT, WRONG) if name in found.by_outcome]
    shown = kinds or [(ALL, everything)]
    styles = {CORRECT: 1, WRONG: 2, ALL: 1}
    panels = (
        block_lines(
            "Score of the final prediction",
            "score",
            [(name, styles[name], one.score, 1.0) for name, one in shown],
        ),
        block_lines(
            "Final prediction ahead (%)",
            "% of images",
            [(name, styles[name], one.ahead, 100.0) for name, one in shown],
        ),
    )
    words = [
        "The logit lens reads a prediction off every block: the block’s tokens go through the last norm and "
        "the head. A prediction has settled in the block from which its class stays the likeliest.",
        _agreement(found),
    ]
    if found.p == found.p and len(kinds) == 2:
        (_, correct), (_, wrong) = kinds
        words.append(
            f"Correct predictions settle in block {correct.settled:g}, wrong ones in block {wrong.settled:g} "
            f"(medians; rank sum test, {p_value(found.p)})."
        )
    return Chapter(
        path=EMERGENCE_PATH,
        kicker="Analysis",
        title=EMERGENCE,
        lead=f"Half of the predictions have settled by block {everything.settled:g} of "
        f"{len(everything.score)}, counted from 0 ({images_of(everything.n)}).",
        sections=(
            Section(
                id="lens",
                title="Block by block",
                words=tuple(words),
                figure=LineFigure(panels, tuple(f"{name}, {images_of(one.n)}" for name, one in shown)),
                tables=(
                    table(
                        "Emergence by block",
                        ("Block", *(f"#{part}, {name}" for name, _ in shown for part in ("Score", "Ahead"))),
                        [
                            [
                                str(block),
                                *(
                                    text
                                    for _, one in shown
                                    for text in (
                                        f"{one.score[block].value:.3f}",
                                        percent(one.ahead[block].value),
                                    )
                                ),
                            ]
                            for block in range(len(everything.score))
                        ],
                    ),
                ),
            ),
        ),
        setup=names.code,
        code="print(found.evolution.gap, found.evolution.same)  # last block against the predictions\n"
        + "for name, one in found.evolution.by_outcome.items():\n"
        + "    print(name, one.n, one.settled, [score.value for score in one.score])",
    )


def _agreement(found: Evolution) -> str:
    n = len(found.ids)
    if found.gap == 0:
        exact = "equals the stored prediction exactly"
    elif found.gap <= EQUAL:
        exact = f"equals the stored prediction up to rounding (largest difference {found.gap:.1e})"
    else:
        exact = f"differs from the stored prediction by up to {found.gap:.2g}"
    return (
        f"What is read off the last block {exact}; the same class is ahead in {found.same:,} of "
        f"{images_of(n)}."
    )


def heads_chapter(names: AuditNames) -> Chapter | None:
    """What heads attend to; None without statistics of attention."""
    found = names.audit.heads
    if found is None:
        return None
    first, last = (found.blocks[DISTANCE][place].value for place in (0, -1))
    return Chapter(
        path=HEADS_PATH,
        kicker="Analysis",
        title=HEADS,
        lead=f"The mean attention distance goes from {first:.0f} pixels in the first block to "
        f"{last:.0f} in the "
        f"last; its rank correlation with the block’s number is {found.growth.value:.2f} "
        f"({_plain_range(found.growth)}, mean over {images_of(found.n)}).",
        sections=(_distance(found), _atlas(found)),
        setup=names.code,
        code="heads = found.heads\nprint(heads.n, heads.growth.value)\n"
        + "for name, values in heads.heads.items():  # (blocks, heads), means over the images\n"
        + "    print(name, values.round(3))\n"
        + 'print([one.value for one in heads.blocks["distance"]])',
    )


def _plain_range(one: Interval) -> str:
    if one.low is None or one.high is None:
        return "too few images for an interval"
    return f"95\xa0% interval {one.low:.2f} to {one.high:.2f}"


def _distance(found: HeadAtlas) -> Section:
    panels = tuple(
        block_lines(MEANINGS[name][0], axis, [("mean over the heads", 1, found.blocks[name], 1.0)])
        for name, axis in ((DISTANCE, "pixels"), (ENTROPY, "nats"))
    )
    return Section(
        id="distance",
        title="Near and far",
        words=(
            "Early blocks of a Vision Transformer mix heads that look near with heads that look far; later "
            "blocks look far (Dosovitskiy et al. 2020, arXiv:2010.11929, figure 7).",
        ),
        figure=LineFigure(panels, ("mean over the heads, with the 95 % interval over the images",)),
        tables=(
            table(
                "Means by block",
                ("Block", *(f"#{MEANINGS[name][0]}" for name in QUANTITIES)),
                [
                    [str(block), *(number(found.blocks[name][block].value) for name in QUANTITIES)]
                    for block in range(len(found.blocks[DISTANCE]))
                ],
            ),
        ),
    )


def _atlas(found: HeadAtlas) -> Section:
    tiles = []
    for name in QUANTITIES:
        values = found.heads[name].astype(np.float32)
        known = values[np.isfinite(values)]
        if not len(known):
            continue
        title, unit, _ = MEANINGS[name]
        low, high = float(known.min()), float(known.max())
        block, head = divmod(int(np.nanargmax(values)), values.shape[1])
        tiles.append(
            GridTile(
                title,
                f"{number(low)} to {number(high)} {unit}".rstrip(),
                values,
                Scale(low, high),
                f"{title} of every head, blocks down, heads across: {number(low)} to {number(high)}, "
                "largest in "
                f"head {head} of block {block} (from 0)",
            )
        )
    alike = found.most_redundant(MOST_REDUNDANT)
    return Section(
        id="atlas",
        title="Head by head",
        words=(
            "Blocks from the first (top) to the last, heads across; every picture on its own scale. "
            + "; ".join(f"{title}: {meaning}" for title, _, meaning in MEANINGS.values())
            + ".",
        ),
        tiles=tuple(tiles),
        tables=(
            table(
                "Heads most like the others of their block",
                ("Head", "#Redundancy"),
                [[f"block {one.block}, head {one.head}", f"{one.value:.2f}"] for one in alike],
            ),
        )
        if alike
        else (),
    )
