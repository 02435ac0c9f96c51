"""Eight maps in our one pass against the public way: one image, one technique, one pass each.

    python -m tests.benchmarks.peers [--batch 32 --threads 2] [--device cuda --batch 128]

Grad-CAM, LayerCAM and input x gradient are those of grad-cam and captum where these are installed
(``pip install -e '.[bench]'``). The others have no package; their public code explains one image at a time,
takes the gradients of all parameters with ``backward`` and multiplies whole matrices, and so do the loops
here, written from the definitions. Everything runs in turn in one process. On a machine that others use too,
``--clock cpu --threads 1`` counts the time that this process had instead of the time that passed.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor, nn

from tests.benchmarks.explain_cost import Clock, explain_batch
from tests.benchmarks.models import seeded_model
from vitreport.model.environment import device_name
from vitreport.techniques.technique import select

DISCARD = 0.9
OURS = (
    "raw_attention",
    f"attention_rollout:discard_ratio={DISCARD}",
    f"gradient_rollout:discard_ratio={DISCARD}",
    "generic_attention",
    "attention_grad_cam",
    "grad_cam",
    "layer_cam",
    "input_x_gradient",
)
Peer = Callable[[Tensor], object]
"""Explains one picture ``(1, 3, height, width)`` for the class that its model predicts."""


class OpenModel:
    """A model whose attention and its gradient are kept by hooks, with gradients of all parameters."""

    def __init__(self, module: nn.Module) -> None:
        self.module = copy.deepcopy(module).requires_grad_(True)
        self.attention: list[Tensor] = []
        for block in self.module.blocks:  # type: ignore[union-attr]
            block.attn.fused_attn = False
            block.attn.attn_drop.register_forward_hook(lambda _part, _given, found: self._keep(found))

    def _keep(self, attention: Tensor) -> None:
        if attention.requires_grad:
            attention.retain_grad()
        self.attention.append(attention)

    def look(self, picture: Tensor) -> list[Tensor]:
        """The attention of every block."""
        self.attention.clear()
        with torch.no_grad():
            self.module(picture)
        return [attention[0] for attention in self.attention]

    def explain(self, picture: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The attention of every block and its gradient."""
        self.attention.clear()
        self.module.zero_grad()
        self.module(picture).max(1).values.sum().backward()
        gradients = [attention.grad for attention in self.attention]
        return [
            (attention.detach()[0], gradient[0])
            for attention, gradient in zip(self.attention, gradients, strict=True)
            if gradient is not None
        ]


def _rolled_out(matrices: list[Tensor]) -> Tensor:
    """The weakest entries discarded, the identity added, rows normalised, all multiplied."""
    one = torch.eye(len(matrices[0]), device=matrices[0].device)
    total = one
    for matrix in matrices:
        flat = matrix.clone().flatten()
        flat[flat.topk(int(len(flat) * DISCARD), largest=False).indices] = 0
        mixed = flat.view_as(matrix) + one
        total = mixed / mixed.sum(-1, keepdim=True) @ total
    return total[0, 1:]


