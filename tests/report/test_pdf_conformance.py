"""Every PDF is PDF/A-3a and PDF/UA-1: veraPDF finds no failed assertion."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import pikepdf
import pytest
from conformance import STANDARDS, Verdict, missing, verdicts
from pdf_reading import HOSTILE, drawn, drawn_parts
from synthetic_run import CLASSES, write_run, write_scores
from test_audit_reading import planted

from vitreport.analysis.trust import trust
from vitreport.report.difference_build import build_difference
from vitreport.store import open_run

pytestmark = [
    pytest.mark.pdf,
    pytest.mark.skipif(bool(missing()), reason=f"veraPDF {missing()}"),
]

SINGLES = tuple(f"single {number}" for number in range(len(HOSTILE)))
GOOD = ("report", "hostile names", "findings", "scored", "difference", "volume", *SINGLES)
BROKEN = {"no language": "7.2", "no relationship": "6.8"}
"""Documents that must fail, with the clause that one of their failures is of."""

Verdicts = Mapping[tuple[str, str], Verdict]


def _without_language(content: bytes) -> bytes:
    with pikepdf.open(io.BytesIO(content)) as pdf:
        del pdf.Root.Lang
        return _saved(pdf)


def _without_relationship(content: bytes) -> bytes:
    with pikepdf.open(io.BytesIO(content)) as pdf:
        del pdf.Root.AF[0].AFRelationship
        return _saved(pdf)


def _saved(pdf: pikepdf.Pdf) -> bytes:
    buffer = io.BytesIO()
    pdf.save(buffer)
    return buffer.getvalue()


def _documents(root: Path) -> Iterator[tuple[str, bytes]]:
    plain = drawn(open_run(write_run(root / "plain", 6)), image_cap=2)
    yield "report", plain
    classes = tuple(
        f"{name} {uri.removeprefix('photos/')}" for name, uri in zip(CLASSES, HOSTILE, strict=False)
    )
    hostile = write_run(root / "hostile", len(HOSTILE) + 2, uris=HOSTILE, quarantined=2, classes=classes)
    yield "hostile names", drawn(open_run(hostile))
    (volume,) = drawn_parts(open_run(hostile), "volumes")
    yield "volume", volume
    yield from zip(SINGLES, drawn_parts(open_run(hostile), "singles"), strict=True)
    yield "findings", drawn(planted(root / "findings"), image_cap=0)
    scored = open_run(write_scores(write_run(root / "before", 12, quarantined=0)))
    yield "scored", drawn(scored, trust=trust(scored), image_cap=1)
    after = write_scores(write_run(root / "after", 10, quarantined=0), quality={"raw_attention": 0.6})
    build_difference(root / "before", after, root / "difference")
    yield "difference", (root / "difference" / "difference.pdf").read_bytes()
    yield "no language", _without_language(plain)
    yield "no relationship", _without_relationship(plain)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    """What veraPDF says of every document and standard."""
    root = tmp_path_factory.mktemp("conformance")
    names = {}
    for number, (name, content) in enumerate(_documents(root)):
        place = root / f"{number}.pdf"
        place.write_bytes(content)
        names[place] = name
    return {(names[one.file], one.standard): one for one in verdicts(list(names))}


@pytest.mark.parametrize("standard", STANDARDS)
@pytest.mark.parametrize("name", GOOD)
def test_no_assertion_fails(name: str, standard: str, found: Verdicts) -> None:
    verdict = found[name, standard]
    assert verdict.failures == ""
    assert verdict.failed == 0
    assert verdict.assertions > 1_000


@pytest.mark.parametrize(("name", "clause"), list(BROKEN.items()))
def test_a_document_that_does_not_conform_is_found_out(name: str, clause: str, found: Verdicts) -> None:
    failures = " ".join(found[name, standard].failures for standard in STANDARDS)
    assert sum(found[name, standard].failed for standard in STANDARDS) > 0
    assert clause in failures
