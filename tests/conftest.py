from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import VARIANTS, vision_model

from vitreport.model.load import VisionModel, load_model

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deals tests to processes file by file (``-n 2 --dist loadgroup``), as a file shares costly fixtures.

    One process has all browser tests, so that there is one browser at a time; a browser may fail for reasons
    of its own, so these tests alone are tried again.
    """
    for item in items:
        in_browser = item.get_closest_marker("browser") is not None
        if in_browser:
            item.add_marker(pytest.mark.flaky(reruns=2))
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("browser" if in_browser else item.path.stem))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Bits may depend on the number of threads, and for tiny models one is the fastest.

    Processes that tests start follow.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The study's pictures, golden maps and weights; they lie beside the project, not in it."""
    if not (SHARED / "goldens").is_dir():
        pytest.skip("the folder 'shared' with golden maps is not beside this project")
    return SHARED


@pytest.fixture(scope="session")
def deit(shared: Path) -> VisionModel:
    """DeiT-Tiny with its ImageNet weights; tests must leave it as it is."""
    weights = shared / "weights" / "deit_tiny_patch16_224.safetensors"
    return load_model("deit_tiny_patch16_224", checkpoint=weights)


@pytest.fixture(scope="session")
def models() -> dict[str, VisionModel]:
    """One tiny model of every kind; tests must leave them as they are."""
    return {name: vision_model(name) for name in VARIANTS}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of five small generated pictures of different shapes."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    generator = np.random.default_rng(5)
    for number in range(5):
        coarse = generator.integers(0, 256, (4, 5 + number, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((40 + 8 * number, 36)).save(folder / f"{number}.png")
    return folder
