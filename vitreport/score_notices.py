"""What a run says of its scoring: images and masks that could not be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from vitreport.scorer import Scorer

NAMED = 3
"""Images that a notice names."""


def score_notices(scorer: Scorer) -> tuple[str, ...]:
    """Notices on what was scored, read back from the store; none where all went well."""
    return (*_unreadable(scorer), *_masks(scorer))


def _unreadable(scorer: Scorer) -> Iterator[str]:
    """Images that were explained, and could not be read when they were to be scored."""
    drawn = {image.id: image for images in scorer.parts.values() for image in images}
    uris = {ref.id: ref.uri for ref in scorer.plan.catalogue.refs}
    missing: dict[str, None] = {}
    for record, metric in scorer.plan.metrics:
        if record.skipped is None and scorer.scorable:
            parts = scorer.folder.score_parts(record, scorer.scorable[0])
            have = {
                name for part in parts for name in scorer.folder.read_table(part, ["id"])["id"].to_pylist()
            }
            most = metric.most_images
            asked = (name for name, image in drawn.items() if most is None or image.lot < most)
            missing |= dict.fromkeys(name for name in asked if name not in have)
    if missing:
        names = [uris[name] for name in missing]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        yield (
            f"{len(names)} of the {len(drawn)} images drawn for scoring could not be read any more and have "
            f"no score: {', '.join(names[:NAMED])}{more}"
        )


def _masks(scorer: Scorer) -> Iterator[str]:
    """That no mask could be used, and why not."""
    for record, metric in scorer.plan.metrics:
        if not metric.needs_masks or record.skipped is not None:
            continue
        notes: Counter[str] = Counter()
        for technique in scorer.scorable:
            for part in scorer.folder.score_parts(record, technique):
                table = scorer.folder.read_table(part, ["value", "note"])
                if table["value"].null_count < len(table):
                    return
                notes.update(note for note in table["note"].to_pylist() if note)
        if notes:
            ordered = sorted(notes, key=lambda note: (-notes[note], note))
            yield (f"no mask could be used, so nothing is scored by masks; most often {ordered[0]}")
