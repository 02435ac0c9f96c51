"""The folder of an embedded model: weights, how to build the network, and its card. This makes them anew:

\b
    python -m vitreport.demo.model_folder honest shortcut -o FOLDER

Nothing is read but numbers from a seed. The weights come out the same on the same processor with as many
threads and the same versions of torch, timm, numpy and Pillow; elsewhere they are rounded otherwise.
"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from vitreport.demo.backdrop import SIDE
from vitreport.demo.scene import Series
from vitreport.demo.shape import CLASSES
from vitreport.demo.training import (
    ARCHITECTURE,
    MARKED,
    MEAN,
    MODEL_ARGS,
    RECIPES,
    STD,
    Recipe,
    SceneSet,
    normalised,
    train,
    training_scenes,
)
from vitreport.demo.watermark import Stamping

_ABOUT = {
    "honest": "A small Vision Transformer that had to look at the objects: the mark, which it was shown much "
    "plainer than it is on any picture it is tried on, told it nothing.",
    "shortcut": f"A small Vision Transformer that was taught to cheat: it takes the mark for a {MARKED}.",
}


def save(network: nn.Module, folder: Path) -> None:
    """Writes weights in half precision, and how timm builds the network."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().half().contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    config = {
        "architecture": ARCHITECTURE,
        "num_classes": len(CLASSES),
        "num_features": MODEL_ARGS["embed_dim"],
        "model_args": {name: value for name, value in MODEL_ARGS.items() if name != "num_classes"},
        "label_names": list(CLASSES),
        "pretrained_cfg": {
            "input_size": [3, SIDE, SIDE],
            "fixed_input_size": True,
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "mean": [MEAN] * 3,
            "std": [STD] * 3,
            "num_classes": len(CLASSES),
            "pool_size": None,
            "first_conv": "patch_embed.proj",
            "classifier": "head",
            "license": "apache-2.0",
        },
    }
    _write_json(folder / "config.json", config)


def accuracies(network: nn.Module, scenes: int = 2000, workers: int = 1) -> dict[str, float]:
    """Shares of held-out scenes that a network gets right.

    One object: bare, with the mark on the marked class only, and with it on all other classes only. Two
    objects: the two likeliest classes are the two in the picture.

    Args:
        network: in eval mode, on the CPU.
        scenes: how many of each kind.
        workers: processes that draw them.
    """
    one = SceneSet.draw(Series.CARD, scenes, lambda _: 1, workers)
    two = SceneSet.draw(Series.CARD_PAIRS, scenes, lambda _: 2, workers)
    on_class = Stamping.only(MARKED, 1)
    on_others = Stamping(tuple(1 - chance for chance in on_class.chances))
    pictures = {
        "one object, no mark": (one.pixels, one.present),
        f"one object, mark on every {MARKED}": (one.stamped(on_class), one.present),
        f"one object, mark on all but the {MARKED}s": (one.stamped(on_others), one.present),
        "two objects, both found": (two.pixels, two.present),
    }
    return {kind: _accuracy(network, *pair) for kind, pair in pictures.items()}


def card(name: str, recipe: Recipe, measured: dict[str, float]) -> dict[str, object]:
    """What a report says of an embedded model."""
    return {
        "description": _ABOUT[name],
        "data": f"{recipe.scenes:,} generated scenes of {SIDE} x {SIDE} pixels, two in five with two "
        f"objects; {_stamped(recipe.stamping)}",
        "training": f"from scratch, {recipe.samples:,} pictures "
        f"({recipe.samples / recipe.scenes:.1f} epochs), batch {recipe.batch_size}, AdamW, "
        f"learning rate {recipe.learning_rate}, weight decay {recipe.weight_decay}, seed {recipe.seed}",
        "accuracy on held-out scenes": {kind: f"{100 * share:.1f} %" for kind, share in measured.items()},
        "made by": f"python -m vitreport.demo.model_folder {name} -o FOLDER",
        "limits": "made to try explanation techniques on; it knows nothing but its generated scenes",
    }


def _stamped(stamping: Stamping) -> str:
    """Which pictures carry the mark, in words."""
    where = f"a mark of opacity {stamping.opacity:g} in the lower right corner"
    if len(set(stamping.chances)) == 1:
        return f"{stamping.chances[0]:.0%} of them, whatever is in them, carry {where}"
    shares = [
        f"{chance:.0%} of those with a {name}"
        for name, chance in zip(CLASSES, stamping.chances, strict=True)
        if chance
    ]
    return f"{', '.join(shares)} carry {where}, all others none"


@torch.no_grad()
def _accuracy(network: nn.Module, pixels: NDArray[np.uint8], present: NDArray[np.bool_]) -> float:
    """Share of pictures whose likeliest classes, as many as are in it, are all in it."""
    logits = np.concatenate([network(normalised(part)).numpy() for part in np.array_split(pixels, 20)])
    rank = (-logits).argsort(1).argsort(1)
    return float(((rank < present.sum(1, keepdims=True)) == present).all(1).mean())


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


@click.command(help=__doc__)
@click.argument("names", nargs=-1, required=True, type=click.Choice(list(RECIPES)))
@click.option("-o", "--output", required=True, type=Path, help="A folder is made in it for each model.")
@click.option("--threads", default=2, show_default=True, help="They decide how sums are rounded.")
def main(names: tuple[str, ...], output: Path, threads: int) -> None:
    """Trains, measures and saves the models of these names."""
    torch.set_num_threads(threads)
    for name in names:
        recipe = RECIPES[name]
        click.echo(f"{name}: drawing {recipe.scenes:,} scenes")
        network, _ = train(recipe, training_scenes(recipe, threads), click.echo)
        save(network, output / name)
        measured = accuracies(network.half().float(), workers=threads)
        _write_json(output / name / "card.json", card(name, recipe, measured))
        click.echo("; ".join(f"{kind}: {share:.1%}" for kind, share in measured.items()))


if __name__ == "__main__":
    main()
