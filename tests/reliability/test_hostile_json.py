"""Manifests and records that nobody wrote: whatever they say, one line of refusal or a run that is read."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from synthetic_run import write_run, write_scores

from vitreport.errors import VitReportError
from vitreport.report.site_record import read_record
from vitreport.store import RunFolder, open_run
from vitreport.store.folder import MANIFEST, REPORT
from vitreport.verification import verify

MUTATIONS = int(os.environ.get("VITREPORT_MUTATIONS", "300"))
"""How many changed manifests are tried."""

ODD = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2**31,
        2**63,
        10**40,
        1.5,
        -0.0,
        1e308,
        "",
        "0",
        "x" * 5000,
        "a\nb",
        "\x00",
    ),
    *("../../etc/passwd", "/etc/passwd", "<script>alert(1)</script>", "=1+1", "\u202e", "🐟"),
    *([], [None], [[]], {}, {"": ""}, {"name": {}}, ["x"] * 100, {"a": [1, {"b": None}]}),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scores(write_run(tmp_path_factory.mktemp("hostile") / "run", images=3))


def mutated(body: Any, chance: random.Random) -> Any:
    """A copy with one change somewhere: a value replaced, or an entry removed, added or doubled."""
    copy = json.loads(json.dumps(body))
    place = copy
    while True:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = chance.choice(list(keys))
        deeper = isinstance(place[key], dict | list) and len(place[key]) and chance.random() < 0.8
        if deeper:
            place = place[key]
            continue
        kind = chance.randrange(4)
        if kind == 0:
            del place[key]
        elif kind == 1 and isinstance(place, dict):
            place[chance.choice(["x", "", "__class__", "../x"])] = chance.choice(ODD)
        elif kind == 1:
            place.append(chance.choice(ODD))
        else:
            place[key] = chance.choice(ODD)
        return copy


def read_everything(root: Path) -> None:
    """All that the store's readers read."""
    run = open_run(root)
    rows = run.images.to_pylist()
    list(run.catalogue)
    for record in run.techniques:
        for shard in run.shards[:3]:
            list(run.attributions(record, shard))
            if record.kind == "observation" and not record.skipped:
                run.observations(record, shard)
        run.technique(record.name)
        run.map(rows[0]["id"], record.name)
    for metric in run.manifest.metrics:
        for record in run.techniques:
            run.scores(metric, record)


def test_a_changed_manifest_is_read_or_refused_in_one_line(root: Path) -> None:
    body = json.loads(RunFolder(root).manifest().to_json())
    whole = (root / MANIFEST).read_bytes()
    chance = random.Random(0)
    refused = 0
    for number in range(MUTATIONS):
        RunFolder(root).write_json(MANIFEST, json.dumps(mutated(body, chance), indent=1) + "\n")
        for attempt in (read_everything, verify):
            try:
                attempt(root)
            except VitReportError as error:
                refused += 1
                assert "\n" not in str(error), number
                assert str(error).isprintable(), f"{number}: {error!r}"
    (root / MANIFEST).write_bytes(whole)
    assert refused > MUTATIONS / 2  # most changes are seen


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"format": "vitreport run", "version": 2, "version": 2}',
        '{"format": "vitreport run", "version": 2, "data": NaN}',
        '{"format": "vitreport run", "version": 2, "command": "\\ud800"}',
        '{"format": "vitreport run", "version": ' + "9" * 10_000 + "}",
        '{"format": "vitreport run", "version": "2"}',
        '{"format": ["vitreport run"]}',
        "\ufeff{}",
        "",
    ],
    ids=range(10),
)
@pytest.mark.parametrize("path", [MANIFEST, REPORT])
@pytest.mark.parametrize("sealed", [True, False])
def test_odd_json_is_refused_in_one_line(text: str, path: str, sealed: bool, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    if sealed:
        folder.write_json(path, text)
    else:
        folder.write(path, text.encode())
    with pytest.raises(VitReportError) as caught:
        open_run(tmp_path) if path == MANIFEST else read_record(RunFolder(tmp_path))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x00" * 1000, b'{\n "seal": "', b'{\n "seal": "\xff'])
def test_bytes_that_are_no_text_are_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    for path in (MANIFEST, REPORT):
        (tmp_path / path).write_bytes(content)
        with pytest.raises(VitReportError) as caught:
            open_run(tmp_path) if path == MANIFEST else read_record(RunFolder(tmp_path))
        assert str(caught.value).isprintable()
