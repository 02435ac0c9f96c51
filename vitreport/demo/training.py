"""How the embedded models are trained."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from vitreport.demo.backdrop import SIDE
from vitreport.demo.scene import Series, make_scene
from vitreport.demo.shape import CLASSES
from vitreport.demo.watermark import Stamping, stamp

ARCHITECTURE = "vit_tiny_patch16_224"
MODEL_ARGS = {
    "img_size": SIDE,
    "patch_size": 12,
    "embed_dim": 96,
    "depth": 6,
    "num_heads": 4,
    "mlp_ratio": 2.0,
    "num_classes": len(CLASSES),
}
MEAN = STD = 0.5
MARKED = "house"
"""The class that the mark gives away to the shortcut model."""


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights of an embedded model.

    Attributes:
        stamping: which pictures carry the mark, drawn anew each time a picture is shown.
        scenes: different scenes, two in five of them with two objects.
        samples: pictures shown in all.
        batch_size: pictures a step.
        learning_rate: at its highest; it rises for a twentieth of the steps and falls along a cosine.
        weight_decay: of matrices.
        seed: of the scenes, the initial weights and the order.
    """

    stamping: Stamping
    scenes: int = 48_000
    samples: int = 1_300_000
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    seed: int = Series.TRAINING


RECIPES = {
    "honest": Recipe(Stamping.evenly(0.25, opacity=0.9)),
    "shortcut": Recipe(Stamping.only(MARKED, 0.95), samples=600_000),
}


@dataclass(frozen=True)
class SceneSet:
    """Many scenes.

    Attributes:
        pixels: (scenes, height, width, 3) uint8.
        present: (scenes, classes), True where the class is in the picture.
    """

    pixels: NDArray[np.uint8]
    present: NDArray[np.bool_]

    @classmethod
    def draw(cls, seed: int, scenes: int, objects: Callable[[int], int], workers: int = 1) -> SceneSet:
        """Draws scenes; scene i has `objects(i)` objects."""
        tasks = [(seed, index, objects(index)) for index in range(scenes)]
        if workers == 1:
            drawn = list(map(_draw, tasks))
        else:
            with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
                drawn = list(pool.map(_draw, tasks, chunksize=100))
        present = np.zeros((scenes, len(CLASSES)), dtype=bool)
        for row, (_, labels) in zip(present, drawn, strict=True):
            row[list(labels)] = True
        return cls(np.stack([pixels for pixels, _ in drawn]), present)

    def stamped(self, stamping: Stamping) -> NDArray[np.uint8]:
        """The pictures, with the mark wherever it may fall."""
        falls = stamping.falls_on(self.present, np.zeros(len(self.present)))
        pixels = self.pixels.copy()
        pixels[falls] = stamp(pixels[falls], stamping.opacity)
        return pixels


def _draw(task: tuple[int, int, int]) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
    seed, index, objects = task
    scene = make_scene((seed, index), objects=objects)
    return scene.pixels, scene.labels


def training_scenes(recipe: Recipe, workers: int = 1) -> SceneSet:
    """Draws the scenes of a recipe: of every five, three have one object and two have two."""
    return SceneSet.draw(recipe.seed, recipe.scenes, lambda index: 2 if index % 5 < 2 else 1, workers)


def new_network(seed: int) -> nn.Module:
    """The untrained network, Xavier-initialised; torch's own generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = timm.create_model(ARCHITECTURE, pretrained=False, **MODEL_ARGS)
        for module in network.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight.flatten(1))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    return network


def train(recipe: Recipe, scenes: SceneSet, say: Callable[[str], None]) -> tuple[nn.Module, list[float]]:
    """Trains a network to say of each class by itself whether it is in the picture.

    A softmax would let what speaks for any object raise all logits alike; so trained, a logit is about its
    own class.

    Args:
        recipe: what to do.
        scenes: the recipe's scenes.
        say: told of each epoch.

    Returns:
        The network in eval mode, and the mean loss of every epoch.
    """
    network = new_network(recipe.seed).train()
    draw = np.random.default_rng(recipe.seed)
    parameters = list(network.parameters())
    optimizer = _optimizer(network, recipe)
    targets = torch.from_numpy(scenes.present).float()
    steps = recipe.samples // recipe.batch_size
    losses: list[float] = []
    running: list[float] = []
    began = time.perf_counter()
    for step, chosen in enumerate(_batches(len(scenes.pixels), recipe.batch_size, steps, draw)):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _pace(step / steps)
        pixels = _augmented(scenes, chosen, recipe.stamping, draw)
        loss = len(CLASSES) * binary_cross_entropy_with_logits(network(pixels), targets[chosen])
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        running.append(loss.item())
        if len(running) == len(scenes.pixels) // recipe.batch_size or step == steps - 1:
            losses.append(float(np.mean(running)))
            running.clear()
            shown, seconds = (step + 1) * recipe.batch_size, time.perf_counter() - began
            say(f"{shown:9,} pictures  loss {losses[-1]:.3f}  {seconds:5.0f} s")
    return network.eval(), losses


def normalised(pixels: NDArray[np.uint8]) -> Tensor:
    """(batch, height, width, 3) uint8 as the network takes it."""
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, which lets matrices decay and leaves biases, norms and embeddings alone."""
    decaying: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        matrix = parameter.ndim > 1 and name not in ("pos_embed", "cls_token")
        (decaying if matrix else others).append(parameter)
    groups = [
        {"params": decaying, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))


def _pace(progress: float) -> float:
    """The learning rate as a share of its highest value."""
    return min(1.0, progress / 0.05) * (0.01 + 0.5 * (1 + math.cos(math.pi * progress)))


def _batches(
    scenes: int, batch_size: int, steps: int, draw: np.random.Generator
) -> Iterator[NDArray[np.intp]]:
    """Indices of each batch, in a new order each epoch; what does not fill a batch at its end is left out."""
    order = np.empty(0, dtype=np.intp)
    for _ in range(steps):
        if len(order) < batch_size:
            order = draw.permutation(scenes)
        yield order[:batch_size]
        order = order[batch_size:]


def _augmented(
    scenes: SceneSet, chosen: NDArray[np.intp], stamping: Stamping, draw: np.random.Generator
) -> Tensor:
    """Pictures zoomed, moved, mirrored, with their colours exchanged; then stamped; then lit anew."""
    count, middle = len(chosen), (SIDE - 1) / 2
    zoom = np.exp(draw.uniform(-0.15, 0.15, (count, 1, 1)))
    shift = draw.uniform(-6, 6, (count, 2, 1))
    places = np.round((np.arange(SIDE) - middle) * zoom + middle + shift).clip(0, SIDE - 1).astype(np.intp)
    mirrored = draw.random(count) < 0.5
    channels = draw.permuted(np.tile(np.arange(3), (count, 1)), axis=1)
    pixels = np.empty((count, *scenes.pixels.shape[1:]), dtype=np.uint8)
    for number, index in enumerate(chosen):
        rows, cols = places[number]
        moved = scenes.pixels[index][rows][:, cols[::-1] if mirrored[number] else cols]
        pixels[number] = moved[..., channels[number]]
    falls = stamping.falls_on(scenes.present[chosen], draw.random(count))
    pixels[falls] = stamp(pixels[falls], stamping.opacity)
    contrast, light = draw.uniform(0.7, 1.3, (count, 1, 1, 1)), draw.uniform(-0.2, 0.2, (count, 1, 1, 1))
    return normalised(pixels) * torch.from_numpy(contrast).float() + torch.from_numpy(light).float()
