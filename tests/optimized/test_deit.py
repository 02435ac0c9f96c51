"""What the optimised pictures of a real model reach: DeiT-Tiny with its ImageNet weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vitreport import RunSettings, explain, maximize
from vitreport.store import Run
from vitreport.store.optimized import OptimizedRecord, cross_control

pytestmark = pytest.mark.slow
CLASSES = ("243", "282", "404", "88")


@pytest.fixture(scope="module")
def run(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = RunSettings(
        images=(str(shared / "images"),),
        model="deit_tiny_patch16_224",
        checkpoint=str(shared / "weights" / "deit_tiny_patch16_224.safetensors"),
        techniques=("raw_attention",),
        metrics=("none",),
        device="cpu",
    )
    return explain(settings, tmp_path_factory.mktemp("deit") / "run")


@pytest.fixture(scope="module")
def records(run: Run) -> list[OptimizedRecord]:
    torch.set_num_threads(2)
    try:
        return maximize(run.folder.root, CLASSES, seeds=1, device="cpu")
    finally:
        torch.set_num_threads(1)


def test_pictures_reach_their_class_as_they_are_and_moved_and_blurred(records):
    for record in records:
        assert record.passed, (record.target, record.failed_gates)
        for picture in record.pictures:
            for way, look in picture.looks.items():
                assert look.rank == 1 and look.score > 0.9, (record.target, picture.name, way)
            assert 0.9 <= picture.seam_ratio <= 1.1


def test_controls_fail(run, records):
    for record in records:
        failed = {gate.name for gate in record.noise.gates if not gate.passed}
        assert failed >= {"activation", "clean", "shifted", "blurred"}
    found = cross_control(run.folder)
    assert found is not None
    for row, target in enumerate(found.targets):
        assert [name for name, passed in zip(found.targets, found.passes[row], strict=True) if passed] == [
            target
        ]


def test_patches_fall_apart_where_nothing_holds_them_together(run, records):
    plain = maximize(run.folder.root, CLASSES, parametrisation="pixels", steps=60, seeds=1, device="cpu")
    for free, held in zip(plain, records, strict=True):
        assert free.pictures[0].seam_ratio > 1.15
        assert free.pictures[0].seam_ratio > held.pictures[0].seam_ratio + 0.1
        assert "seam" in free.failed_gates


def test_patches_look_more_alike_where_their_positions_are(records):
    for record in records:
        assert all(picture.likeness > 0 for picture in record.pictures)
        assert record.audited.likeness > 0
