"""How often a GPU would be awaited while a batch is explained: counted on the CPU, where nothing waits."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from test_explainer import settings, tiny
from tiny_model import VARIANTS, vision_model
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from vitreport import explain
from vitreport.explainer import Explainer
from vitreport.model import transfer
from vitreport.model.load import VisionModel
from vitreport.model.trace import Backward
from vitreport.techniques.technique import Context, Technique, alike, needs_of, select

__all__ = ["tiny"]
SHAPED_BY_VALUES = ("_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2", "equal")
OBSERVATIONS = 5
"""Of the core tier, of all images of a batch."""


class _Waits(TorchDispatchMode):
    """Counts operations for whose result, or its shape, the CPU has to wait."""

    def __init__(self, seen: Counter[str]) -> None:
        super().__init__()
        self._seen = seen

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name == "index" and any(one is not None and one.dtype == torch.bool for one in args[1])
        if by_mask or name in SHAPED_BY_VALUES:
            self._seen[name] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def _counted(seen: Counter[str]) -> Iterator[None]:
    """Counts what would wait: those operations, `Tensor.cpu` and `Tensor.tolist`, and `arrival`."""
    here = threading.current_thread()
    cpu, tolist, arrival = torch.Tensor.cpu, torch.Tensor.tolist, transfer.arrival

    def counting(name: str, method: Any) -> Any:
        def call(*arguments: Any) -> Any:
            if threading.current_thread() is here:
                seen[name] += 1
            return method(*arguments)

        return call

    with pytest.MonkeyPatch.context() as patch, _Waits(seen):
        patch.setattr(torch.Tensor, "cpu", counting("cpu", cpu))
        patch.setattr(torch.Tensor, "tolist", counting("tolist", tolist))
        patch.setattr(transfer, "arrival", counting("fetched", arrival))
        yield


def _waits(pictures: Path, root: Path, batch: int, *techniques: str) -> list[Counter[str]]:
    """What would wait in each batch of a run."""
    explained, batches = Explainer._explain, []

    def explain_batch(*given: Any) -> Iterator[Any]:
        batches.append(Counter())
        with _counted(batches[-1]):
            yield from explained(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Explainer, "_explain", explain_batch)
        explain(settings(pictures, techniques=techniques, batch_size=batch, inspect=0), root)
    return batches


def test_a_batch_s_predictions_are_awaited_and_its_maps_are_not(
    tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    maps = (
        "attention_rollout:fusion=max,discard_ratio=0.9",
        "generic_attention",
        "edges",
        "random",
        "centre",
    )
    for one in _waits(pictures, tmp_path / "run", 5, "gradient_rollout", "attcat", "grad_cam", *maps):
        assert one == {"fetched": 1}


@pytest.mark.parametrize("batch", [2, 5])
def test_a_batch_of_the_core_tier_is_awaited_once_an_observation_however_large_it_is(
    batch: int, tiny: VisionModel, pictures: Path, tmp_path: Path
) -> None:
    for one in _waits(pictures, tmp_path / "run", batch, "core"):
        assert one.total() == 1 + OBSERVATIONS


@pytest.mark.parametrize("variant", VARIANTS)
def test_maps_of_the_core_tier_stay_on_the_device_and_ask_nothing_of_it(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch's fake GPU has no values: what asks for one fails, and so does what mixes it with the CPU."""
    model = vision_model(variant)
    techniques = [
        one
        for one in select(["core"])
        if isinstance(one, Technique) and one.supports(model) is None and one.backward is Backward.PLAIN
    ]
    needs = needs_of(techniques)
    with FakeTensorMode():
        monkeypatch.setattr(torch.autograd, "grad", _same_shapes)  # the real one asks the driver
        for module in model.module.modules():
            for tensors in (module._parameters, module._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        there = torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")
                        tensors[name] = nn.Parameter(there, False) if tensors is module._parameters else there
        with model.traced(needs) as tracer:
            forward = tracer.forward(torch.empty(3, 3, *model.input_size, device="cuda"))
        trace = tracer.gradient(forward, torch.zeros(3, dtype=torch.int64, device="cuda"))
        context = Context(trace, model, ("a", "b", "c"), seed=0)
        for group in alike(techniques):
            for maps in type(group[0]).attribute_all(group, context):
                assert maps.device.type == "cuda" and len(maps) == 3


def _same_shapes(_outputs: Tensor, inputs: Sequence[Tensor], **_: object) -> tuple[Tensor, ...]:
    return tuple(map(torch.empty_like, inputs))
