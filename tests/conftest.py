from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_model import VARIANTS, vision_model

from vitreport.model.load import VisionModel, load_model

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser may fail for reasons of its own: its tests, and no others, are tried again."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture(autouse=True)
def one_browser(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One browser test at a time, however many processes there are: two starve each other."""
    if request.node.get_closest_marker("browser") is None or "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    import fcntl

    with (tmp_path_factory.getbasetemp().parent / "browser.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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
