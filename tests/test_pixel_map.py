"""Maps kept pixel by pixel: what is stored, read back, resumed and verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_model import vision_model

from vitreport import RunSettings, explain, open_run
from vitreport.api import verify
from vitreport.errors import StoreError
from vitreport.images.decode import decode
from vitreport.model.layout import patch_sums
from vitreport.model.load import VisionModel
from vitreport.pixel_map import stored_pixels
from vitreport.settings import PixelMaps
from vitreport.store import Run
from vitreport.store.folder import technique_part
from vitreport.store.schema import MAPS

GRID = (4, 4)
TECHNIQUES = ("raw_attention", "saliency", "input_x_gradient", "cp_lrp", "smooth_grad:samples=2", "qkv")
IN_PIXELS = TECHNIQUES[1:5]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> VisionModel:
    """What every name loads."""
    model = vision_model("class_token")
    monkeypatch.setattr("vitreport.plan.load_model", lambda *_, **__: model)
    return model


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitreport.images.catalogue.SHARD_SIZE", 2)


def asked(pictures: Path, kept: PixelMaps, **changes: Any) -> RunSettings:
    given = {"images": (str(pictures),), "techniques": TECHNIQUES, "targets": ("top2",), "metrics": ("none",)}
    return RunSettings(**{**given, "batch_size": 2, "device": "cpu", "pixel_maps": kept, **changes})


def ids(run: Run) -> list[str]:
    return [ref.id for ref in run.catalogue]


def stored(root: Path) -> dict[str, bytes]:
    """All tables of a run."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.parquet")}


def rounding(values: np.ndarray, kept: PixelMaps) -> np.ndarray:
    """How far each value may be off: half a step of float16, of small ones half the smallest step."""
    exact = kept == "float32"
    return (0 if exact else 1.001) * (2.0**-11 * np.abs(values) + 2.0**-25 * np.abs(values).max())


def sums(pixels: np.ndarray) -> np.ndarray:
    """Over the patches of a map."""
    return patch_sums(torch.from_numpy(pixels)[None].double(), GRID)[0].numpy()


@pytest.mark.parametrize("size", [1e-36, 1e-9, 1.0, 1e9, 1e37])
@pytest.mark.parametrize("kept", ["float16", "float32"])
def test_maps_of_every_size_come_back(size: float, kept: PixelMaps) -> None:
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(3, 32, 48, generator=generator) ** 5 * (size / 1000)
    values[1, 5:] = 0
    stored = stored_pixels(values, GRID, kept)
    assert stored is not None
    for found, expected in zip(stored.maps(), values.numpy(), strict=True):
        assert found is not None
        assert found.stored.dtype == kept
        assert found.values.dtype == np.float32
        assert (np.abs(found.values.astype(float) - expected) <= rounding(expected, kept)).all()


def test_a_map_of_zeros_stays_one() -> None:
    stored = stored_pixels(torch.zeros(1, 32, 32), GRID, "float16")
    assert stored is not None
    (found,) = stored.maps()
    assert found is not None
    assert not found.values.any()


def test_what_is_on_the_patches_has_no_pixels_and_nothing_is_kept_unasked() -> None:
    assert stored_pixels(torch.ones(2, *GRID), GRID, "float32") is None
    assert stored_pixels(torch.ones(2, 32, 32), GRID, "none") is None


@pytest.mark.parametrize("kept", ["float16", "float32"])
def test_a_run_keeps_what_is_finer_than_patches_and_reads_it_back(
    kept: PixelMaps, tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    run = explain(asked(pictures, kept), tmp_path / "run")
    rows = {row["id"]: row for row in run.images.to_pylist()}
    assert len(ids(run)) == 5
    for image in ids(run):
        pixels, _ = tiny.preparation(decode(Path(rows[image]["uri"])))
        for target in rows[image]["targets"]:
            pixels.requires_grad_()
            (gradient,) = torch.autograd.grad(tiny.module(pixels[None])[0, target], pixels)
            found = run.pixel_map(image, "input_x_gradient", target)
            assert (
                np.abs(found - (pixels * gradient).detach().sum(0).numpy()).max() < 2e-3 * np.abs(found).max()
            )
            for key in IN_PIXELS:
                found = run.pixel_map(image, key, target)
                off = np.abs(sums(found) - run.map(image, key, target))
                assert (off <= sums(rounding(found, kept)) + 1e-6 * sums(np.abs(found))).all()
        with pytest.raises(StoreError, match="'raw_attention' is not kept pixel by pixel in this run"):
            run.pixel_map(image, "raw_attention")
    assert run.manifest.bound["pixel maps"] == run.manifest.settings["pixel_maps"] == kept
    assert f"--pixel-maps {kept}" in run.manifest.command
    assert verify(tmp_path / "run").faults == ()


def test_without_them_a_run_is_what_it_was(tiny: VisionModel, pictures: Path, tmp_path: Path) -> None:
    plain = explain(asked(pictures, "none"), tmp_path / "plain")
    kept = explain(asked(pictures, "float16"), tmp_path / "kept")
    assert "pixel" not in json.dumps([plain.manifest.bound, plain.manifest.settings, plain.manifest.command])
    for record in plain.techniques:
        if record.kind == "map":
            part = plain.folder.read_table(technique_part(record, 0))
            assert part.schema == MAPS
            assert kept.folder.read_table(technique_part(record, 0), MAPS.names).equals(part)
    with pytest.raises(StoreError, match=r"'saliency' is not kept pixel by pixel.* --pixel-maps float16"):
        plain.pixel_map(ids(plain)[0], "saliency")


def test_a_run_goes_on_with_its_pixels_and_with_no_others(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = explain(asked(pictures, "float16"), tmp_path / "whole")
    explain(asked(pictures, "float16", techniques=("raw_attention",)), tmp_path / "run")
    explain(asked(pictures, "none", techniques=("saliency", "input_x_gradient")), tmp_path / "run")
    resumed = explain(asked(pictures, "float16"), tmp_path / "run")
    lost = technique_part(resumed.technique("saliency"), 1)
    (tmp_path / "run" / lost).unlink()
    explain(asked(pictures, "float16"), tmp_path / "run")
    assert stored(tmp_path / "run") == stored(tmp_path / "whole")
    before = stored(tmp_path / "run")
    with pytest.raises(StoreError, match="holds another run: the pixel maps differ; nothing was touched"):
        explain(asked(pictures, "float32"), tmp_path / "run")
    assert stored(tmp_path / "run") == before
    assert np.array_equal(
        open_run(tmp_path / "run").pixel_map(ids(whole)[0], "saliency"),
        whole.pixel_map(ids(whole)[0], "saliency"),
    )


def test_a_map_that_fails_has_no_pixels_and_costs_no_other_its_own(
    tiny: VisionModel, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitreport.techniques.gradient.pixel_gradient import Saliency

    combine = Saliency.combine.__func__  # type: ignore[attr-defined]

    def broken(cls: type, pixels: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = combine(cls, pixels, gradient)
        values[0, 3, 3] = torch.nan
        return values

    monkeypatch.setattr(Saliency, "combine", classmethod(broken))
    run = explain(asked(pictures, "float16", techniques=("saliency",)), tmp_path / "run")
    first, second = ids(run)[:2]
    with pytest.raises(StoreError, match=r"'saliency' failed on image .* not finite"):
        run.pixel_map(first, "saliency")
    assert np.isfinite(run.pixel_map(second, "saliency")).all()
