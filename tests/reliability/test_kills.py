"""Kills: what is finished is kept, and in the end nothing shows that there were any."""

from __future__ import annotations

import math
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import contents
from killing import Commands, Moment, commands, moments

from vitreport.verification import verify

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")

KILLS = int(os.environ.get("VITREPORT_KILLS", "8"))
"""How many in all, at least; a multiple of 8 is made of it."""

DEMO = ["demo", "-q", "--images", 3, "--pdf-images", 1, "--score-images", 2]
DEMO += ["-t", "raw_attention", "-t", "gradient_rollout", "-t", "logit_lens"]
DEMO += ["--metric", "relevance_gain:steps=2", "--metric", "concentration"]
MAXIMIZE = ["maximize", "-q", "--target", "class:1", "--target", "unit:2:5", "--steps", 2, "--seeds", 1]
STAGES = {
    "demo": ["images", "explain", "score", "catalogue", "pages", "pdf"],
    "maximize": ["maximize"],
    "diff": ["difference"],
}


@pytest.fixture(scope="module")
def command() -> Iterator[Commands]:
    with commands() as ready:
        yield ready


def lines(root: Path, other: Path, output: Path) -> dict[str, tuple[list[object], Path]]:
    """The three command lines, each with the folder it writes to."""
    return {
        "demo": ([*DEMO, "-o", root], root),
        "maximize": ([*MAXIMIZE, "-o", root], root),
        "diff": (["diff", "-q", root, other, "-o", output], output),
    }


def test_whatever_is_killed_at_any_moment_ends_with_the_bytes_of_an_undisturbed_run(
    command: Commands, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    assert command(*DEMO, "--no-pdf", "--model", "shortcut", "-o", other, root=other).code == 0
    expected, counted = {}, {}
    for name, (words, root) in lines(tmp_path / "run", other, tmp_path / "difference").items():
        ended = command(*words, root=root)
        assert ended.code == 0, ended.errors
        counted[name] = ended.events
        expected[name] = contents(root)
    rounds = math.ceil(KILLS / sum(map(len, STAGES.values())))
    killed = 0
    for number in range(rounds):
        place = tmp_path / f"round-{number}"
        for name, (words, root) in lines(place / "run", other, place / "difference").items():
            for moment in next(moments(1, 100 * number + len(name), counted[name], STAGES[name])):
                ended = command(*words, root=root, at=moment)
                assert ended.code == -signal.SIGKILL, f"{moment}: {ended.errors}"
                killed += 1
            ended = command(*words, root=root)
            assert ended.code == 0, f"round {number}: {ended.errors}"
            found = contents(root)
            assert found == expected[name], f"round {number}, {name}: {_differing(found, expected[name])}"
        assert verify(place / "run").faults == ()
        shutil.rmtree(place)
    assert killed >= KILLS


def test_a_kill_between_two_techniques_changes_no_score(command: Commands, tmp_path: Path) -> None:
    words = [*DEMO, "--no-pdf", "-t", "grad_cam", "-o"]
    whole = command(*words, tmp_path / "whole", root=tmp_path / "whole")
    assert whole.code == 0, whole.errors
    for number in (7, 19):  # each part of scores is opened and moved, so these lie between two techniques
        root = tmp_path / f"killed-{number}"
        moment = Moment("score", whole.events["score"] * number // 30)
        assert command(*words, root, root=root, at=moment).code == -signal.SIGKILL
        scored = list((root / "data" / "scores").rglob("*.parquet"))
        assert 0 < len(scored) < len(list((tmp_path / "whole" / "data" / "scores").rglob("*.parquet")))
        assert command(*words, root, root=root).code == 0
        assert contents(root) == contents(tmp_path / "whole")


def _differing(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    return sorted(path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path))
