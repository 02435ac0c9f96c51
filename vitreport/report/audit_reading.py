"""From the audit of a run to what the report says of it: findings first, then the chapters behind them."""

from __future__ import annotations

from collections.abc import Sequence

from vitreport.analysis.audit import Audit, audit
from vitreport.analysis.finding import (
    EMERGENCE,
    HEADS,
    OUTLIERS,
    PLACE,
    REVIEW,
    SHORTCUT,
    SLICE,
    STRATEGY,
    Finding,
)
from vitreport.analysis.findings import findings
from vitreport.analysis.trust import Trust
from vitreport.report import audit_blocks, audit_cases, audit_evidence, audit_tokens
from vitreport.report.audit_classes import class_chapters
from vitreport.report.audit_names import AuditNames
from vitreport.report.audit_record import record_chapter
from vitreport.report.chapter import AuditPage, Chapter, FindingView
from vitreport.report.optimized_reading import optimized_chapter
from vitreport.report.pages import Fact, ImageRow
from vitreport.report.wording import count, number
from vitreport.store import Run

CHAPTER_OF = {
    SHORTCUT: audit_evidence.PATH,
    PLACE: audit_evidence.PATH,
    STRATEGY: audit_evidence.PATH,
    SLICE: audit_cases.SLICES_PATH,
    REVIEW: audit_cases.REVIEW_PATH,
    OUTLIERS: audit_tokens.TOKENS_PATH,
    EMERGENCE: audit_blocks.EMERGENCE_PATH,
    HEADS: audit_blocks.HEADS_PATH,
}
"""Page with the evidence, by kind of finding."""


def audit_page(run: Run, trust: Trust | None, rows: Sequence[ImageRow]) -> AuditPage | None:
    """What the report says of the run as a whole; None where no image could be explained.

    Args:
        run: the run.
        trust: of it; its leading techniques speak for the run.
        rows: of the tables of images.
    """
    found = audit(run, leaders=leaders(trust))
    if not found.outcomes.ids:
        return None
    names = AuditNames(run, found, {row.id: row for row in rows})
    chapters = [
        audit_evidence.evidence_chapter(names),
        audit_cases.slices_chapter(names),
        audit_tokens.tokens_chapter(names),
        audit_blocks.emergence_chapter(names),
        audit_blocks.heads_chapter(names),
        audit_cases.review_chapter(names),
        optimized_chapter(names),
    ]
    there = tuple(chapter for chapter in chapters if chapter)
    return AuditPage(
        findings=tuple(_finding(names, one, place, there) for place, one in enumerate(findings(found), 1)),
        looked_for=looked_for(found),
        chapters=there,
        classes=class_chapters(names),
        review={case.id: case.words for case in found.review.cases},
        record=record_chapter(names),
    )


def leaders(trust: Trust | None) -> tuple[str, ...]:
    """Keys of the techniques in the first tie group of the headline."""
    board = trust.headline.board if trust and trust.headline else None
    return tuple(row.key for row in board.groups[0]) if board and board.groups else ()


def _finding(names: AuditNames, one: Finding, place: int, chapters: Sequence[Chapter]) -> FindingView:
    path = CHAPTER_OF[one.kind]
    chapter = next(chapter for chapter in chapters if chapter.path == path)
    return FindingView(
        id=f"finding-{place}",
        severity=one.severity.name.lower(),
        sentence=one.sentence,
        numbers=tuple(Fact(name, number(value)) for name, value in one.numbers.items()),
        images=names.images(one.images),
        technique=one.technique or "",
        chapter=path,
        chapter_title=chapter.title,
        found=one,
    )


def looked_for(found: Audit) -> tuple[str, ...]:
    """What was tested, found or not."""
    words = []
    if found.screening is not None and found.screening.tests:
        words.append(f"corners that give a class away ({count(len(found.screening.tests), 'test')})")
    tested = sum(one.p == one.p for one in found.slicing.slices)
    if tested:
        words.append(f"slices on which the model is worse ({tested:,})")
    if found.strategies:
        words.append(f"classes that are explained in several ways ({len(found.strategies):,})")
    if found.census is not None:
        words.append("outlier tokens and maps that lie on them")
    if found.evolution is not None:
        words.append("predictions that emerge late")
    if found.heads is not None:
        words.append("heads that do the same")
    words.append("images that are wrong and confident, undecided, or explained in contradictory ways")
    missing = []
    if found.technique is None:
        missing.append("No map speaks for the run, so shortcuts could not be looked for.")
    elif found.screening is not None and not found.screening.tests:
        missing.append("There are too few maps to test corners.")
    return (f"Looked for: {', '.join(words[:-1])}{' and ' if len(words) > 1 else ''}{words[-1]}.", *missing)
