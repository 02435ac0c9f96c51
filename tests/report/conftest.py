from __future__ import annotations

import pytest
from pdf_reading import HOSTILE, Document, drawn
from synthetic_run import write_run

from vitreport.store import Run, open_run


@pytest.fixture(scope="session")
def drawn_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Six images, one of them quarantined; tests must leave it as it is."""
    return open_run(write_run(tmp_path_factory.mktemp("pdf") / "run", 6))


@pytest.fixture(scope="session")
def document(drawn_run: Run) -> Document:
    """The PDF of `drawn_run`."""
    return Document(drawn(drawn_run))


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """The PDF of images with names that were made to do harm."""
    run = open_run(
        write_run(tmp_path_factory.mktemp("pdf") / "run", len(HOSTILE), uris=HOSTILE, quarantined=0)
    )
    return Document(drawn(run))
