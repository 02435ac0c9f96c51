"""Kills: what is finished is kept, and in the end nothing shows that there were any."""

from __future__ import annotations

import math
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import contents
from killing import After, Commands, Ended, Moment, commands, moments

from vitreport.publication.pseudonym import KEY
from vitreport.verification import verify

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")

KILLS = int(os.environ.get("VITREPORT_KILLS", "10"))
"""How many before an event, at least; beside them about six by a clock for every ten."""

DEMO = ["demo", "-q", "--images", 3, "--pdf-images", 1, "--score-images", 2]
DEMO += ["-t", "raw_attention", "-t", "gradient_rollout", "-t", "logit_lens"]
DEMO += ["--metric", "relevance_gain:steps=2", "--metric", "concentration"]
MAXIMIZE = ["maximize", "-q", "--target", "class:1", "--target", "unit:2:5", "--steps", 2, "--seeds", 1]
STAGES = {
    "demo": ["images", "explain", "score", "catalogue", "pages", "pdf"],
    "maximize": ["maximize"],
    "publish": ["copy", "site"],
    "diff": ["difference"],
}
"""Where a command is killed, in the order in which it comes there."""

ROUNDS = math.ceil(KILLS / sum(map(len, STAGES.values())))


@dataclass(frozen=True)
class Whole:
    """What nobody disturbed: another run, to compare with; of each command how it ended and what it left.

    Attributes:
        key: of the publication, without which no two copies are equal.
    """

    other: Path
    key: bytes
    ended: dict[str, Ended]
    contents: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def command() -> Iterator[Commands]:
    with commands() as ready:
        yield ready


def lines(place: Path, other: Path) -> dict[str, tuple[list[object], Path]]:
    """The four command lines, each with the folder it writes to."""
    root, output = place / "run", place / "difference"
    return {
        "demo": ([*DEMO, "-o", root], root),
        "maximize": ([*MAXIMIZE, "-o", root], root),
        "publish": (["report", "-q", "--publish", "--pdf-images", 1, root], root),
        "diff": (["diff", "-q", root, other, "-o", output], output),
    }


@pytest.fixture(scope="module")
def whole(command: Commands, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    place = tmp_path_factory.mktemp("whole")
    other = place / "other"
    assert command(*DEMO, "--no-pdf", "--model", "shortcut", "-o", other, root=other).code == 0
    found = Whole(other, b"7" * 64 + b"\n", {}, {})
    for name, (words, root) in lines(place, other).items():
        if name == "publish":
            (root / KEY).write_bytes(found.key)
        found.ended[name] = ended = command(*words, root=root)
        assert ended.code == 0, ended.errors
        found.contents[name] = contents(root)
    return found


def before_events(chance: random.Random, ended: Ended, stages: Sequence[str]) -> Sequence[Moment | After]:
    return moments(chance, ended.events, stages)


def by_a_clock(chance: random.Random, ended: Ended, stages: Sequence[str]) -> Sequence[Moment | After]:
    return [After(chance.uniform(0, ended.seconds)) for _ in stages[::2]]


@pytest.mark.parametrize("ends", [before_events, by_a_clock])
def test_whatever_is_killed_at_any_moment_ends_with_the_bytes_of_an_undisturbed_run(
    ends: Callable[[random.Random, Ended, Sequence[str]], Sequence[Moment | After]],
    command: Commands,
    whole: Whole,
    tmp_path: Path,
) -> None:
    for number in range(ROUNDS):
        chance, place = random.Random(number), tmp_path / f"round-{number}"
        for name, (words, root) in lines(place, whole.other).items():
            if name == "publish":
                (root / KEY).write_bytes(whole.key)
            for at in ends(chance, whole.ended[name], STAGES[name]):
                ended = command(*words, root=root, at=at)
                late = isinstance(at, After) and ended.code == 0  # it was done before the clock struck
                assert late or ended.code == -signal.SIGKILL, f"{at}: {ended.errors}"
            ended = command(*words, root=root)
            assert ended.code == 0, f"round {number}, {name}: {ended.errors}"
            found, expected = contents(root), whole.contents[name]
            paths = found.keys() | expected.keys()
            differing = sorted(path for path in paths if found.get(path) != expected.get(path))
            assert differing == [], f"round {number}, {name}"
        assert verify(place / "run").faults == ()
        shutil.rmtree(place)


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
