from __future__ import annotations

import json

import pytest
import torch

from vitreport.model.environment import choose_device, device_name, environment
from vitreport.model.load import VisionModel
from vitreport.model.memory import MOST_ON_CPU, automatic_batch_size


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert choose_device("auto") == ("cuda" if there else "cpu")
    assert choose_device("cpu") == "cpu"


def test_the_environment_is_plain_and_names_what_numbers_depend_on() -> None:
    found = json.loads(json.dumps(environment("cpu")))
    assert {"torch", "timm", "numpy", "pillow", "threads", "device", "dtype", "tf32"} <= set(found)
    assert found["device"] == device_name("cpu") == "cpu"
    assert environment("cpu") == environment("cpu")


def test_a_batch_is_halved_until_it_fits(
    models: dict[str, VisionModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models["class_token"]
    assert automatic_batch_size(model) == MOST_ON_CPU
    for room, expected in ((20, 16), (3, 2), (0, 1)):
        monkeypatch.setattr("vitreport.model.memory.bytes_per_image", lambda model: 1000)
        monkeypatch.setattr("vitreport.model.memory._CPU_BUDGET", room * 1000)
        assert automatic_batch_size(model) == expected
