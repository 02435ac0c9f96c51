"""Making pictures: many targets in one batch, ascended together, each for itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from vitreport.model.load import VisionModel
from vitreport.optimized.augmentation import Augmentation
from vitreport.optimized.image import Parametrisation
from vitreport.optimized.reading import reading
from vitreport.optimized.regulariser import seam_loss, total_variation
from vitreport.optimized.target import Target


@dataclass(frozen=True)
class Recipe:
    """How a picture is made.

    Source: Ghiasi et al. 2022, "What do Vision Transformers Learn? A Visual Exploration", arXiv:2212.06727:
        Adam with betas 0.5 and 0.99, a rate that falls along a cosine, jitter, colour shifts, falling noise,
        total variation.
    Differs: pictures are written in frequencies and not pixel by pixel; copies are turned and scaled too; the
        activation counts in standard deviations over the audited images, so weights are others; and the
        patch continuity constraint is new.

    Attributes:
        steps: of the optimiser.
        copies: changed copies that the model is shown in each step; 0 shows it the picture itself.
        rate: times the parametrisation's own learning rate; falls to 0 along half a cosine.
        total_variation: weight of the steps between pixels.
        seam: weight of the patch continuity constraint.
        augmentation: how copies are changed.
    """

    steps: int = 256
    copies: int = 1
    rate: float = 1.0
    total_variation: float = 10.0
    seam: float = 1.0
    augmentation: Augmentation = field(default_factory=Augmentation)

    @classmethod
    def unconstrained(cls, steps: int) -> Self:
        """Nothing but the activation of the picture itself."""
        return cls(steps=steps, copies=0, total_variation=0.0, seam=0.0)


@dataclass(frozen=True)
class Order:
    """One picture to make.

    Attributes:
        target: what it is made for.
        seed: of its start and of all changes.
        unit: what one step of activation is worth: its standard deviation over natural pictures, so that
            the weights of the regularisers mean the same for every target.
    """

    target: Target
    seed: int
    unit: float = 1.0

    def generator(self, draw: str, device: torch.device | str = "cpu") -> torch.Generator:
        """Random numbers of this picture alone, whatever else is in the batch."""
        digest = hashlib.sha256(f"{self.seed} {self.target.key} {draw}".encode()).digest()
        return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "little"))


def optimise(
    model: VisionModel,
    orders: Sequence[Order],
    parametrisation: Parametrisation,
    recipe: Recipe,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Makes the pictures of some orders in one batch.

    Pictures do not interact, so one gradient of the summed loss is exact for each.

    Args:
        model: whose activations are maximized.
        orders: one a picture.
        parametrisation: how pictures are written.
        recipe: how they are made.
        progress: told how many steps are done.

    Returns:
        Pixels in [0, 1], ``(orders, 3, height, width)``.
    """
    device = model.device
    coefficients = parametrisation.start([order.generator("start") for order in orders])
    coefficients = coefficients.to(device).requires_grad_()
    draws = [order.generator("changes", device) for order in orders]
    adam = torch.optim.Adam([coefficients], lr=recipe.rate * parametrisation.rate, betas=(0.5, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, recipe.steps)
    units = torch.tensor([order.unit for order in orders], device=device)
    with reading(model, [order.target for order in orders]) as read:
        for step in range(recipe.steps):
            pictures = parametrisation.pictures(coefficients)
            shown = model.preparation.normalised(pictures)
            if recipe.copies:
                left = 1 - step / recipe.steps
                shown = recipe.augmentation(shown, draws, recipe.copies, left)
            seen = read(shown)
            copies = max(1, recipe.copies)
            gained = torch.stack(
                [
                    seen.activation(order.target, slice(place * copies, (place + 1) * copies)).mean()
                    for place, order in enumerate(orders)
                ]
            )
            loss = -gained / units
            if recipe.total_variation:
                loss = loss + recipe.total_variation * total_variation(pictures)
            if recipe.seam:
                loss = loss + recipe.seam * seam_loss(pictures, model.layout.patch_size)
            (coefficients.grad,) = torch.autograd.grad(loss.sum(), coefficients)
            adam.step()
            schedule.step()
            if progress:
                progress(step + 1, recipe.steps)
    with torch.no_grad():
        return parametrisation.pictures(coefficients)