def _updated(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    total = torch.eye(pairs[0][0].shape[-1], device=pairs[0][0].device)
    for attention, gradient in pairs:
        total = total + (attention * gradient).clamp(min=0).mean(0) @ total
    return total[0, 1:]


def _weighted(pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    attention, gradient = (part[:, 0, 1:] for part in pairs[-1])
    return (gradient.mean(1, keepdim=True) * attention).mean(0)


def peers_of(module: nn.Module, grid: tuple[int, int]) -> dict[str, tuple[Peer, str]]:
    """For each of `OURS` the public way, and whose code that is."""
    model = OpenModel(module)
    by_definition: dict[str, Peer] = {
        OURS[0]: lambda picture: model.look(picture)[-1].mean(0)[0, 1:],
        OURS[1]: lambda picture: _rolled_out([one.mean(0) for one in model.look(picture)]),
        OURS[2]: lambda picture: _rolled_out(
            [(one * slope).mean(0).clamp(min=0) for one, slope in model.explain(picture)]
        ),
        OURS[3]: lambda picture: _updated(model.explain(picture)),
        OURS[4]: lambda picture: _weighted(model.explain(picture)),
    }
    plain = copy.deepcopy(module).requires_grad_(True)
    found = {name: (peer, "loop from the definition") for name, peer in by_definition.items()}
    found |= {name: (_map_by_backward(plain, name), "loop from the definition") for name in OURS[5:]}
    with suppress(ImportError):
        found |= _of_grad_cam(plain, grid)
    with suppress(ImportError):
        from captum.attr import InputXGradient

        captum = InputXGradient(plain)
        found[OURS[7]] = (
            lambda picture: captum.attribute(picture.clone().requires_grad_(), target=_best(plain, picture)),
            "captum",
        )
    return found


def _of_grad_cam(module: nn.Module, grid: tuple[int, int]) -> dict[str, tuple[Peer, str]]:
    from pytorch_grad_cam import GradCAM, LayerCAM

    def on_grid(tokens: Tensor) -> Tensor:
        patches = tokens[:, 1:]
        return patches.reshape(len(tokens), *grid, -1).permute(0, 3, 1, 2)

    found: dict[str, tuple[Peer, str]] = {}
    for name, kind in ((OURS[5], GradCAM), (OURS[6], LayerCAM)):
        cam = kind(module, [module.blocks[-1].norm1], reshape_transform=on_grid)  # type: ignore[index,union-attr]
        found[name] = (lambda picture, cam=cam: cam(picture, targets=None), "grad-cam")
    return found


def _best(module: nn.Module, picture: Tensor) -> int:
    with torch.no_grad():
        return int(module(picture).argmax())


def _map_by_backward(module: nn.Module, name: str) -> Peer:
    """The class activation maps and input x gradient where their packages are missing."""
    site: nn.Module = module.blocks[-1].norm1  # type: ignore[index,union-attr,assignment]

    def explain(picture: Tensor) -> Tensor:
        kept: list[Tensor] = []
        picture = picture.clone().requires_grad_()
        hook = site.register_forward_hook(lambda _part, _given, found: kept.append(found))
        module.zero_grad()
        logits = module(picture)
        hook.remove()
        kept[0].retain_grad()
        logits.max(1).values.sum().backward()
        features, slope = kept[0].detach()[0, 1:], kept[0].grad
        assert slope is not None and picture.grad is not None
        if name == OURS[7]:
            return (picture.detach() * picture.grad).sum(1)
        weights = slope[0, 1:].mean(0) if name == OURS[5] else slope[0, 1:].clamp(min=0)
        return (features * weights).sum(-1).clamp(min=0)

    return explain


def main(arguments: list[str] | None = None, say: Callable[[str], None] = print) -> float:
    """Prints the table; returns how many times as long the public way takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--pictures", type=int, default=2, help="that each public way explains in a round")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    Clock.now = staticmethod(time.process_time if given.clock == "cpu" else time.perf_counter)
    model = seeded_model(given.model, given.device)
    techniques = select(OURS)
    pixels = torch.randn(given.batch, 3, *model.input_size, device=given.device)
    peers = peers_of(model.module, model.layout.grid)
    plain: list[float] = []
    ours: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in peers}
    for number in range(given.rounds + 1):
        clock = Clock(model.device)
        with torch.no_grad():
            model.module(pixels)
        forward = clock.lap()
        batch = sum(explain_batch(model, techniques, pixels).values())
        found = {name: _seconds(peer, pixels[: given.pictures]) for name, (peer, _) in peers.items()}
        if number:  # the first round warms up
            plain.append(forward / given.batch)
            ours.append(batch / given.batch)
            for name, seconds in found.items():
                theirs[name].append(seconds)
    ratios = [sum(row) / one for one, row in zip(ours, zip(*theirs.values(), strict=True), strict=True)]
    total = statistics.median(ratios)
    say(f"{given.model}, {device_name(given.device)}, {given.threads} threads, torch {torch.__version__}")
    say(f"plain fused forward, batch {given.batch}: {1000 * statistics.median(plain):.1f} ms an image")
    for name, (_, whose) in peers.items():
        say(f"  {name:42} {whose:26} {1000 * statistics.median(theirs[name]):7.1f} ms an image")
    say(f"the sum of these: {1000 * statistics.median(map(sum, zip(*theirs.values(), strict=True))):.1f} ms")
    share = statistics.median(one / forward for one, forward in zip(ours, plain, strict=True))
    say(f"the same eight here: {1000 * statistics.median(ours):.1f} ms, {share:.2f}x a plain forward")
    say(f"ratio {total:.1f} (median of {given.rounds} rounds, least {min(ratios):.1f})")
    return total


def _seconds(peer: Peer, pictures: Tensor) -> float:
    """Of one picture."""
    clock = Clock(pictures.device)
    for picture in pictures:
        peer(picture[None])
    return clock.lap() / len(pictures)


if __name__ == "__main__":
    main()
