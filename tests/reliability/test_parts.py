"""Parts that a disk, or a kill between two of them, has taken: found, and computed again."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import MODEL, contents, write_checkpoint, write_pictures

from vitreport import RunSettings, explain, open_run
from vitreport.errors import StoreError
from vitreport.store import RunFolder

ROUNDS = int(os.environ.get("VITREPORT_LOSSES", "2"))
"""How often a random half of the parts is lost."""


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def emptied(content: bytes) -> bytes:
    return b""


def flipped(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[len(content) // 3] ^= 4
    return bytes(changed)


DAMAGES = [truncated, emptied, flipped]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> RunSettings:
    place = tmp_path_factory.mktemp("inputs")
    checkpoint = write_checkpoint(place / "tiny.safetensors")
    return RunSettings(
        images=(str(write_pictures(place / "pictures", 5)),),
        model=MODEL,
        checkpoint=str(checkpoint),
        image_size=(48, 48),
        techniques=("raw_attention", "gradient_rollout", "grad_cam", "saliency", "class_attention"),
        metrics=("relevance_gain:steps=3", "black_pixels", "class_sensitivity"),
        score_images=4,
        targets=("top2",),
        batch_size=3,
        device="cpu",
    )


@pytest.fixture(scope="module")
def run(settings: RunSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole") / "run"
    explain(settings, root)
    return root


def parts_of(root: Path) -> list[str]:
    return [path for path in RunFolder(root).files_below("data") if path.endswith(".parquet")]


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_damaged_table_of_any_kind_is_read(damage: Callable[[bytes], bytes], run: Path) -> None:
    folder = RunFolder(run)
    assert {path.split("/")[1] for path in parts_of(run)} == {
        *("catalogue.parquet", "images", "maps", "activations", "scores")
    }
    for path in parts_of(run):
        content = (run / path).read_bytes()
        (run / path).write_bytes(damage(content))
        with pytest.raises(StoreError) as caught:
            folder.read_table(path)
        (run / path).write_bytes(content)
        said = f"{run / path} is not as it was written; run the same 'vitreport explain' command again, it"
        assert str(caught.value) == f"{said} makes it anew"


@pytest.mark.parametrize("finished", [True, False], ids=["a finished run", "a run that was stopped"])
def test_lost_and_damaged_parts_are_said_and_computed_again_to_the_same_bytes(
    finished: bool, run: Path, settings: RunSettings
) -> None:
    whole = contents(run)
    chance = random.Random(0)
    manifest = open_run(run).manifest
    for _ in range(ROUNDS):
        lost = [path for path in parts_of(run) if chance.random() < 0.5]
        for path in lost:
            if finished and chance.random() < 0.5:
                (run / path).unlink()
            else:
                damage = chance.choice(DAMAGES)
                (run / path).write_bytes(damage((run / path).read_bytes()))
        if not finished:
            RunFolder(run).commit_manifest(replace(manifest, complete=False, files={}))
        notices: list[str] = []
        explain(settings, run, notice=notices.append)
        assert contents(run) == whole
        (said,) = notices
        assert f"{sorted(lost)[0]} and {len(lost) - 1} more of the run were damaged or missing" in said


def test_what_one_technique_finds_does_not_depend_on_which_others_are_computed_with_it(
    run: Path, settings: RunSettings
) -> None:
    whole = contents(run)
    chance = random.Random(1)
    manifest = open_run(run).manifest
    for _ in range(ROUNDS):
        for path in parts_of(run):
            if chance.random() < 0.5:
                (run / path).unlink()
        RunFolder(run).commit_manifest(replace(manifest, complete=False, files={}))
        explain(settings, run)
        assert contents(run) == whole


def test_a_part_of_another_run_in_the_place_of_a_part_is_found(
    run: Path, settings: RunSettings, tmp_path: Path
) -> None:
    whole = contents(run)
    explain(replace(settings, metrics=("none",), seed=1, targets=("predicted",)), tmp_path / "other")
    for path in parts_of(tmp_path / "other"):
        if "/maps/" in path:
            (run / path).write_bytes((tmp_path / "other" / path).read_bytes())
    notices: list[str] = []
    explain(settings, run, notice=notices.append)
    assert len(notices) == 1
    assert contents(run) == whole
