"""Quality gates: what a picture must pass before it says anything of a model.

A high number alone proves little, because some pixels can always be bent until a model says what is wanted.
So a picture is looked at again as it is stored, with 8 bits a colour, and moved, and blurred.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

from vitreport.model.head import Head
from vitreport.model.load import VisionModel
from vitreport.optimized.likeness import likeness
from vitreport.optimized.reading import penultimate, reading
from vitreport.optimized.regulariser import seam_ratio
from vitreport.optimized.target import Kind, Target
from vitreport.store.optimized import Audited, Gate, Look, OptimizedPicture

SEAM = (0.9, 1.1)
"""Where the seam ratio of a picture should lie."""
SHIFT, OF = 16, 224
"""Pixels that a picture is moved by, down and to the right, for each so many of its shorter side."""
BLUR = 1.0
"""Standard deviation in pixels of the Gaussian that a picture is blurred with."""
MANY = 5000
"""Images from which on their 99.9th percentile is the bound, and not their maximum."""


def quantised(pictures: Tensor) -> Tensor:
    """Pixels in [0, 1] as a file of 8 bits a colour has them."""
    return (pictures.clamp(0, 1) * 255).round() / 255


def bound_of(activations: Tensor) -> tuple[float | None, str]:
    """What an optimised picture has to exceed.

    Args:
        activations: of the audited images, ``(images,)``.

    Returns:
        The bound, or None without images, and the rule in words.
    """
    if not len(activations):
        return None, "there is no audited image to compare with"
    if len(activations) < MANY:
        images = "image" if len(activations) == 1 else f"{len(activations)} audited images"
        return float(activations.max()), f"above the maximum of the {images}"
    bound = float(activations.double().quantile(0.999))
    return bound, f"above the 99.9th percentile of the {len(activations)} audited images"


def looks(model: VisionModel, pictures: Tensor, targets: Sequence[Target]) -> list[dict[str, Look]]:
    """What a model makes of pictures as they are, moved and blurred, each for its own target.

    Args:
        model: that looks.
        pictures: pixels in [0, 1], ``(pictures, 3, height, width)``.
        targets: one a picture.
    """
    found: list[dict[str, Look]] = [{} for _ in targets]
    ways = {
        "clean": pictures,
        "shifted": pictures.roll((shift_of(model), shift_of(model)), (2, 3)),
        "blurred": blurred(pictures, BLUR),
    }
    for name, shown in ways.items():
        with torch.no_grad(), reading(model, targets) as read:
            seen = read(model.preparation.normalised(shown))
        scores = model.head.scores(seen.logits)
        for place, target in enumerate(targets):
            of_class = target.kind is Kind.CLASS
            row = seen.logits[place]
            found[place][name] = Look(
                activation=float(seen.activation(target, slice(place, place + 1))),
                predicted=int(row.argmax()) if len(model.classes) else None,
                score=float(scores[place, target.index]) if of_class else None,
                rank=int((row > row[target.index]).sum()) + 1 if of_class else None,
            )
    return found


def shift_of(model: VisionModel) -> int:
    """Pixels that pictures of a model are moved by; what leaves at one side comes back at the other."""
    return max(1, min(model.input_size) * SHIFT // OF)


def blurred(pictures: Tensor, deviation: float) -> Tensor:
    """Pictures under a Gaussian blur, mirrored at their borders, ``(pictures, 3, height, width)``."""
    reach = min(int(4 * deviation + 0.5), min(pictures.shape[-2:]) - 1)
    places = torch.arange(-reach, reach + 1, device=pictures.device, dtype=pictures.dtype)
    weights = (-places.square() / (2 * deviation**2)).exp()
    kernel = (weights / weights.sum()).expand(pictures.shape[1], 1, 1, -1)
    wide = functional.pad(pictures, (reach,) * 4, mode="reflect")
    across = functional.conv2d(wide, kernel, groups=pictures.shape[1])
    return functional.conv2d(across, kernel.mT, groups=pictures.shape[1])


def judged(
    model: VisionModel,
    pictures: Tensor,
    targets: Sequence[Target],
    audited: Sequence[Audited],
    names: Sequence[str],
    files: Sequence[str],
) -> list[OptimizedPicture]:
    """Pictures with what was measured of them, and their gates.

    Args:
        model: that judges.
        pictures: pixels in [0, 1] as they are stored, ``(pictures, 3, height, width)``.
        targets: what each is judged for.
        audited: what the audited images say of each target.
        names: of the pictures.
        files: where they are stored.
    """
    seams = seam_ratio(pictures, model.layout.patch_size).tolist()
    alike = likeness(model, pictures)
    seen = looks(model, pictures, targets)
    return [
        OptimizedPicture(
            name=names[place],
            file=files[place],
            seam_ratio=seams[place],
            likeness=alike[place],
            looks=seen[place],
            gates=gates_of(model, target, seams[place], seen[place], audited[place]),
        )
        for place, target in enumerate(targets)
    ]


def gates_of(
    model: VisionModel, target: Target, seam: float, seen: dict[str, Look], audited: Audited
) -> tuple[Gate, ...]:
    """The gates of one picture."""
    clean = seen["clean"].activation
    gates = [
        Gate("activation", None if audited.bound is None else clean > audited.bound, clean, audited.rule),
        Gate("seam", SEAM[0] <= seam <= SEAM[1], seam, f"seam ratio between {SEAM[0]} and {SEAM[1]}"),
    ]
    ways = {
        "clean": "as it is stored",
        "shifted": f"moved by {shift_of(model)} pixels",
        "blurred": f"blurred by {BLUR:g} pixel",
    }
    for name, way in ways.items():
        look = seen[name]
        if target.kind is Kind.CLASS and model.head is Head.SOFTMAX:
            gates.append(Gate(name, look.rank == 1, look.score, f"{way}: the target is the likeliest class"))
        elif name != "clean":
            above = None if audited.bound is None else look.activation > audited.bound
            gates.append(Gate(name, above, look.activation, f"{way}: {audited.rule}"))
    return tuple(gates)


def gates_together(pictures: Sequence[OptimizedPicture]) -> tuple[Gate, ...]:
    """The gate of all seeds: each picture on its own makes the model say what it was made for."""
    if len(pictures) < 2:
        return (Gate("seeds", None, None, "one seed alone cannot agree with another"),)
    clear = []
    for picture in pictures:
        first = {gate.name: gate.passed for gate in picture.gates}
        clear.append(first["clean"] if "clean" in first else first["activation"])
    says = f"all {len(pictures)} seeds lead to the target"
    if None in clear:
        return (Gate("seeds", None, None, says),)
    share = sum(map(bool, clear)) / len(clear)
    return (Gate("seeds", share == 1, share, says),)


def gate_of_judge(judge: VisionModel, pictures: Tensor, name: str) -> Gate:
    """The independent look: whether another model has the class among its five likeliest in each picture.

    Args:
        judge: the other model; it sees the pictures through its own preparation.
        pictures: pixels in [0, 1] as they are stored, ``(pictures, 3, height, width)``.
        name: of the class, which is looked for among the judge's classes.
    """
    index = judge.classes.index_of(name)
    if index is None:
        return Gate("judge", None, None, f"{judge.name} has no class '{name}'")
    levels = (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    shown = torch.stack([judge.preparation(picture)[0] for picture in levels]).to(judge.device)
    with torch.no_grad():
        logits = judge.module(shown)
    among = (logits > logits[:, index : index + 1]).sum(1) < 5
    share = float(among.float().mean())
    return Gate("judge", share == 1, share, f"among the five likeliest classes of {judge.name}, every seed")


def feature_cosine(model: VisionModel, pictures: Tensor) -> float | None:
    """Mean over pairs of pictures of the cosine of what the classifier is given; None with one picture."""
    if len(pictures) < 2:
        return None
    try:
        features = penultimate(model, model.preparation.normalised(pictures))
    except (AttributeError, TypeError):  # a model that does not give its features apart
        return None
    directions = functional.normalize(features, dim=1)
    pairs = [float(directions[a] @ directions[b]) for a, b in combinations(range(len(pictures)), 2)]
    return sum(pairs) / len(pairs)
